"""Serves one Celery application first by a real Celery worker, then by Cresset, and prints both.

    make celery

The application is tasks.py beside this file, as it is: it sends by `.delay()` and waits by `.get()`. The queue is
filled once, before a worker is there, with the same messages for both; each then drains it. After that one task after
the other is sent and waited for. Needs `redis-server`, and starts one of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from tasks import app, perform_inference

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
QUEUE = "celery"
SAVED = "saved"
STARTED_WITHIN = 120.0
"""Import of torch from a cold disk; for Cresset the model's environment may have to be built first."""
DRAINED_WITHIN = 600.0
LOOK_EVERY = 0.005
SKIPPED = 0.1
"""The share of the queue that is not timed: what a worker does while it starts."""
BAR = 8.0
"""Cresset must drain the queue so many times as fast."""


@dataclass
class Measured:
    """What one worker did."""

    name: str
    rate: float
    p50_ms: float
    p99_ms: float
    answers: list[list[float]]


@contextmanager
def running(words: list[str], log: Path, url: str) -> Generator[subprocess.Popen[bytes]]:
    """A program, ended afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=HERE, env={**os.environ, "REDIS_URL": url}
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


@dataclass
class Services:
    """The broker, and where results go: nothing else is there."""

    broker: Any
    results: Any
    folder: Path
    url: str

    def done(self) -> int:
        """How many results are stored."""
        return int(self.results.dbsize())


def drain(services: Services, worker: subprocess.Popen[bytes], count: int, log: Path) -> float:
    """Tasks a second, once the worker is at it."""
    first_at, first, last = 0.0, 0, time.monotonic()
    while (left := int(services.broker.llen(QUEUE))) or not first:
        now = time.monotonic()
        if worker.poll() is not None or now - last > DRAINED_WITHIN:
            raise SystemExit(f"the worker did not drain the queue:\n{log.read_text()[-3000:]}")
        if not first and count - left >= count * SKIPPED:
            first_at, first = now, services.done()
        time.sleep(LOOK_EVERY)
    while (ended := services.done()) < count:
        if worker.poll() is not None or time.monotonic() - last > DRAINED_WITHIN:
            raise SystemExit(f"the worker did {ended} of {count} tasks:\n{log.read_text()[-3000:]}")
        time.sleep(LOOK_EVERY)
    return (count - first) / (time.monotonic() - first_at)


def measure(name: str, words: list[str], images: list[Any], count: int, services: Services) -> Measured:
    """Lets one worker drain the queue, then asks it one thing after the other."""
    services.results.flushdb()
    services.broker.copy(SAVED, QUEUE)
    log = services.folder / f"{name}.log"
    with running(words, log, services.url) as worker:
        rate = drain(services, worker, count, log)
        answers: list[list[float]] = []
        took: list[float] = []
        for image in images:
            began = time.perf_counter()
            answers.append(perform_inference.delay(image).get(timeout=STARTED_WITHIN))
            took.append((time.perf_counter() - began) * 1e3)
    took.sort()
    return Measured(name, rate, statistics.median(took), took[int(len(took) * 0.99)], answers)


def report(celery: Measured, cresset: Measured) -> bool:
    """Prints both; whether Cresset is as much better as it has to be."""
    print(f"{'':<22}{'drained':>14}{'delay -> get p50':>20}{'p99':>12}")
    for one in (celery, cresset):
        print(f"{one.name:<22}{one.rate:>10.0f} /s  {one.p50_ms:>16.2f} ms{one.p99_ms:>9.2f} ms")
    ratio = cresset.rate / celery.rate
    print(f"Cresset drains the queue {ratio:.1f} times as fast")
    furthest = max(
        abs(a - b) for x, y in zip(celery.answers, cresset.answers, strict=True) for a, b in zip(x, y, strict=True)
    )
    print(f"the largest difference between two answers to the same image is {furthest:.1e}")
    return ratio >= BAR and cresset.p50_ms < celery.p50_ms and furthest < 1e-4


def main() -> int:
    """Runs both; the exit status says whether the bar was reached."""
    parser = argparse.ArgumentParser(description="Compare a real Celery worker with Cresset.")
    parser.add_argument("--tasks", type=int, default=8000, help="tasks in the queue (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=300, help="tasks sent one by one (default: %(default)s)")
    parser.add_argument("--prefetch", type=int, default=32, help="the real worker's prefetch multiplier (%(default)s)")
    parser.add_argument("--cresset", type=Path, default=REPO / "target" / "release" / "cresset")
    wanted = parser.parse_args()
    if shutil.which("redis-server") is None:
        raise SystemExit("error: redis-server is not installed (Debian: apt install redis-server)")
    images = [json.loads(line) for line in (HERE.parent / "digits" / "heldout" / "images.jsonl").open()]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"redis://127.0.0.1:{port}"
    app.conf.update(broker_url=f"{url}/0", result_backend=f"{url}/1")
    server = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    real = [sys.executable, "-m", "celery", "-A", "tasks", "--result-backend", f"{url}/1", "worker"]
    real += ["--concurrency", "2", "--loglevel", "warning", "--prefetch-multiplier", str(wanted.prefetch)]
    real += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    with tempfile.TemporaryDirectory() as folder:
        ours = [
            str(wanted.cresset.resolve()),
            "worker",
            str(HERE.parent / "digits"),
            "--celery",
            QUEUE,
            "--broker",
            f"{url}/0",
        ]
        ours += ["--result-backend", f"{url}/1", "--celery-tasks", "tasks.perform_inference=digits"]
        ours += ["--listen", "127.0.0.1:0", "--data-dir", folder]
        broker, results = (redis.Redis(port=port, db=db) for db in (0, 1))
        services = Services(broker, results, Path(folder), f"{url}/0")
        with running(server, Path(folder) / "redis.log", url):
            fill(broker, images, wanted.tasks)
            some = images[: wanted.calls]
            celery = measure("Celery, prefork, 2", real, some, wanted.tasks, services)
            cresset = measure("Cresset", ours, some, wanted.tasks, services)
    return 0 if report(celery, cresset) else 1


def fill(client: Any, images: list[Any], count: int) -> None:
    """Sends the tasks, and keeps the messages for the second worker."""
    began = time.monotonic()
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            if time.monotonic() - began > STARTED_WITHIN:
                raise
            time.sleep(LOOK_EVERY)
    for at in range(count):
        perform_inference.apply_async((images[at % len(images)],))
    client.rename(QUEUE, SAVED)


if __name__ == "__main__":
    sys.exit(main())
