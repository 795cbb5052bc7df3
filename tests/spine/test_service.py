"""Under a service manager: readiness, watchdog, and a listening socket that outlives the server."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.models import ECHO, write_model
from support.server import LONG, program


class Manager:
    """The manager's end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        """Binds it."""
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(LONG)

    def wait_for(self, line: str) -> list[str]:
        """Reads messages until one has this line; gives all lines read."""
        lines: list[str] = []
        while line not in lines:
            lines += self._socket.recv(4096).decode().splitlines()
        return lines

    def close(self) -> None:
        """Closes it."""
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager."""
    manager = Manager(tmp_path / "notify")
    yield manager
    manager.close()


def test_the_manager_is_told_of_start_progress_and_stop(serve: Serve, tmp_path: Path, manager: Manager) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, env={"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "300000"})
    assert "STATUS=0 of 1 models ready" in manager.wait_for("READY=1")
    server.wait_ready()
    manager.wait_for("STATUS=1 of 1 models ready")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    manager.wait_for("STOPPING=1")
    stopping.join(LONG)
    assert server.process.returncode == 0, server.log


def start_on(listener: socket.socket, models: Path, data: Path) -> subprocess.Popen[bytes]:
    """Starts a server on a socket that we keep, as systemd does: descriptor 3, and the server's own process id."""
    command = [
        "sh",
        "-c",
        'LISTEN_PID=$$ exec "$@"',
        "sh",
        str(program()),
        "serve",
        str(models),
        "--data-dir",
        str(data),
    ]

    def hand_over() -> None:
        os.dup2(listener.fileno(), 3, inheritable=True)

    env = {name: value for name, value in os.environ.items() if name != "CRESSET_BIN"}
    return subprocess.Popen(
        command,
        env={**env, "LISTEN_FDS": "1"},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(3,),
        preexec_fn=hand_over,  # noqa: PLW1509  # this process starts no other meanwhile
    )


def test_a_restart_behind_a_kept_socket_refuses_no_connection(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop = threading.Event()

    def ask(worker: int) -> int:
        """Asks on a new connection each time; a connection must never be refused or reset."""
        done = 0
        while not stop.is_set():
            answer = httpx.get(f"{url}/health/live", timeout=LONG)
            assert answer.status_code == 200, answer.text
            done += 1
        return done

    first = start_on(listener, models, tmp_path / "data")
    second = None
    try:
        assert httpx.get(f"{url}/health/live", timeout=LONG).status_code == 200
        with ThreadPoolExecutor(8) as pool:
            callers = [pool.submit(ask, i) for i in range(8)]
            try:
                first.terminate()
                assert first.wait(LONG) == 0
                second = start_on(listener, models, tmp_path / "data")
                submitted = httpx.post(f"{url}/v1/models/echo/tasks", json={"input": 1}, timeout=LONG)
                assert submitted.status_code == 202, submitted.text
            finally:
                stop.set()
            assert sum(caller.result(LONG) for caller in callers) > 0
    finally:
        for process in (first, second):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait(LONG)
        listener.close()


def test_a_socket_that_cannot_serve_is_refused_with_a_reason(tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong:
        wrong.bind(str(tmp_path / "datagrams"))
        server = start_on(wrong, models, tmp_path / "data")
        assert server.wait(LONG) == 69
