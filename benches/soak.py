"""Half an hour of mixed load with recycling and crashes: does anything of the server grow?

    python benches/soak.py [--program target/release/cresset] [--minutes 30] [--write-docs]

Eight callers submit, predict, cancel, delay and send large payloads, on two models: one that leaks and is replaced by
`max_memory` and `max_tasks`, and one that raises, exits and hangs as told. Every few seconds a model process is killed.
Tasks are kept for a minute after their end and dead letters for two, so that the store comes to a level. Every five
seconds the server is looked at: resident memory, descriptors, threads, bytes and files of the store. At the end every
accepted task must have ended as its input asks for; of each figure the median of the last quarter is told beside that
of the second. `--write-docs` keeps the series and a graph in docs/soak.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cresset

REPOSITORY = Path(__file__).resolve().parents[1]
URL = re.compile(r"http://[0-9.]+:\d+")
CALLERS = 8
#: So many of them use the model that fails. They wait for it often, and must not slow the others down: load is even.
FICKLE_CALLERS = 3
#: Between two requests of one caller, on average: the load is mixed, not heavy.
PAUSE_SECONDS = 0.2
SAMPLE_SECONDS = 5.0
KILL_SECONDS = 7.0
#: A task ends within this, though its process is killed, backs off and loads again.
PATIENCE = 120.0
LARGE = 180_000
SETTINGS = """
[results]
ttl = "1m"
[store]
dead_ttl = "2m"
"""
LEAKING = """
HELD = []

def predict(batch):
    HELD.extend(b"x" * (64 << 10) for _ in batch)
    return batch
"""
FICKLE = """
import os
import time

def predict(batch):
    for item in batch:
        do = item.get("do")
        if do == "exit":
            os._exit(3)
        if do == "hang":
            time.sleep(60)
        if do == "raise" and len(batch) == 1:
            raise ValueError("as told")
    if any(item.get("do") == "raise" for item in batch):
        raise ValueError("one of these")
    return batch
