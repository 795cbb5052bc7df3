"""What can be done to one gateway or worker: all that can be done to a process, and to its way to the store."""

from __future__ import annotations

import random
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager

from support.link import Link, Mode

from faults.fleet.cluster import Store
from faults.history import Apart, History
from faults.process import LONG, Process
from faults.process_faults import ProcessFaults

#: The others take a server without a session for dead after three seconds, and look once a second.
TAKEN_FOR_DEAD = 4.5
#: The others end the session of a server that has written nothing for 90 seconds, and then wait as for any without one.
HANGS = 90.0 + TAKEN_FOR_DEAD + 2.0
#: Between two starts while the store is away.
START_PAUSE = 0.3
#: A partition lasts between a moment and twice as long as the others wait.
PARTITION_MAX = 7.0


class Member(ProcessFaults, ABC):
    """One process of the fleet. Whoever does something to it holds `busy` meanwhile."""

    start_tries = int(LONG / START_PAUSE)
    #: What is at the other end of its way.
    other_end = "store"
    #: A zombie is stopped for at least so long.
    patience = TAKEN_FOR_DEAD
    partition_max = PARTITION_MAX

    def __init__(self, process: Process, link: Link, history: History, rng: random.Random) -> None:
        super().__init__(process, history, rng)
        self.busy = threading.Lock()
        self.link = link

    @property
    def name(self) -> str:
        return self.process.name

    def _mend(self) -> None:
        """Who cannot have its store ends, and whoever looks after it starts it again."""
        self.link.set("open")
        self._sleep(START_PAUSE)

    def heal(self) -> None:
        """It runs, and its way is open."""
        self.link.set("open")
        self.revive()

    @contextmanager
    def _apart(self) -> Generator[None, None, None]:
        """What it does meanwhile it may do under a lease that is not its any more."""
        began, pid = time.monotonic(), self.process.pid
        try:
            yield
        finally:
            self._history.tell(Apart(began, time.monotonic(), (pid,)))

    def _broken(self, mode: Mode, seconds: float) -> None:
        with self._apart():
            self.link.set(mode)
            self._tell(f"way of {self.name} to the {self.other_end} is {mode} for {seconds:.1f} s")
            self._sleep(seconds)
            self.link.set("open")
            self._tell(f"way of {self.name} is open")

    def cut_off(self) -> None:
        """Connections end, and come to nothing for a while."""
        self._broken("cut", self._rng.choice((0.0, self._rng.uniform(0, self.partition_max))))

    def hold_up(self) -> None:
        """Nothing passes for a while, and then all of it."""
        self._broken("stalled", self._rng.uniform(0.1, self.partition_max))

    def part(self) -> None:
        """The store sees it go, and it sees nothing."""
        self._broken("silent", self._rng.uniform(0.1, self.partition_max))

    def lose_answers(self) -> None:
        """What it writes is written, and it does not hear of it."""
        self._broken("mute", self._rng.uniform(0.05, 2.0))

    def kill_apart(self) -> None:
        """It dies while it is cut off: what it was told is all that anybody knows."""
        self.link.set(self._rng.choice(("stalled", "silent", "mute")))
        self._tell(f"way of {self.name} to the {self.other_end} is broken")
        self._sleep(self._rng.uniform(0.05, 1.5))
        self.process.kill()
        self._tell(f"kill -9 of the {self.name}")
        self.link.set("open")
        self._start("after a kill while it was cut off")

    def start_apart(self) -> None:
        """Its store cannot be had when it starts, and then can."""
        self.process.kill()
        self.link.set(self._rng.choice(("cut", "stalled", "silent")))
        self._tell(f"kill -9 of the {self.name}; its way to the store is broken")
        self.process.start()
        self._sleep(self._rng.uniform(0.1, 1.0))
        self.link.set("open")
        if self.process.wait_open():
            self._tell(f"{self.name} started although it was cut off at first, pid {self.process.pid}")
        else:
            self._tell(f"{self.name} refused to start while it was cut off, status {self.process.wait(0)}")
            self._start("its way is open")

    def become_zombie(self) -> None:
        """It is stopped, and its sessions end, for longer than the others wait; then it goes on as before."""
        seconds = self.patience + self._rng.uniform(0, 2.5)
        with self._apart():
            self.process.signal(signal.SIGSTOP)
            ends = self._rng.choice(("its connections are cut", "its sessions are terminated"))
            if ends == "its connections are cut":
                self.link.set("silent")
            else:
                self._end_sessions()
            self._tell(f"{self.name} stopped for {seconds:.1f} s, and {ends}")
            self._sleep(seconds)
            self.link.set("open")
            self.process.signal(signal.SIGCONT)
            self._tell(f"{self.name} goes on, as a zombie")

    def hang(self) -> None:
        """It is stopped with its sessions as they are, for so long that the others end these."""
        with self._apart():
            self.process.signal(signal.SIGSTOP)
            self._tell(f"{self.name} hangs for {HANGS:.0f} s")
            self._sleep(HANGS)
            self.process.signal(signal.SIGCONT)
            self._tell(f"{self.name} goes on, as a zombie")

    def lose_sessions(self) -> None:
        """The store ends all sessions of this server alone."""
        with self._apart():
            self._end_sessions()
        self._tell(f"sessions of {self.name} are terminated")

    @abstractmethod
    def _end_sessions(self) -> None:
        """The other end ends them."""


class StoreMember(Member):
    """One on a store."""

    def __init__(self, process: Process, link: Link, store: Store, history: History, rng: random.Random) -> None:
        super().__init__(process, link, history, rng)
        self._store = store

    def _end_sessions(self) -> None:
        self._store.end_sessions(self.process.mark)


class BrokerMember(Member):
    """One over a broker. What a worker held is missed after 15 seconds (Redis), and found within another five."""

    other_end = "broker"
    patience = 17.0
    partition_max = 12.0

    def _end_sessions(self) -> None:
        """Some or all of them: it has one for each thing that it listens for."""
        self.link.lose(self._rng.choice((0.01, 0.3, 0.6, 1.0)))
