"""A run of a fleet over a broker: each gateway has a store of its own, or both share one; the broker carries tasks."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from support.link import Link

from faults.aftermath import FILES_AT_REST, Aftermath
from faults.fleet.aftermath import StoreAftermath
from faults.fleet.between import Between
from faults.fleet.brokers import Broker
from faults.fleet.cluster import Store, can_have_one
from faults.fleet.member import BrokerMember, Member
from faults.fleet.run import GATEWAYS, STORE_PORT, FleetRun
from faults.history import Carried, Stored, Wrong
from faults.process import LONG, Process, own_address

T = TypeVar("T")
BROKER_PORT = 8795
#: Of the seeds so many have their gateways on one PostgreSQL, where that can be had, which nobody breaks.
SHARED = 0.25
#: Of those so many have their workers there, too, for payloads of more than so much.
REFERS = 0.6
REFERENCE_ABOVE = "1KiB"
#: Of the seeds on Redis so many have one that keeps what it has.
KEEPS = 0.5


class BrokerRun(FleetRun):
    """What is other than on one store."""

    files_at_rest = FILES_AT_REST | {"celery-identity"}

    def _made(self, seed: int) -> Between:
        rng = random.Random(f"{seed} broker")
        keeps, shared, refers = rng.random() < KEEPS, rng.random() < SHARED, rng.random() < REFERS
        self._results: Store | None = None
        if shared and can_have_one():
            self._results = Store("postgresql", (own_address(), STORE_PORT), self._home / "results.log")
            self._open.callback(self._results.close)
        self._refers = refers and self._results is not None
        self._history.tell(Carried(time.monotonic()))
        broker = Broker(self._how.store, (own_address(), BROKER_PORT), self._home / "broker.log", keeps=keeps)
        kept = "keeps what it has" if broker.server.keeps else "forgets everything"
        where = "one store of both gateways" if self._results is not None else "a store of each gateway"
        where += ", by which payloads go" if self._refers else ""
        self._tell(f"{self._how.store} {kept} when it is killed, {where}")
        return broker

    @property
    def houses(self) -> tuple[int, ...]:
        return tuple(range(GATEWAYS)) if self._results is None else (0,) * GATEWAYS

    def _words(self, role: str, models: Path) -> list[str]:
        words = super()._words(role, models)
        if self._results is not None and (role == "gateway" or self._refers):
            words += ["--results", self._results.database.url]
        if self._refers:
            words += ["--celery-reference-above", REFERENCE_ABOVE]
        return words

    def _as_member(self, process: Process, link: Link, rng: random.Random) -> Member:
        return BrokerMember(process, link, self._history, rng)

    @property
    def _broker(self) -> Broker:
        assert isinstance(self._between, Broker)
        return self._between

    def _wait_between(self) -> None:
        """Copies of tasks that have ended are run, too, or refused: nothing stays at the broker."""
        left = self._waited(self._broker.server.left)
        if left:
            self._leftover(f"at the broker, with all tasks ended and all servers at rest: {left}")

    def _leftover(self, what: str) -> None:
        self._history.tell(Wrong(time.monotonic(), 8, "nothing_left_over", what))

    @staticmethod
    def _waited(ask: Callable[[], T]) -> T:
        """What is left when nothing is, or the time is over."""
        limit = time.monotonic() + LONG
        while (left := ask()) and time.monotonic() < limit:
            time.sleep(0.2)
        return left

    def _wait_swept(self, aftermaths: list[Aftermath]) -> None:
        if self._results is None:
            for aftermath in aftermaths[:GATEWAYS]:
                aftermath.wait_swept()

    def _look(self, aftermaths: list[Aftermath], *, final: bool) -> None:
        if final:
            # Asking costs seconds with RabbitMQ, and what is left now would be left then.
            if connections := self._waited(self._broker.server.connections):
                self._leftover(f"{connections} connections at a broker that all have left")
            if left := self._broker.server.left():
                self._leftover(f"at a broker that all have left: {left}")
        if self._results is not None:
            StoreAftermath(self._results, self._history).look(final=final)
            return
        rows = [row for aftermath in aftermaths[:GATEWAYS] for row in aftermath.rows_of_store(final=final)]
        self._history.tell(Stored(time.monotonic(), final, tuple(rows)))

    @property
    def hits(self) -> dict[str, int]:
        """How often each thing was done, and what came of it by the servers' own logs."""
        log = self._log
        restored = re.findall(r"messages that another worker had lost .*?count=(\d+)", log)
        missed = re.findall(r"tasks are not in their queue any more.*?count=(\d+)", log)
        return {
            **self.injector.done,
            "messages of lost workers found by others": sum(map(int, restored)),
            "tasks found nowhere and sent again": sum(map(int, missed)),
            "payloads lost on their way by the store": log.count("an item is sent once more"),
            "ways to the broker lost by gateways": log.count("broker or results cannot be reached"),
        }
