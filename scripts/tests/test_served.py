"""The script that runs a command beside a server, with a stand-in for the server."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import served

STAND_IN = """#!{python}
import http.server, pathlib, signal, sys

mark = pathlib.Path({mark!r})
mark.write_text("started")

def stop(*_):
    mark.write_text("stopped politely")
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
if {broken}:
    print("models: there is no such folder", file=sys.stderr)
    sys.exit(64)

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

host, _, port = sys.argv[sys.argv.index("--listen") + 1].rpartition(":")
http.server.HTTPServer((host, int(port)), Ready).serve_forever()
"""


def stand_in(folder: Path, *, broken: bool = False) -> tuple[Path, Path]:
    """A program that serves `/health/ready` and nothing else, and the file in which it writes what became of it."""
    program, mark = folder / "cresset", folder / "mark"
    program.write_text(STAND_IN.format(python=sys.executable, mark=str(mark), broken=broken))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, mark


def run(program: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs the script on a stand-in."""
    code = f"import served, pathlib; served.SERVER = pathlib.Path({str(program)!r}); raise SystemExit(served.main())"
    folder = str(Path(served.__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", code, "models", "--", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_is_told_the_address_and_the_server_is_stopped_after_it(tmp_path: Path) -> None:
    program, mark = stand_in(tmp_path)
    done = run(program, "echo", "at {url}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("at http://127.0.0.1:")
    assert mark.read_text() == "stopped politely"


def test_a_command_that_fails_makes_the_script_fail_and_the_server_is_stopped(tmp_path: Path) -> None:
    program, mark = stand_in(tmp_path)
    done = run(program, sys.executable, "-c", "raise SystemExit(7)")
    assert done.returncode == 1
    assert "exit status 7" in done.stderr
    assert mark.read_text() == "stopped politely"


def test_a_server_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    program, _ = stand_in(tmp_path, broken=True)
    done = run(program, "echo", "never")
    assert done.returncode == 1
    assert "ended with status 64" in done.stderr
    assert "models: there is no such folder" in done.stderr
    assert done.stdout == ""


def test_an_interrupted_command_is_told_by_the_status_and_the_server_is_stopped(tmp_path: Path) -> None:
    program, mark = stand_in(tmp_path)
    interrupt = "import os, signal; os.kill(os.getppid(), signal.SIGINT); signal.pause()"
    done = run(program, sys.executable, "-c", f"import signal; signal.alarm(30); {interrupt}")
    assert done.returncode == served.INTERRUPTED
    assert mark.read_text() == "stopped politely"


def test_a_free_address_can_be_listened_on() -> None:
    host, _, port = served.free_address().rpartition(":")
    assert host == "127.0.0.1" and 0 < int(port) < 65536


def test_nobody_listening_is_not_ready() -> None:
    assert not served.is_ready(served.free_address())
