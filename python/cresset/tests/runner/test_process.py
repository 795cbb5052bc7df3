"""The process itself: how it starts, stops, dies with its parent, and keeps its channel to itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from reference import SRC, Child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Start = Callable[..., Child]

BARE = {"PYTHONPATH": str(SRC), "PYTHONDONTWRITEBYTECODE": "1"}
ECHO = "def predict(batch):\n    return batch"


def test_importing_cresset_imports_nothing_heavy():
    code = (
        "import sys, cresset, cresset.runner\n"
        "heavy = {'torch', 'numpy', 'httpx', 'django', 'asyncio', 'ssl'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=BARE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_runner_needs_nothing_but_the_standard_library(start: Start):
    child = start("""
        import sys
        def predict(batch):
            return [sorted({"torch", "numpy", "httpx", "asyncio"} & set(sys.modules))]
    """)
    child.ready()
    assert child.run_objects(0).items == [(0, [])]


def test_started_by_hand_it_says_what_to_do_instead():
    env = BARE
    done = subprocess.run(
        [sys.executable, "-m", "cresset.runner"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 64
    assert "cresset serve" in done.stderr


def test_without_a_channel_it_says_so():
    env = BARE | {"CRESSET_PARENT_PID": str(os.getpid())}
    done = subprocess.run(
        [sys.executable, "-m", "cresset.runner"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 70
    assert "descriptor 3" in done.stderr


def test_it_exits_when_its_parent_is_not_the_server(tmp_path: Path):
    child = Child(tmp_path, parent_pid=1)
    try:
        assert child.wait() == 0
        assert "has gone" in child.logs()
    finally:
        child.close()


def test_it_dies_when_the_server_dies_even_while_busy(tmp_path: Path):
    (tmp_path / "model.py").write_text("import time\ndef predict(batch):\n    time.sleep(1000)")
    # A server that starts a runner, gives it a batch that never ends, and is killed.
    script = f"""
import sys, os, pathlib
sys.path[:0] = [{str(SRC.parent / "tests")!r}, {str(SRC)!r}]
from reference import Child
child = Child(pathlib.Path({str(tmp_path)!r}))
child.ready()
child.send_objects(1)
print(child.process.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    server = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, check=False)
    assert server.returncode == -9, server.stderr
    pid = int(server.stdout)
    _wait_until_gone(pid)


def _wait_until_gone(pid: int) -> None:
    """Wait on the process itself: readable pidfd means that it has ended."""
    import select

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([pidfd], [], [], 30)[0], "the runner outlived its server"
    finally:
        os.close(pidfd)


def test_the_end_of_the_channel_ends_it(start: Start):
    child = start(ECHO)
    child.ready()
    child.sock.close()
    assert child.wait() == 0


def test_ping_is_answered(start: Start):
    child = start(ECHO)
    child.ready()
    child.send("PING")
    assert child.receive().kind == "PONG"


def test_shutdown_finishes_what_was_received_before(start: Start):
    child = start("import atexit\natexit.register(print, 'bye')\n" + ECHO)
    child.ready()
    child.send_objects(1, seq=1)
    child.send_objects(2, seq=2)
    child.send("SHUTDOWN")
    assert [child.receive().seq, child.receive().seq] == [1, 2]
    out, _ = child.finish()
    assert out == "bye\n"


def test_sigterm_while_idle_ends_it_with_status_0(start: Start):
    child = start(ECHO)
    child.ready()
    child.process.send_signal(signal.SIGTERM)
    assert child.wait() == 0


def test_sigterm_lets_the_batch_in_hand_finish(start: Start):
    child = start("""
        import os, signal
        def predict(batch):
            os.kill(os.getpid(), signal.SIGTERM)
            return [x + 1 for x in batch]
    """)
    child.ready()
    answer = child.run_objects(1)
    assert answer.items == [(0, 2)]
    assert child.wait() == 0


