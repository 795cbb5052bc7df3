"""The spine's bars, measured on the digits example: memory, start, wake-up of waiters, throughput.

    python benches/spine.py [--program target/release/cresset] [--rounds 3]

It prints one table; every figure is a median with its 99th percentile, over interleaved rounds. The interpreter must
have torch and the `cresset` package (the one that `make test` uses). Bars live here, never in timed tests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx

REPOSITORY = Path(__file__).resolve().parents[1]
DIGITS = REPOSITORY / "examples" / "digits"
URL = re.compile(r"http://[0-9.]+:\d+")
READY = re.compile(r"load_ms=([0-9.]+) warmup_ms=([0-9.]+)")


class Run:
    """One server on the digits example, with the times of its start."""

    def __init__(self, program: Path, folder: Path) -> None:
        """Starts it and waits until the model is ready."""
        models = folder / "digits"
        shutil.copytree(DIGITS, models, ignore=shutil.ignore_patterns("requirements.txt", "__pycache__"))
        with (models / "model.toml").open("a") as toml:
            toml.write(f'\n[environment]\npython = "{sys.executable}"\n')
        began = time.perf_counter()
        command = [program, "serve", models, "--listen", "127.0.0.1:0", "--data-dir", folder / "data"]
        self.process = subprocess.Popen([str(c) for c in command], stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if found := URL.search(line):
                self.url = found.group()
                break
        else:
            raise RuntimeError("the server did not start")
        self.listening_ms = (time.perf_counter() - began) * 1e3
        self.rss_idle_mb = self.rss_mb()
        for line in self.process.stderr:
            if found := READY.search(line):
                self.ready_ms = (time.perf_counter() - began) * 1e3
                self.own_load_ms = float(found.group(1)) + float(found.group(2))
                break
        else:
            raise RuntimeError("the model did not come up")
        # Nobody reads the log from here on; the pipe must not fill.
        self.drain = subprocess.Popen(["cat"], stdin=self.process.stderr, stdout=subprocess.DEVNULL)
        assert httpx.get(f"{self.url}/health/ready").status_code == 200

    def rss_mb(self) -> float:
        """Resident memory of the server process alone, without its children."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024  # type: ignore[union-attr]

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(60)
        self.drain.wait(60)


async def wake_ms(url: str, count: int) -> list[float]:
    """From `finished_at`, before the result is written, to the waiter holding it: an upper bound of the wake-up."""
    image = json.loads((DIGITS / "heldout" / "images.jsonl").open().readline())
    out = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        for _ in range(count):
            place = (await client.post("/v1/models/digits/tasks", json={"input": image})).headers["location"]
            task = (await client.get(place, params={"wait": "30s"})).json()
            finished = datetime.fromisoformat(task["finished_at"]).timestamp()
            out.append((time.time() - finished) * 1e3)
    return out


def bulk(program: Path, url: str, count: int, in_flight: int) -> float:
    """Tasks a second through `cresset submit --jsonl`: each is submitted, stored, run, and its result fetched."""
    lines = (DIGITS / "heldout" / "images.jsonl").read_text().splitlines()
    text = "".join(lines[i % len(lines)] + "\n" for i in range(count))
    command = [program, "submit", "digits", "--jsonl", "-", "--in-flight", str(in_flight), "--url", url]
    began = time.perf_counter()
    done = subprocess.run([str(c) for c in command], input=text, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    assert done.stdout.count('"SUCCESS"') == count, done.stderr
    return count / took


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            run = Run(options.program, Path(folder))
            try:
                rows.setdefault("listening after start, ms", []).append(run.listening_ms)
                rows.setdefault("ready after start, ms", []).append(run.ready_ms)
                rows.setdefault("import, load and warm-up, ms", []).append(run.own_load_ms)
                rows.setdefault("ready less those, ms", []).append(run.ready_ms - run.own_load_ms)
                rows.setdefault("server memory at start, MB", []).append(run.rss_idle_mb)
                rows.setdefault("finished to waiter woken, ms", []).extend(asyncio.run(wake_ms(run.url, 300)))
                for in_flight in (1, 64, 256):
                    rate = bulk(options.program, run.url, 300 * in_flight if in_flight < 64 else 20_000, in_flight)
                    rows.setdefault(f"submit to result at {in_flight}, tasks/s", []).append(rate)
                rows.setdefault("server memory after load, MB", []).append(run.rss_mb())
            finally:
                run.stop()
    print(f"{'figure':45} {'median':>10} {'p99':>10} {'n':>6}")
    for name, values in rows.items():
        print(f"{name:45} {statistics.median(values):10.1f} {p99(values):10.1f} {len(values):6}")


if __name__ == "__main__":
    main()
