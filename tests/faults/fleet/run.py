"""A run of a fleet: two gateways and three workers, each a process of its own, on one store.

What is other when they meet over a broker is in `broker_run`.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from support.link import Link

from faults.aftermath import Aftermath
from faults.client import Client
from faults.fleet.aftermath import StoreAftermath, stop
from faults.fleet.between import Between
from faults.fleet.cluster import Store
from faults.fleet.injector import FleetInjector
from faults.fleet.member import Member, StoreMember
from faults.history import Fault, History, Wrong
from faults.how import How
from faults.models import NOTES, TRIES, write_models
from faults.process import LONG, MARK, Process, own_address
from faults.proxy import Proxy
from faults.ready import wait_instances
from faults.workload import KINDS, Manner, Workload

GATEWAYS = 2
WORKERS = 3
CALLERS = 7
#: Each server has a port, the one above it for a bad network before it, and one for its way to the store.
PORTS = range(8700, 8750, 10)
STORE_PORT = 8790
#: It is broken for longer than one server is: callers take their time, and wait less for one that is stopped. More of
#: what they ask for takes a while, in small batches, so that a worker mostly has leases when something happens to it.
MANNER = Manner(pace=0.12, timeout=4.0, kinds=KINDS | {"sleep": 60}, sleep_max=0.6)
BATCH = 2
#: What a worker says of a model that takes tasks; after deaths in a row it says the second for a minute.
READY = ("ready", "degraded")
#: Of a gateway and of a worker nothing stays in the data folder: all is at the store.
FILES_AT_REST: frozenset[str] = frozenset()


class FleetRun:
    """Everything that one seed needs; `close` ends all of it, whatever happened."""

    files_at_rest: Collection[str] = FILES_AT_REST

    def __init__(self, seed: int, home: Path, history: History, families: list[str], how: How) -> None:
        self._how = how
        self._history = history
        self._home = home
        self._open = ExitStack()
        tries, temporary, models = home / "tries", home / "tmp", write_models(home / "models", BATCH)
        for folder in (tries, temporary):
            folder.mkdir()
        self._environment = {
            NOTES: str(home / "notes"),
            TRIES: str(tries),
            "TMPDIR": str(temporary),
            **({} if how.durability == "fsync" else {"CRESSET_DURABILITY": how.durability}),
        }
        self._families = families
        self._between = self._made(seed)
        self._open.callback(self._between.close)
        names = [f"gateway {n}" for n in range(GATEWAYS)] + [f"worker {n}" for n in range(WORKERS)]
        self._members = [self._member(name, port, models, seed) for name, port in zip(names, PORTS, strict=True)]
        self._gateways, self._workers = self._members[:GATEWAYS], self._members[GATEWAYS:]
        houses = [self.houses[caller % GATEWAYS] for caller in range(CALLERS)]
        self.workload = Workload(history, self._doors(seed), seed, MANNER, houses)
        self.injector = FleetInjector(self._members, self._between, history, seed, families)

    def _made(self, seed: int) -> Between:
        """What is between them."""
        where = (own_address(), STORE_PORT)
        return Store(self._how.store, where, self._home / "store.log", with_standby="failover" in self._families)

    @property
    def houses(self) -> tuple[int, ...]:
        """For each gateway: to whom its tasks are known. Here to all."""
        return (0,) * GATEWAYS

    def _words(self, role: str, models: Path) -> list[str]:
        """The command of one of them, but for where they meet."""
        return [role, *([str(models)] if role == "worker" else [])]

    def _member(self, name: str, port: int, models: Path, seed: int) -> Member:
        role = name.split(maxsplit=1)[0]
        data = self._home / name.replace(" ", "-")
        data.mkdir()
        mark = f"{os.getpid()}-{seed}-{data.name}"
        link = Link((own_address(), port + 2), self._between.at)
        self._open.callback(link.close)
        words = [*self._words(role, models), "--broker", self._between.url_by(link.address, mark)]
        environment = {MARK: mark, **self._environment}
        log = self._home / f"{data.name}.log"
        process = Process(words, data, log, environment, self._how.cache / "cache", name=name, port=port)
        self._open.callback(process.close)
        return self._as_member(process, link, random.Random(f"{seed} {name}"))

    def _as_member(self, process: Process, link: Link, rng: random.Random) -> Member:
        assert isinstance(self._between, Store)
        return StoreMember(process, link, self._between, self._history, rng)

    def _doors(self, seed: int) -> list[list[tuple[str, int]]]:
        """Each caller begins at one gateway and knows those of its house; before some of them is a bad network."""
        rng = random.Random(f"{seed} doors")
        proxies = [Proxy(member.process.address, seed + n) for n, member in enumerate(self._gateways)]
        for proxy in proxies:
            self._open.callback(proxy.close)
        doors: list[list[tuple[str, int]]] = []
        for caller in range(CALLERS):
            well = rng.random() < 0.7
            first = caller % GATEWAYS
            order = sorted(range(GATEWAYS), key=lambda n: n != first)
            doors.append(
                [
                    self._gateways[n].process.address if well else proxies[n].address
                    for n in order
                    if self.houses[n] == self.houses[first]
                ]
            )
        return doors

    def go(self) -> None:
        baselines = self._start()
        self.workload.start()
        try:
            self.injector.run(self._how.fault_seconds)
        finally:
            self.workload.stop()
        clients = [Client([member.process.address], self._history) for member in self._gateways]
        for house, client in dict(zip(self.houses, clients, strict=True)).items():
            if not self.workload.settle(client, time.monotonic() + LONG, house):
                wrong = "a submit is not accepted after all faults are over"
                self._history.tell(Wrong(time.monotonic(), 8, "settles", wrong))
        aftermaths = [Aftermath(member.process, self._history, self.files_at_rest) for member in self._members]
        self._tell("every submit is answered")
        self._wait_all_ended(aftermaths, clients)
        self._tell("every task has ended")
        self._wait_ready()
        self._wait_between()
        for aftermath, baseline in zip(aftermaths, baselines, strict=True):
            aftermath.wait_resting(baseline)
        self._tell("all are at rest")
        stop(aftermaths)
        self._look(aftermaths, final=False)
        # Once more, to see that what had ended stays as it is.
        self._start()
        self._wait_all_ended(aftermaths, clients)
        self._wait_swept(aftermaths)
        stop(aftermaths)
        self._look(aftermaths, final=True)
        if left := sorted(path.name for path in (self._home / "tmp").iterdir()):
            self._history.tell(Wrong(time.monotonic(), 8, "nothing_left_over", f"temporary files: {left}"))

    def _wait_between(self) -> None:
        """Waits until nothing is under way between them any more."""

    def _wait_swept(self, aftermaths: list[Aftermath]) -> None:
        """Waits until what a crash has left in their folders is gone."""

    def _look(self, aftermaths: list[Aftermath], *, final: bool) -> None:
        """All have stopped: what is left, and what there is of each task."""
        assert isinstance(self._between, Store)
        StoreAftermath(self._between, self._history).look(final=final)

    def _tell(self, what: str) -> None:
        self._history.tell(Fault(time.monotonic(), what))

    def _start(self) -> list[Counter[str]]:
        """Starts all, and waits until all know all; what each of them holds then."""
        for member in self._members:
            member.process.start()
        for member in self._members:
            assert member.process.wait_open(), f"the {member.name} did not start"
        self._wait_ready()
        pids = ", ".join(f"{member.name} is {member.process.pid}" for member in self._members)
        self._tell(f"all are ready: {pids}")
        return [member.process.descriptors() for member in self._members]

    def _wait_all_ended(self, aftermaths: list[Aftermath], clients: list[Client]) -> None:
        """As each gateway tells it."""
        for client, house in zip(clients, self.houses, strict=True):
            aftermaths[0].wait_all_ended(client, self.workload.tasks_of(house))
            client.close()

    def _wait_ready(self) -> None:
        """Waits until every worker has all its processes, and every gateway knows of every worker."""
        for member in self._workers:
            wait_instances(Client([member.process.address], self._history))
        limit = time.monotonic() + LONG
        for member in self._gateways:
            client = Client([member.process.address], self._history)
            while not self._knows_all(client.request("GET", "/v1/models")):
                if time.monotonic() > limit:
                    raise TimeoutError(f"the {member.name} does not know of every worker")
                time.sleep(0.02)
            client.close()

    def _knows_all(self, answer: tuple[int, object] | None) -> bool:
        if answer is None or answer[0] != 200:
            return False
        body = answer[1]
        assert isinstance(body, dict)
        wanted = {member.process.pid for member in self._workers}
        runners = [model["workers"] for model in body["models"]]
        return bool(runners) and all(
            {one["pid"] for one in workers if one["state"] in READY} == wanted for workers in runners
        )

    @property
    def hits(self) -> dict[str, int]:
        """How often each thing was done, and what came of it by the servers' own logs."""
        log = self._log
        requeued = re.findall(r"servers have ended without a word .*?requeued=(\d+)", log)
        return {
            **self.injector.done,
            "taken for dead by others": len(requeued),
            "leases given back by others": sum(map(int, requeued)),
            "back after being taken for dead": log.count("took this one for ended meanwhile"),
        }

    @property
    def _log(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self._home.glob("*.log"))

    def close(self) -> None:
        self._open.close()
