"""A server under fault: started, killed, stopped and looked at from outside, by the kernel's means."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from support.server import program

from faults.powercut import Journal

#: A start, a stop and whatever else a server must do by itself takes no longer on a busy machine.
LONG = 60.0
DRAIN_SECONDS = 2
#: By this variable the processes of one run are found, whoever started them.
MARK = "FAULTS_MARK"


def own_address() -> str:
    """A loopback address of this process's own, so that no two runs ever talk to each other's servers."""
    pid = os.getpid()
    return f"127.{1 + (pid >> 16) % 254}.{(pid >> 8) % 256}.{1 + pid % 254}"


class Process:
    """A server at one address and on one data folder, one life after the other."""

    def __init__(
        self,
        words: list[str],
        data: Path,
        log: Path,
        environment: dict[str, str],
        cache: Path,
        *,
        name: str = "server",
        port: int = 8700,
    ) -> None:
        """`words`: the command, such as `serve` and its folder. `name` is what a history calls it."""
        self.name = name
        self.data = data
        self.log = log
        self.address = (own_address(), port)
        self.mark = environment[MARK]
        self.lives = 0
        self.journal: Journal | None = None
        self._words = words
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("CRESSET_")} | environment
        self._cache = cache
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert not self.is_alive()
        environment = self._environment
        if self.journal is not None:
            self.journal.trim()
            environment = environment | self.journal.environment
        host, port = self.address
        command = [str(program()), *self._words, "--listen", f"{host}:{port}"]
        command += ["--data-dir", str(self.data), "--cache-dir", str(self._cache)]
        command += ["--drain-timeout", f"{DRAIN_SECONDS}s"]
        with self.log.open("ab") as log:
            log.write(f"---- life {self.lives}\n".encode())
            log.flush()
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.data.parent, env=environment
            )
        self.lives += 1

    def wait_open(self) -> bool:
        """Waits until it answers; false when it ended instead. It takes connections before it has opened its store."""
        limit = time.monotonic() + LONG
        while time.monotonic() < limit:
            if not self.is_alive():
                return False
            if self._answers():
                return True
            time.sleep(0.01)
        raise TimeoutError(f"the {self.name} neither listened nor ended")

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(self.address, timeout=1) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: faults\r\nconnection: close\r\n\r\n")
            return connection.recv(1) != b""
        return False

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self._child is not None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """kill -9, whatever state it is in."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(LONG)

    def kill_all(self) -> None:
        """kill -9 of the server and of whatever it has started, as when the machine goes."""
        self.kill()
        for pid in self.marked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        while self.marked():
            time.sleep(0.005)

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or none when it still runs after this time."""
        assert self._child is not None
        try:
            return self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def instances(self) -> list[int]:
        """The processes that it started and that live."""
        pids: list[int] = []
        for children in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(OSError):  # the thread has ended
                pids += [int(pid) for pid in children.read_text().split()]
        return pids

    def descriptors(self) -> Counter[str]:
        """How many of each kind of file it has open, but for connections and what it reads and writes just now."""
        kinds: Counter[str] = Counter()
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                kinds[self._kind(str(fd.readlink()))] += 1
        for passing in ("socket", "file of the data folder"):
            kinds.pop(passing, None)
        return kinds

    def _kind(self, target: str) -> str:
        if target.startswith(str(self.data)):
            return "deleted file of the data folder" if target.endswith("(deleted)") else "file of the data folder"
        if target.startswith("/memfd:"):
            return "memfd"
        return target.split(":", maxsplit=1)[0]

    def marked(self) -> list[int]:
        """Every process that this run has started, however far removed, and that is no zombie."""
        wanted = f"{MARK}={self.mark}".encode()
        found: list[int] = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # ended meanwhile, or another user's
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                    if state != "Z":
                        found.append(int(folder.name))
        return found

    def close(self) -> None:
        """Whatever happened, nothing is left running."""
        if self._child is not None and self.is_alive():
            self.signal(signal.SIGCONT)
            self.kill()
        for pid in self.marked():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
