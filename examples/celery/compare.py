"""Serves one Celery application first by a real Celery worker, then by Cresset, and prints both.

    make celery                                                 on a Redis of its own
    make celery BROKER=rabbitmq                                 on the RabbitMQ of this machine
    make celery BROKER=amqp://guest:guest@127.0.0.1:5672//      on that one

The application is tasks.py beside this file, as it is: it sends by `.delay()` and waits by `.get()`. The queue is
filled once, before a worker is there, with the same messages for both; each then drains it. After that callers, each a
process of its own, send one task after the other and wait for it. The rounds take turns in who is first, and the median
of the rounds counts: other work on the machine disturbs one or the other.

The exit status is 0 when Cresset is as much better as it has to be, 1 when it is not, and 69 when something that this
needs is not there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from brokers import LOOK_EVERY, USUAL, Broker, MissingError, Results, places
from callers import Answered, Callers, Place, waiting
from tasks import app, perform_inference

HERE = Path(__file__).resolve().parent
REPO = HERE.parent.parent
DRAINED_WITHIN = 600.0
SKIPPED = 0.1
"""The share of the queue that is not timed: what a worker does while it starts."""
BAR = 8.0
"""Cresset must drain the queue so many times as fast."""
SAME = 1e-4
"""Two answers to one image that differ by less are the same: a batch is added up in another order."""
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h."""
AMQP = ("amqp://", "pyamqp://", "amqps://")
NAMES = {"celery": "Celery, prefork, 2", "cresset": "Cresset"}


@dataclass
class Measured:
    """What one worker did in one round."""

    rate: float
    loads: dict[int, list[Answered]]
    """Callers at once -> their calls."""

    def ms(self, load: int, share: float) -> float:
        """The latency that this share of the calls kept, in milliseconds."""
        took = sorted(one.ms for one in self.loads[load])
        return took[min(int(len(took) * share), len(took) - 1)]

    def told(self) -> dict[str, Any]:
        """The figures."""
        loads = {str(load): {"p50_ms": self.ms(load, 0.5), "p99_ms": self.ms(load, 0.99)} for load in self.loads}
        return {"drained_a_second": self.rate, "callers": loads}


@dataclass
class Round:
    """Both workers."""

    celery: Measured
    cresset: Measured

    def ratio(self) -> float:
        """How many times as fast Cresset drained."""
        return self.cresset.rate / self.celery.rate

    def difference(self) -> float:
        """The largest between two answers to the same image."""
        answers = {one.image: one.answer for calls in self.celery.loads.values() for one in calls}
        calls = [one for calls in self.cresset.loads.values() for one in calls if one.image in answers]
        return max(abs(a - b) for one in calls for a, b in zip(one.answer, answers[one.image], strict=True))

    def sooner(self, load: int) -> float:
        """How many times as soon the median call was answered by Cresset."""
        return self.celery.ms(load, 0.5) / self.cresset.ms(load, 0.5)


@dataclass
class Summary:
    """All rounds: of each figure the median."""

    ratio: float
    sooner: dict[int, float]
    difference: float

    @classmethod
    def of(cls, rounds: list[Round]) -> Summary:
        """Sums them up."""
        sooner = {load: median(one.sooner(load) for one in rounds) for load in rounds[0].celery.loads}
        ratio = median(one.ratio() for one in rounds)
        return cls(ratio, sooner, max(one.difference() for one in rounds))

    def missed(self) -> list[str]:
        """What Cresset had to reach and did not."""
        found = [f"drained {self.ratio:.1f} times as fast, and not {BAR:.0f}"] if self.ratio < BAR else []
        found += [f"p50 with {load} at once is not lower" for load, times in self.sooner.items() if times <= 1.0]
        if self.difference >= SAME:
            found.append(f"answers to one image differ by {self.difference:.1e}")
        return found


