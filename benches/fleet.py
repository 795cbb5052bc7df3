"""What a fleet of workers gets out of one store, simulated: up to 1,000 workers and 10,000,000 queued tasks.

    python3 benches/fleet.py --group-ms 1.1 --lease-us 20 --finish-us 45 --hop-ms 0.2
    python3 benches/fleet.py --queued 10000000 --workers 1 10 100 1000 --batch-ms 50 --json

The clock is virtual, so a day of a thousand machines takes seconds here, and the same arguments give the same table.
What is simulated: workers of two seats, one batch running and one leased behind it, and a store that writes one group
after the other: whatever operations have come meanwhile are the next group, which takes a fixed time (the commit) and
a time for each task in it. A queue that is longer costs more by a share for each tenfold of it. These four numbers are
measured, not made up: docs/scaling.md says by which commands. What is not simulated: networks that lose packets,
workers that die, a store that has other work.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import random
from collections import deque
from dataclasses import asdict, dataclass
from typing import NamedTuple

GROUP_OPERATIONS_MAX = 512
"""As crates/queue-postgres and crates/queue-sql have it: more wait for the next group."""
SPREAD = 0.1
"""Batches take so much more or less than they should: workers that began together do not stay so."""


@dataclass(frozen=True)
class Store:
    """What a store takes. Times are in seconds."""

    group: float
    """A group, whatever is in it: begin, commit, flush."""
    lease: float
    """A task that is leased, with its input."""
    finish: float
    """A task that is ended, with its result."""
    hop: float
    """Between a worker and the store, one way."""
    decade: float
    """The share by which a lease costs more with each tenfold of queued tasks."""

    def lease_with(self, queued: int) -> float:
        """What a leased task costs beside so many queued ones."""
        return self.lease * (1 + self.decade * math.log10(max(queued, 1)))


@dataclass(frozen=True)
class Fleet:
    """Workers that are all alike."""

    workers: int
    batch: int
    """Tasks in a batch."""
    seconds: float
    """How long a batch runs."""


class Operation(NamedTuple):
    """What a worker asks of the store."""

    worker: int
    asked: float
    is_lease: bool


@dataclass(frozen=True)
class Drained:
    """What came of it."""

    workers: int
    tasks_per_second: float
    workers_busy: float
    store_busy: float
    operations_per_group: float
    lease_p50_ms: float
    lease_p99_ms: float


class Drain:
    """A queue of so many tasks, from full to empty."""

    def __init__(self, store: Store, fleet: Fleet, queued: int, seed: int) -> None:
        self.store, self.fleet, self.left = store, fleet, queued
        self.chance = random.Random(seed)  # noqa: S311 - a model of machines, no secret
        self.now, self.done, self.busy, self.computed = 0.0, 0, 0.0, 0.0
        self.groups, self.operations = 0, 0
        self.waits: list[float] = []
        self.events: list[tuple[float, int, str, int]] = []
        self.serial = 0
        self.pending: deque[Operation] = deque()
        self.writing: list[Operation] = []
        self.is_running = [False] * fleet.workers
        self.has_behind = [False] * fleet.workers

    def run(self) -> Drained:
        """Plays it."""
        deeds = {"lease": self.ask, "finish": self.ask, "written": self.written, "leased": self.leased, "ran": self.ran}
        queued = self.left
        for worker in range(self.fleet.workers):
            self.after(self.store.hop, "lease", worker)
        while self.events and self.done < queued:
            self.now, _, what, worker = heapq.heappop(self.events)
            deeds[what](worker, what)
            if self.pending and not self.writing:
                self.write()
        self.waits.sort()
        return Drained(
            workers=self.fleet.workers,
            tasks_per_second=self.done / self.now,
            workers_busy=self.computed / (self.now * self.fleet.workers),
            store_busy=self.busy / self.now,
            operations_per_group=self.operations / self.groups,
            lease_p50_ms=1e3 * self.waits[len(self.waits) // 2],
            lease_p99_ms=1e3 * self.waits[len(self.waits) * 99 // 100],
        )

    def after(self, seconds: float, what: str, worker: int) -> None:
        """Something happens then."""
        self.serial += 1
        heapq.heappush(self.events, (self.now + seconds, self.serial, what, worker))

    def ask(self, worker: int, what: str) -> None:
        """An operation has come to the store."""
        self.pending.append(Operation(worker, self.now, what == "lease"))

    def write(self) -> None:
        """The store begins the next group, of whatever has come."""
        cost = self.store.group
        while self.pending and len(self.writing) < GROUP_OPERATIONS_MAX:
            one = self.pending.popleft()
            self.writing.append(one)
            cost += self.fleet.batch * (self.store.lease_with(self.left) if one.is_lease else self.store.finish)
        self.groups += 1
        self.operations += len(self.writing)
        self.busy += cost
        self.after(cost, "written", 0)

    def written(self, _worker: int, _what: str) -> None:
        """The group is answered."""
        for one in self.writing:
            if not one.is_lease:
                self.done += self.fleet.batch
                continue
            self.waits.append(self.now - one.asked + 2 * self.store.hop)
            if self.left > 0:
                self.left -= self.fleet.batch
                self.after(self.store.hop, "leased", one.worker)
        self.writing = []

    def leased(self, worker: int, _what: str) -> None:
        """A batch is at its worker."""
        self.has_behind[worker] = True
        if not self.is_running[worker]:
            self.begin(worker)

    def begin(self, worker: int) -> None:
        """It runs, and the seat behind it asks for another."""
        takes = self.fleet.seconds * self.chance.uniform(1 - SPREAD, 1 + SPREAD)
        self.is_running[worker], self.has_behind[worker] = True, False
        self.computed += takes
        self.after(takes, "ran", worker)
        self.after(self.store.hop, "lease", worker)

    def ran(self, worker: int, _what: str) -> None:
        """It is computed."""
        self.is_running[worker] = False
        self.after(self.store.hop, "finish", worker)
        if self.has_behind[worker]:
            self.begin(worker)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--group-ms", type=float, required=True, help="a group whatever is in it")
    parser.add_argument("--lease-us", type=float, required=True, help="a task that is leased")
    parser.add_argument("--finish-us", type=float, required=True, help="a task that is ended")
    parser.add_argument("--hop-ms", type=float, default=0.2, help="between worker and store, one way (default 0.2)")
    parser.add_argument("--decade", type=float, default=0.01, help="share that tenfold as many queued add to a lease")
    parser.add_argument("--queued", type=int, default=10_000_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batch-ms", type=float, nargs="+", default=[10, 100, 1000], help="how long a batch runs")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 3, 10, 30, 100, 300, 1000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one object a line")
    said = parser.parse_args()
    store = Store(said.group_ms / 1e3, said.lease_us / 1e6, said.finish_us / 1e6, said.hop_ms / 1e3, said.decade)
    for milliseconds in said.batch_ms:
        fleets = [Fleet(workers, said.batch, milliseconds / 1e3) for workers in said.workers]
        if not said.json:
            print(f"\nbatches of {said.batch} that run {milliseconds:g} ms, {said.queued:,} queued")
            print("workers   tasks/s  workers busy  store busy  operations a group  lease p50 / p99, ms")
        for fleet in fleets:
            got = Drain(store, fleet, said.queued, said.seed).run()
            if said.json:
                print(json.dumps({"batch_ms": milliseconds, "queued": said.queued, **asdict(got)}))
                continue
            print(
                f"{got.workers:7,} {got.tasks_per_second:9,.0f} {got.workers_busy:13.0%} {got.store_busy:11.0%}"
                f" {got.operations_per_group:19.1f} {got.lease_p50_ms:10.1f} / {got.lease_p99_ms:.1f}"
            )


if __name__ == "__main__":
    main()