"""
LEAKING_TOML = """
[batching]
max_batch_size = 16
[instances]
max_tasks = 2000
max_memory = "120MiB"
"""
FICKLE_TOML = """
[batching]
max_batch_size = 16
[instances]
count = 2
[limits]
timeout = "2s"
max_attempts = 2
"""
#: What a fickle input is told to do, to how often, and how its task ends.
FATES = {"": (600, "SUCCESS"), "raise": (60, "FAILURE"), "exit": (2, "FAILURE"), "hang": (1, "FAILURE")}
#: The figures, and by how much the last quarter may be above the second before it counts as growth.
FIGURES = {"memory_mib": 1.10, "descriptors": 1.10, "threads": 1.05, "store_mib": 1.15, "payload_files": 1.25}


def write_model(parent: Path, name: str, code: str, toml: str) -> None:
    """A model folder that runs on this interpreter."""
    folder = parent / name
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(code)
    (folder / "model.toml").write_text(f'name = "{name}"\n{toml}\n[environment]\npython = "{sys.executable}"\n')


class Served:
    """One server, and what can be seen of it from outside."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Starts it, and waits until both models are ready."""
        write_model(folder / "models", "leaking", LEAKING, LEAKING_TOML)
        write_model(folder / "models", "fickle", FICKLE, FICKLE_TOML)
        config = folder / "cresset.toml"
        config.write_text(SETTINGS)
        self.data = folder / "data"
        self.log = (folder / "server.log").open("w+")
        command = [program, "serve", folder / "models", "--config", config, "--listen", "127.0.0.1:0"]
        command += ["--data-dir", self.data]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CRESSET_")}
        self.process = subprocess.Popen([str(c) for c in command], stderr=self.log, env=environment)
        self.url = self._wait(self._listening, "listening")
        with cresset.Client(self.url) as client:
            self._wait(lambda: client.health().ready or None, "ready")

    def _listening(self) -> str | None:
        found = URL.search(Path(self.log.name).read_text())
        return found.group() if found else None

    def _wait(self, ask: Callable[[], Any], what: str) -> Any:
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            if (answer := ask()) is not None:
                return answer
            time.sleep(0.05)
        raise TimeoutError(f"the server is not {what}; see {self.log.name}")

    def instances(self) -> list[int]:
        """Its model processes."""
        pids: list[int] = []
        for children in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            with suppress(OSError):
                pids += [int(pid) for pid in children.read_text().split()]
        return pids

    def sample(self) -> dict[str, float]:
        """The figures as they are now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        files = [path for path in self.data.rglob("*") if path.is_file()]
        size = 0
        for path in files:
            with suppress(FileNotFoundError):
                size += path.stat().st_size
        return {
            "memory_mib": int(fields["VmRSS"].split()[0]) / 1024,
            "descriptors": len(list(Path(f"/proc/{self.process.pid}/fd").iterdir())),
            "threads": int(fields["Threads"]),
            "store_mib": size / (1 << 20),
            "payload_files": sum(".payloads" in str(path) for path in files),
        }

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(60)


class Callers:
    """The load, and whether each task ended as its input asks for."""

    def __init__(self, url: str, seed: int) -> None:
        self._url = url
        self._seed = seed
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._call, args=(n,), daemon=True) for n in range(CALLERS)]

    def start(self) -> None:
        """Begins."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends it; each caller ends the request that it has."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * PATIENCE)
            if thread.is_alive():
                self._tell_wrong("a caller hangs")

    def _count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    def _tell_wrong(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def _call(self, number: int) -> None:
        rng = random.Random(f"{self._seed} {number}")  # noqa: S311  # not a secret
        with cresset.Client(self._url) as client:
            while not self._stop.wait(rng.uniform(0, 2 * PAUSE_SECONDS)):
                try:
                    self._fickle(client, rng) if number < FICKLE_CALLERS else self._steady(client, rng)
                except (cresset.CressetError, ValueError) as error:  # noqa: PERF203  # whatever a caller sees is told
                    self._tell_wrong(f"{type(error).__name__}: {error}")

    def _fickle(self, client: cresset.Client, rng: random.Random) -> None:
        self._count("fickle")
        fates = list(FATES)
        do = rng.choices(fates, [FATES[fate][0] for fate in fates])[0]
        end = client.submit("fickle", {"n": rng.randrange(1 << 30), "do": do}).wait(PATIENCE)
        if end.status != FATES[do][1]:
            self._tell_wrong(f"an input that should {do or 'succeed'} ended as {end.status}: {end.error}")

    def _steady(self, client: cresset.Client, rng: random.Random) -> None:
        kind = rng.choices(("predict", "leak", "large", "cancel", "delay"), (40, 40, 5, 8, 7))[0]
        value: Any = {"n": rng.randrange(1 << 30)}
        self._count(kind)
        if kind == "predict":
            self._same(client.predict("leaking", value), value)
        elif kind == "leak":
            self._same(client.submit("leaking", value).result(PATIENCE), value)
        elif kind == "large":
            value["text"] = "x" * LARGE
            self._same(client.submit("leaking", value).result(PATIENCE), value)
        elif kind == "cancel":
            handle = client.submit("leaking", value, countdown=rng.choice((0, 0.5)))
            cancelled = handle.cancel()
            end = handle.wait(PATIENCE).status
            if end != cancelled.status:
                self._tell_wrong(f"a cancel said {cancelled.status}, and the task is {end}")
        else:
            self._same(client.submit("leaking", value, countdown=rng.uniform(0, 1)).result(PATIENCE), value)

    def _same(self, result: Any, value: Any) -> None:
        if result != value:
            self._tell_wrong(f"another input's result: {str(result)[:80]} for {str(value)[:80]}")


def run(served: Served, seconds: float, seed: int) -> tuple[list[dict[str, float]], Callers, int]:
    """The samples, the callers, and how many processes were killed."""
    callers = Callers(served.url, seed)
    callers.start()
    rng = random.Random(seed)  # noqa: S311  # as above
    series: list[dict[str, float]] = []
    began = time.monotonic()
    killed, next_kill = 0, KILL_SECONDS
    while (now := time.monotonic() - began) < seconds:
        if now >= next_kill and (pids := served.instances()):
            with suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed += 1
            next_kill += KILL_SECONDS
        series.append({"seconds": now, **served.sample()})
        time.sleep(SAMPLE_SECONDS)
    callers.stop()
    return series, callers, killed


def verdict(series: list[dict[str, float]]) -> tuple[list[str], bool]:
    """A row for each figure, and whether none has grown."""
    quarter = len(series) // 4
    rows, flat = [], True
    for figure, allowed in FIGURES.items():
        values = [sample[figure] for sample in series]
        before = statistics.median(values[quarter : 2 * quarter])
        after = statistics.median(values[-quarter:])
        grown = after > before * allowed + 1
        flat &= not grown
        rows.append(
            f"| {figure} | {before:.1f} | {after:.1f} | {max(values):.1f} | {'**grew**' if grown else 'flat'} |"
        )
    return rows, flat


def graph(series: list[dict[str, float]]) -> str:
    """The series as an SVG: one small picture for each figure, all over the same time."""
    width, height, left, gap = 760, 90, 120, 26
    end = series[-1]["seconds"]
    parts = []
    for row, figure in enumerate(FIGURES):
        values = [sample[figure] for sample in series]
        top, base = max(values) or 1, 20 + row * (height + gap)
        points = " ".join(
            f"{left + width * sample['seconds'] / end:.1f},{base + height * (1 - sample[figure] / top):.1f}"
            for sample in series
        )
        parts.append(f'<rect x="{left}" y="{base}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>')
        parts.append(f'<polyline points="{points}" fill="none" stroke="#c33" stroke-width="1.2"/>')
        parts.append(f'<text x="{left - 8}" y="{base + 12}" text-anchor="end">{figure.replace("_", " ")}</text>')
        parts.append(f'<text x="{left - 8}" y="{base + 28}" text-anchor="end">0 to {top:.0f}</text>')
    whole = 20 + len(FIGURES) * (height + gap) + 16
    parts.append(f'<text x="{left}" y="{whole - 12}">0</text>')
    parts.append(f'<text x="{left + width}" y="{whole - 12}" text-anchor="end">{end / 60:.0f} minutes</text>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 20} {whole}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def main() -> int:
    """Soaks, and tells."""
    parser = argparse.ArgumentParser(description="Half an hour of mixed load: does anything grow?")
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target/release/cresset")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 30))
    parser.add_argument("--write-docs", action="store_true", help="keep the series and the graph in docs/soak")
    words = parser.parse_args()
    print(f"seed {words.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        served = Served(words.program.resolve(), Path(folder))
        series, callers, killed = run(served, words.minutes * 60, words.seed)
        with cresset.Client(served.url) as client:
            places = [place for model in client.models() for place in model.instances]
            recycled, restarts = (sum(getattr(p, name) for p in places) for name in ("recycled", "restarts"))
        status = served.stop()
    rows, flat = verdict(series)
    table = ["| figure | second quarter | last quarter | most | |", "| --- | --- | --- | --- | --- |", *rows]
    told = f"{sum(callers.counts.values()):,} requests {json.dumps(dict(callers.counts))}, "
    told += f"{killed} processes killed, {restarts} restarts, {recycled} replaced as worn, exit status {status}, "
    told += f"{len(callers.wrong)} wrong"
    print("\n".join(table) + f"\n{told}")
    for what in callers.wrong[:20]:
        print(f"wrong: {what}")
    if words.write_docs:
        folder = REPOSITORY / "docs/soak"
        folder.mkdir(exist_ok=True)
        names = ["seconds", *FIGURES]
        lines = [",".join(f"{sample[name]:.1f}" for name in names) for sample in series]
        (folder / "series.csv").write_text("\n".join([",".join(names), *lines]) + "\n")
        (folder / "graph.svg").write_text(graph(series))
        (folder / "summary.md").write_text("\n".join(table) + f"\n\n{told}\n")
    return 0 if flat and not callers.wrong and status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
