"""How soon tasks run again: after kill -9 of their model process, and after kill -9 of the server and a start.

    python benches/recovery.py [--program target/release/cresset] [--rounds 15]

A model notes, by the machine's monotonic clock, when it has loaded and when it begins each item. While an item runs,
its process is killed; the time from the kill until the item begins once more, less the time that the new process took
to load, is what Cresset adds. To load is from the birth of the process, which the kernel tells to 10 ms: python's own
start and the imports are not Cresset's. Likewise with the server, counted from the start of the new one.
Bars (p50): 100 ms for a process, 1 s for the server.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cresset

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://[0-9.]+:\d+")
LONG = 60.0
MODEL = """
import os
import time

import cresset

NOTES = os.open({notes!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

def note(what):
    os.write(NOTES, f"{{time.monotonic()}} {{os.getpid()}} {{what}}\\n".encode())

def born():
    with open("/proc/self/stat", "rb") as stat:
        return int(stat.read().rsplit(b")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")

class Model(cresset.Model):
    def load(self):
        note(f"born {{born()}}")
        time.sleep({load})
        note("loaded")

    def predict(self, batch):
        note("item")
        time.sleep({work})
        return batch
"""
LOAD_SECONDS = 0.2
WORK_SECONDS = 1.0


class Notes:
    """What the model's processes have noted."""

    def __init__(self, path: Path) -> None:
        """None yet."""
        self.path = path

    def items(self) -> list[tuple[float, int]]:
        """When items began, and in which process."""
        return [(at, pid) for at, pid, what in self._lines() if what == "item"]

    def loading(self, pid: int) -> float:
        """Seconds from the birth of this process until its model had loaded."""
        mine = [(at, what) for at, of, what in self._lines() if of == pid]
        born = next(float(what.split()[1]) for _, what in mine if what.startswith("born"))
        return next(at for at, what in mine if what == "loaded") - born

    def _lines(self) -> list[tuple[float, int, str]]:
        text = self.path.read_text() if self.path.exists() else ""
        parts = [line.split(" ", 2) for line in text.splitlines()]
        return [(float(at), int(pid), what) for at, pid, what in parts]


def wait_for(ask: Callable[[], Any], what: str) -> Any:
    """Asks until there is an answer."""
    limit = time.monotonic() + LONG
    while time.monotonic() < limit:
        if (answer := ask()) is not None:
            return answer
        time.sleep(0.002)
    raise TimeoutError(f"no {what} within {LONG:.0f} s")


def serve(program: Path, folder: Path, port: str) -> tuple[subprocess.Popen[bytes], str]:
    """A server on the folder's model; gives where it listens."""
    log = folder / "server.log"
    before = len(log.read_text()) if log.exists() else 0
    command = [program, "serve", folder / "model", "--listen", f"127.0.0.1:{port}", "--data-dir", folder / "data"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CRESSET_")}
    with log.open("ab") as out:
        process = subprocess.Popen([str(c) for c in command], stderr=out, env=environment)
    found: re.Match[str] = wait_for(lambda: URL.search(log.read_text()[before:]), "address in the log")
    return process, found.group()


def second_begin(notes: Notes, seen: int) -> tuple[float, int] | None:
    """The item that began after so many others."""
    items = notes.items()
    return items[seen] if len(items) > seen else None


def round_of(program: Path) -> tuple[float, float]:
    """Milliseconds that a killed process and a killed server cost, beside loading."""
    with tempfile.TemporaryDirectory(prefix="recovery-") as name:
        folder = Path(name)
        notes = Notes(folder / "notes")
        (folder / "model").mkdir()
        (folder / "model/model.py").write_text(
            MODEL.format(notes=str(notes.path), load=LOAD_SECONDS, work=WORK_SECONDS)
        )
        (folder / "model/model.toml").write_text(f'name = "m"\n[environment]\npython = "{sys.executable}"\n')
        process, url = serve(program, folder, "0")
        try:
            with cresset.Client(url) as client:
                wait_for(lambda: client.health().ready or None, "ready model")
                handle = client.submit("m", 1)
                _, pid = wait_for(lambda: second_begin(notes, 0), "first item")
                killed = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                began, fresh = wait_for(lambda: second_begin(notes, 1), "second item")
                instance = began - killed - notes.loading(fresh)
                handle.result(LONG)
                handle = client.submit("m", 2)
                wait_for(lambda: second_begin(notes, 2), "third item")
            process.kill()
            process.wait()
            started = time.monotonic()
            process, url = serve(program, folder, url.rsplit(":", 1)[1])
            began, fresh = wait_for(lambda: second_begin(notes, 3), "fourth item")
            server = began - started - notes.loading(fresh)
            with cresset.Client(url) as client:
                client.task(handle.id).result(LONG)
        finally:
            process.terminate()
            process.wait(LONG)
        return instance * 1e3, server * 1e3


def told(name: str, times: list[float], bar: float) -> str:
    """A row of the table."""
    times = sorted(times)
    p50, p99 = statistics.median(times), times[min(len(times) - 1, int(len(times) * 0.99))]
    return f"| {name} | {p50:.0f} ms | {p99:.0f} ms | {bar:.0f} ms | {'yes' if p50 <= bar else 'no'} |"


def main() -> int:
    """Measures, and tells."""
    parser = argparse.ArgumentParser(description="How soon tasks run again after a kill.")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target/release/cresset")
    parser.add_argument("--rounds", type=int, default=15)
    words = parser.parse_args()
    rounds = [round_of(words.program.resolve()) for _ in range(words.rounds)]
    print("| killed, beside loading | p50 | p99 | bar | reached |\n| --- | --- | --- | --- | --- |")
    print(told("a model process", [instance for instance, _ in rounds], 100))
    print(told("the server", [server for _, server in rounds], 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