def test_sigterm_during_load_ends_it_without_a_failure(start: Start):
    child = start("""
        import os, signal, time, cresset
        class Model(cresset.Model):
            def load(self):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(1000)
            def predict(self, batch):
                return batch
    """)
    child.hello()
    assert child.wait() == 0
    assert child.sock.recv(1) == b""


def test_sigint_is_ignored(start: Start):
    child = start("""
        import os, signal
        def predict(batch):
            os.kill(os.getpid(), signal.SIGINT)
            return batch
    """)
    child.ready()
    assert child.run_objects(1).items == [(0, 1)]
    child.shut_down()


def test_print_and_logging_go_to_the_log_and_not_into_the_channel(start: Start):
    child = start(
        """
        import logging, os, sys
        print("imported")
        def predict(batch):
            print("héllo \\ud800")
            logging.getLogger("mine").info("seen %d", len(batch))
            os.write(1, b"raw\\n")
            sys.stdout.write("no newline")
            return batch
    """,
        env={"LC_ALL": "C"},
    )
    child.ready()
    assert child.run_objects(1).items == [(0, 1)]
    out, err = child.shut_down()
    assert out == "imported\nhéllo \\ud800\nraw\nno newline"
    assert "INFO mine: seen 1" in err


def test_logging_that_the_author_set_up_is_left_alone(start: Start):
    child = start("""
        import logging, sys
        logging.basicConfig(level=logging.ERROR, stream=sys.stdout, format="MINE %(message)s")
        def predict(batch):
            logging.info("hidden")
            logging.error("shown")
            return batch
    """)
    child.ready()
    child.run_objects(1)
    out, err = child.shut_down()
    assert (out, err) == ("MINE shown\n", "")


def test_the_channel_is_out_of_reach_of_code_that_the_model_runs(start: Start):
    child = start("""
        import os, subprocess, sys
        def sockets():
            return sum(os.readlink(f"/proc/self/fd/{n}").startswith("socket:")
                       for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")
                       or os.path.islink(f"/proc/self/fd/{n}"))
        def predict(batch):
            # Code that tidies up low descriptors must not cut us off.
            os.closerange(3, 20)
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                os.write(writer, str(sockets()).encode())
                os._exit(0)
            os.waitpid(pid, 0)
            forked = int(os.read(reader, 10))
            code = "import os; print(sum(1 for n in os.listdir('/proc/self/fd') if int(n) > 2) - 1)"
            executed = subprocess.run([sys.executable, "-c", code], capture_output=True, close_fds=False, text=True)
            return [[forked, int(executed.stdout)]]
    """)
    child.ready()
    assert child.run_objects(1).items == [(0, [0, 0])]
    child.shut_down()


def test_os_exit_in_the_model_kills_the_process(start: Start):
    child = start("import os\ndef predict(batch):\n    os._exit(9)")
    child.ready()
    child.send_objects(1)
    assert child.wait() == 9


def test_threads_that_the_model_leaves_behind_do_not_hold_up_the_exit(start: Start):
    child = start("""
        import threading
        threading.Thread(target=threading.Event().wait).start()
        def predict(batch):
            return batch
    """)
    child.ready()
    child.shut_down()


def test_a_message_that_the_protocol_does_not_have_ends_it_with_status_70(start: Start):
    for frame in (b"\0" * 32, b"\1\0\0\0\x0c" + b"\0" * 28, b"\xff" * 64):
        child = start(ECHO)
        child.ready()
        child.send_raw(frame)
        assert child.wait() == 70
        assert "protocol error" in child.logs()


def test_a_channel_that_ends_inside_a_message_is_a_protocol_error(start: Start):
    child = start(ECHO)
    child.ready()
    child.sock.sendall(b"\0" * 10)
    child.sock.close()
    assert child.wait() == 70


def test_another_protocol_version_is_refused(start: Start):
    child = start(ECHO)
    child.hello(protocol=1)
    assert child.wait() == 70
    assert "protocol 1" in child.logs()


def test_a_run_for_an_object_model_is_refused(start: Start):
    child = start(ECHO)
    child.ready()
    child.send("RUN", batch=1)
    assert child.wait() == 70