@contextmanager
def running(words: list[str], log: Path, place: Place) -> Generator[subprocess.Popen[bytes]]:
    """A worker, ended afterwards."""
    told = {"BROKER_URL": place.broker, "RESULT_BACKEND": place.results}
    with log.open("wb") as out:
        process = subprocess.Popen(
            words, stdout=out, stderr=out, stdin=subprocess.DEVNULL, cwd=HERE, env={**os.environ, **told}
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


def drain(results: Results, worker: subprocess.Popen[bytes], count: int, log: Path) -> float:
    """Tasks a second, from the last look at which the worker was hardly at it."""
    ends = time.monotonic() + DRAINED_WITHIN
    began, first = time.monotonic(), 0
    while (done := results.done()) < count:
        now = time.monotonic()
        if worker.poll() is not None or now > ends:
            raise SystemExit(f"error: the worker did {done} of {count} tasks:\n{log.read_text()[-3000:]}")
        if done < count * SKIPPED:
            began, first = now, done
        time.sleep(LOOK_EVERY)
    return (count - first) / (time.monotonic() - began)


@dataclass
class Comparison:
    """The two workers on one broker."""

    broker: Broker
    results: Results
    place: Place
    callers: Callers
    folder: Path
    words: dict[str, list[str]]
    wanted: argparse.Namespace

    def measure(self, name: str) -> Measured:
        """Lets one worker drain the queue, then asks it at each load."""
        self.results.clear()
        self.broker.refill()
        log = self.folder / f"{name}.log"
        with running(self.words[name], log, self.place) as worker:
            rate = drain(self.results, worker, self.wanted.tasks, log)
            return Measured(rate, {load: self.callers.ask(load, self.wanted.calls) for load in self.wanted.callers})

    def round(self, number: int) -> Round:
        """Both, in turns."""
        order = ("celery", "cresset") if number % 2 == 0 else ("cresset", "celery")
        return Round(**{name: self.measure(name) for name in order})


def workers(place: Place, wanted: argparse.Namespace, folder: str) -> dict[str, list[str]]:
    """What starts each: the real one at its best on two cores, Cresset as it is."""
    real = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-Q", place.queue, "--concurrency", "2"]
    real += ["--loglevel", "warning", "--prefetch-multiplier", str(wanted.prefetch)]
    real += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    ours = [str(wanted.cresset.resolve()), "worker", str(HERE.parent / "digits"), "--celery", place.queue]
    ours += ["--broker", place.broker, "--result-backend", place.results]
    ours += ["--celery-tasks", "tasks.perform_inference=digits", "--listen", "127.0.0.1:0", "--data-dir", folder]
    return {"celery": real, "cresset": ours}


def report(one: Round) -> None:
    """Prints both."""
    loads = list(one.celery.loads)
    print(f"{'delay -> get, p50 / p99':<24}{'drained':>12}" + "".join(f"{f'{load} at once':>20}" for load in loads))
    for name, measured in ((NAMES["celery"], one.celery), (NAMES["cresset"], one.cresset)):
        took = (f"{measured.ms(load, 0.5):.2f} / {measured.ms(load, 0.99):.2f} ms" for load in loads)
        print(f"{name:<24}{f'{measured.rate:,.0f} /s':>12}" + "".join(f"{text:>20}" for text in took))
    faster = (f"{one.sooner(load):.1f}" for load in loads)
    print(f"{'times as fast':<24}{one.ratio():>12.1f}" + "".join(f"{text:>20}" for text in faster))
    print(f"the largest difference between two answers to the same image is {one.difference():.1e}", flush=True)


def compare(wanted: argparse.Namespace) -> int:
    """Runs both in each round."""
    if not wanted.cresset.exists():
        raise MissingError(f"there is no {wanted.cresset} (make celery builds it)")
    images = [json.loads(line) for line in (HERE.parent / "digits" / "heldout" / "images.jsonl").open()]
    url = USUAL if wanted.broker == "rabbitmq" else wanted.broker
    stored = wanted.results or ("redis" if url == "redis" else "rpc")
    # The queue that results by RPC come to has this name in every application.
    with (
        tempfile.TemporaryDirectory() as folder,
        places(url, stored, app.thread_oid, Path(folder)) as (broker, results),
    ):
        place = Place(broker.url, results.url, broker.queue)
        place.take()
        load = " ".join(f"{one:.1f}" for one in os.getloadavg())
        print(f"{broker.said}; {results.said}; load average of the machine before: {load}", flush=True)
        for at in range(wanted.tasks):
            perform_inference.delay(images[at % len(images)])
        broker.keep(wanted.tasks)
        with waiting(max(wanted.callers), place, images) as callers:
            words = workers(place, wanted, folder)
            both = Comparison(broker, results, place, callers, Path(folder), words, wanted)
            rounds: list[Round] = []
            for number in range(wanted.rounds):
                rounds.append(both.round(number))
                report(rounds[-1])
        app.close()
    summary = Summary.of(rounds)
    times = "".join(f"{f'{times:.1f}':>20}" for times in summary.sooner.values())
    print(f"{f'times, median of {len(rounds)}':<24}{summary.ratio:>12.1f}{times}")
    missed = summary.missed()
    if wanted.json:
        told = [{"celery": one.celery.told(), "cresset": one.cresset.told(), "ratio": one.ratio()} for one in rounds]
        kinds = {"broker": broker.said, "results": results.said}
        medians = {"ratio": summary.ratio, "sooner": {str(load): times for load, times in summary.sooner.items()}}
        figures = {**kinds, "rounds": told, "medians": medians, "difference": summary.difference, "missed": missed}
        wanted.json.write_text(json.dumps(figures))
    for text in missed:
        print(f"not reached: {text}")
    return 1 if missed else 0


def main() -> int:
    """Reads the command line; the exit status."""
    parser = argparse.ArgumentParser(description="Compare a real Celery worker with Cresset.")
    parser.add_argument(
        "--broker", default="redis", help="redis (one of its own), rabbitmq, or amqp://... (%(default)s)"
    )
    parser.add_argument("--results", choices=["redis", "rpc"], help="with RabbitMQ: where results go (default: rpc)")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured (default: %(default)s)")
    parser.add_argument("--tasks", type=int, default=20000, help="tasks in the queue (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=600, help="tasks that are waited for at each load (%(default)s)")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 4, 16], help="how many ask at once (%(default)s)")
    parser.add_argument("--prefetch", type=int, default=32, help="the real worker's prefetch multiplier (%(default)s)")
    parser.add_argument("--cresset", type=Path, default=REPO / "target" / "release" / "cresset")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    wanted = parser.parse_args()
    if wanted.broker not in ("redis", "rabbitmq") and not wanted.broker.startswith(AMQP):
        parser.error("--broker is redis (one that is started for the run), rabbitmq, or the address of a RabbitMQ")
    if wanted.broker == "redis" and wanted.results == "rpc":
        parser.error("results by RPC are measured with RabbitMQ")
    try:
        return compare(wanted)
    except MissingError as error:
        print(f"error: {error}", file=sys.stderr)
        return UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
