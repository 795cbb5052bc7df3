"""Servers as child processes: started on a free port, waited for, and gone at the end whatever happens.

A server gets a session of its own. At the end everything in that session is killed, so that workers which a server
leaves behind (several do) cannot disturb the next measurement.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from pathlib import Path

START_SECONDS = 180.0
"""What a server gets to become ready in: torch is imported from a cold disk once."""
FAVOURED_NICE = -19
STOP_SECONDS = 10.0
"""What it gets to end by itself in."""


class StartError(Exception):
    """A server did not become ready; the text has the end of its log."""


def free_port() -> int:
    """A port that is free now. Another program could take it first; then the server does not start, and says so."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def members(session: int) -> list[int]:
    """The processes of a session."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == session and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def tree(root: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid)
    return found


def favour(pid: int) -> None:
    """Gives a process and everything below it the right of way, where the kernel weighs sessions and lets us.

    On a machine with other work, that is nearer to being alone than taking turns with the others.
    """
    for one in tree(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/autogroup").write_text(str(FAVOURED_NICE))


class Server:
    """A running server."""

    def __init__(  # noqa: PLR0913 - a process has that many sides
        self, name: str, command: list[str], environ: dict[str, str], *, log: Path, cwd: Path, favoured: bool
    ) -> None:
        """Starts it; its output goes to the file `log`."""
        self.name = name
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                command, env=environ, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self.pid = self._process.pid
        _running[self.pid] = self
        if favoured:
            favour(self.pid)

    def log(self) -> str:
        """What it has written."""
        return self._log.read_text(errors="replace")

    def wait(self, fact: Callable[[], bool], what: str) -> None:
        """Asks until `fact` is true, for START_SECONDS at most."""
        end = time.monotonic() + START_SECONDS
        while not fact():
            if self._process.poll() is not None:
                raise StartError(f"{self.name} ended before it was {what}:\n{self.log()[-2000:]}")
            if time.monotonic() > end:
                raise StartError(f"{self.name} was not {what} after {START_SECONDS:.0f} s:\n{self.log()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Ends it, and all that it started. A second call does nothing."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        for _ in range(100):
            left = members(self.pid)
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self._process.poll() is not None and not left:
                break
            time.sleep(0.05)
        _running.pop(self.pid, None)


_running: dict[int, Server] = {}


def stop_all() -> None:
    """Ends every server that still runs."""
    for server in list(_running.values()):
        server.stop()


@contextlib.contextmanager
def nothing_left_behind() -> Generator[None, None, None]:
    """Inside, SIGTERM and SIGHUP end the program as an exception would; servers are stopped on every way out."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    atexit.register(stop_all)
    try:
        yield
    finally:
        stop_all()


def answer(
    port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """One request to a server here; status 0 when it cannot be reached."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body=body or None, headers=headers or {})
        got = connection.getresponse()
        return got.status, got.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()
