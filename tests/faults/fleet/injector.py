"""Breaks a fleet, several things at a time, as the seed says; and mends all of it at the end.

Several hands draw faults and whom they befall. The main one alone touches what all share, the store or the broker.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from faults.fleet.between import Between
from faults.fleet.brokers import Broker
from faults.fleet.cluster import Store
from faults.fleet.member import Member
from faults.fleet.postgres import Cluster
from faults.history import Apart, Fault, History

#: Hands beside the main one.
SIDE_HANDS = 2
#: A store or a broker that is restarted is away for up to so long, and one that stands still.
AWAY_MAX = 4.0
#: What befalls one member, by family.
MEMBER_FAULTS: dict[str, tuple[Callable[[Member], None], ...]] = {
    "server": (Member.kill_server, Member.kill_server, Member.kill_server_twice),
    "instance": (Member.kill_instance, Member.kill_instance, Member.stop_instance, Member.hang_instance),
    "pause": (Member.stop_server,),
    "zombie": (Member.become_zombie,),
    "drain": (Member.drain, Member.drain_and_kill, Member.stop_twice),
    "sessions": (Member.lose_sessions,),
    "partition": (
        Member.cut_off,
        Member.hold_up,
        Member.part,
        Member.part,
        Member.lose_answers,
        Member.lose_answers,
        Member.kill_apart,
        Member.start_apart,
    ),
}


class FleetInjector:
    """The faults of one run."""

    def __init__(
        self, members: list[Member], between: Between, history: History, seed: int, families: list[str]
    ) -> None:
        self._members = members
        self._between = between
        self._history = history
        self._seed = seed
        self._families = families
        self._pause = threading.Event()
        #: How often each thing was done.
        self.done: Counter[str] = Counter()
        self._trouble: list[BaseException] = []
        shared: dict[str, tuple[Callable[[random.Random], None], ...]] = {
            "drain": (self._roll,),
            "sessions": (self._end_all_sessions,),
            "store": (self._stop_store, self._stop_store, self._kill_session),
            "failover": (self._fail_over,),
            "broker": (self._stop_broker, self._stop_broker, self._restart_broker, self._halt_broker),
            "starved": (self._starve_broker,),
            "purge": (self._purge_broker,),
        }
        self._shared = [fault for name in families for fault in shared.get(name, ())]
        self._of_one = [fault for name in families for fault in MEMBER_FAULTS.get(name, ())]

    def run(self, seconds: float) -> None:
        """Breaks things for so long, then mends all."""
        end = time.monotonic() + seconds
        hands = [threading.Thread(target=self._side_hand, args=(n, end), daemon=True) for n in range(SIDE_HANDS)]
        if "silent" in self._families:
            hands.append(threading.Thread(target=self._hang_one, daemon=True))
        for hand in hands:
            hand.start()
        rng = random.Random(f"{self._seed} main hand")
        while time.monotonic() < end:
            self._pause.wait(rng.uniform(0.3, 2.0))
            if self._shared and (not self._of_one or rng.random() < 0.5):
                fault = rng.choice(self._shared)
                self._count(fault)
                fault(rng)
            elif self._of_one:
                self._befall(rng)
        for hand in hands:
            hand.join()
        self.heal()
        if self._trouble:
            raise self._trouble[0]

    def heal(self) -> None:
        for member in self._members:
            member.heal()
        self._tell("healed")

    def _count(self, fault: Callable[..., None]) -> None:
        self.done[fault.__name__.strip("_")] += 1

    def _tell(self, what: str) -> None:
        self._history.tell(Fault(time.monotonic(), what))

    def _side_hand(self, number: int, end: float) -> None:
        rng = random.Random(f"{self._seed} hand {number}")
        try:
            while self._of_one and time.monotonic() < end:
                self._pause.wait(rng.uniform(0.1, 1.5))
                self._befall(rng)
        except BaseException as error:
            self._trouble.append(error)

    def _befall(self, rng: random.Random) -> None:
        """Something happens to somebody to whom nothing happens just now."""
        fault, member = rng.choice(self._of_one), rng.choice(self._members)
        if fault in MEMBER_FAULTS["instance"]:
            member = rng.choice([one for one in self._members if one.name.startswith("worker")])
        if member.busy.acquire(blocking=False):
            self._count(fault)
            try:
                fault(member)
            finally:
                member.busy.release()

    def _hang_one(self) -> None:
        rng = random.Random(f"{self._seed} who hangs")
        try:
            member = rng.choice(self._members)
            with member.busy:
                self._count(Member.hang)
                member.hang()
        except BaseException as error:
            self._trouble.append(error)

    def _roll(self, rng: random.Random) -> None:
        """A rolling restart: one after the other ends in order and comes again."""
        self._tell("a rolling restart")
        for member in rng.sample(self._members, len(self._members)):
            if member.busy.acquire(timeout=1.0):
                try:
                    member.drain()
                finally:
                    member.busy.release()

    def _end_all_sessions(self, rng: random.Random) -> None:
        if isinstance(self._between, Store):
            self._between.end_sessions()
        else:
            for member in self._members:
                member.link.lose(1.0)
        self._tell(f"all sessions at the {self._members[0].other_end} are terminated")

    def _stop_store(self, rng: random.Random) -> None:
        """It ends and comes again; at once, or in order, and some time later."""
        assert isinstance(self._between, Store) and self._between.cluster is not None
        began = time.monotonic()
        at_once = rng.choice((True, True, False))
        self._between.cluster.stop(at_once=at_once)
        # A lease is not flushed before it is worked on.
        lost = "power cut: the store is stopped at once, " if at_once else "the store is stopped, "
        seconds = rng.choice((0.0, rng.uniform(0, AWAY_MAX)))
        self._tell(f"{lost}and starts {seconds:.1f} s later")
        self._pause.wait(seconds)
        self._between.cluster.start()
        self._tell("the store is open")
        self._forgot(began)

    def _kill_session(self, rng: random.Random) -> None:
        assert isinstance(self._between, Store) and self._between.cluster is not None
        began = time.monotonic()
        self._tell("power cut: kill -9 of a process of the store, which recovers")
        self._between.cluster.break_down(rng.randrange(1000))
        self._tell("the store is open")
        self._forgot(began)

    def _fail_over(self, rng: random.Random) -> None:
        """The store is gone for good, and its standby is the store."""
        assert isinstance(self._between, Store) and isinstance(self._between.cluster, Cluster)
        began = time.monotonic()
        self._tell("power cut: kill -9 of the store, whose standby takes its place")
        self._between.cluster.fail_over()
        self._tell("the store is open, and has a new standby")
        self._forgot(began)

    def _stop_broker(self, rng: random.Random) -> None:
        """It ends and comes again, some time later. What it had is there again, or not."""
        assert isinstance(self._between, Broker)
        at_once = rng.choice((True, True, False))
        words = "kill -9 of the broker" if at_once else "SIGTERM to the broker"
        seconds = rng.uniform(0, AWAY_MAX)
        self._tell(f"{words}, which {self._keeping} and starts {seconds:.1f} s later")
        self._between.server.stop(at_once=at_once)
        self._pause.wait(seconds)
        self._between.server.start()
        self._tell("the broker is open")

    def _restart_broker(self, rng: random.Random) -> None:
        """It is back before anybody has looked."""
        assert isinstance(self._between, Broker)
        self._tell(f"kill -9 of the broker, which {self._keeping} and starts at once")
        self._between.server.break_down(rng.randrange(1000))
        self._tell("the broker is open")

    def _halt_broker(self, rng: random.Random) -> None:
        assert isinstance(self._between, Broker)
        self._for_a_while(rng, "stands still", self._between.server.stand_still)

    def _starve_broker(self, rng: random.Random) -> None:
        """It takes nothing more in for a time, as if its memory were full, and keeps every connection."""
        assert isinstance(self._between, Broker)
        self._for_a_while(rng, "has no memory", self._between.server.starve)

    def _for_a_while(self, rng: random.Random, what: str, act: Callable[[float], None]) -> None:
        seconds = rng.uniform(0.1, AWAY_MAX)
        self._tell(f"the broker {what} for {seconds:.1f} s")
        act(seconds)
        self._tell("the broker goes on")

    def _purge_broker(self, rng: random.Random) -> None:
        """Somebody throws out what is in its queues, tasks or results, or the queues themselves, and nobody is told."""
        assert isinstance(self._between, Broker)
        what = rng.choice(("tasks", "results", "everything"))
        count = self._between.server.purge(what)
        self._tell(f"{what} at the broker, in {count} queues or keys, is thrown out")

    @property
    def _keeping(self) -> str:
        assert isinstance(self._between, Broker)
        return "keeps what it has" if self._between.server.keeps else "forgets everything"

    def _forgot(self, began: float) -> None:
        """What was leased and not flushed is leased no more, and those who have it do not know."""
        servers = tuple(member.process.pid for member in self._members)
        self._history.tell(Apart(began, time.monotonic(), servers))
