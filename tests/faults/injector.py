"""Breaks things, one after the other, as the seed says; and mends them at the end.

A fault is a method here or in `process_faults`; `families` decides which of them a seed draws from.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from faults.disk import SmallDisk
from faults.history import History
from faults.process import Process
from faults.process_faults import ProcessFaults
from faults.shim import Shim

#: A clock is moved forward at most so far in all: results are kept for a day.
CLOCK_FORWARD_MAX = 6 * 3600.0
#: How far the clock is moved at the end beyond all it ever was: whatever waits for a time is due then.
CLOCK_HEAL = 60.0


class Injector(ProcessFaults):
    """The faults of a run of one server: those of its process, its disk, its clock and its machine."""

    def __init__(
        self,
        process: Process,
        shim: Shim,
        history: History,
        seed: int,
        families: list[str],
        small_disk: SmallDisk | None,
    ) -> None:
        super().__init__(process, history, random.Random(f"{seed} faults"))
        self._shim = shim
        self._clock_highest = 0.0
        self._small_disk = small_disk
        faults: dict[str, tuple[Callable[[], None], ...]] = {
            "server": (self.kill_server, self.kill_server_twice),
            "instance": (self.kill_instance, self.kill_instance, self.stop_instance, self.hang_instance),
            "pause": (self.stop_server,),
            "drain": (self.drain, self.drain_and_kill, self.stop_twice),
            "disk": (self.fail_disk, self.fail_disk, self.kill_on_bad_disk, self.start_on_bad_disk),
            "clock": (self.move_clock,),
            "power": (self.cut_power, self.cut_power),
            "small_disk": (self.fill_disk, self.kill_on_full_disk, self.start_on_full_disk),
        }
        self._faults = [fault for name in families for fault in faults[name]]

    def run(self, seconds: float) -> None:
        """Breaks things for so long, then mends all."""
        end = time.monotonic() + seconds
        self._sleep(self._rng.uniform(0.1, 0.5))
        while time.monotonic() < end:
            self._rng.choice(self._faults)()
            self._sleep(self._rng.uniform(0.1, 0.9))
        self.heal()

    def heal(self) -> None:
        self._shim.disk()
        self._empty_disk()
        if self._shim.clock != 0 or self._clock_highest:
            # Forward only: a time that was set by a later clock would be waited for.
            self._move_clock(self._clock_highest - self._shim.clock + CLOCK_HEAL)
        self.revive()
        self._tell("healed")

    def _mend(self) -> None:
        self._shim.disk()
        self._empty_disk()

    def _bad_disk(self) -> None:
        faults = self._rng.choice((("full",), ("broken",), ("unflushed",), ("short",), ("slow",), ("short", "slow")))
        permille = self._rng.choice((1000, 1000, 500, 50))
        self._shim.disk(*faults, permille=permille)
        self._tell(f"disk is {' and '.join(faults)} ({permille} of 1000 calls)")

    def _good_disk(self) -> None:
        self._shim.disk()
        self._tell("disk is well")

    def fail_disk(self) -> None:
        self._bad_disk()
        self._sleep(self._rng.uniform(0.05, 1.0))
        self._good_disk()

    def kill_on_bad_disk(self) -> None:
        self._bad_disk()
        self._sleep(self._rng.uniform(0.05, 0.5))
        self.process.kill()
        self._tell("kill -9 of the server")
        self._good_disk()
        self._start("after a kill on a bad disk")

    def start_on_bad_disk(self) -> None:
        self.process.kill()
        self._tell("kill -9 of the server")
        self._bad_disk()
        self._start("on a bad disk")
        self._sleep(self._rng.uniform(0.05, 0.5))
        self._good_disk()

    def cut_power(self) -> None:
        """What was not flushed is gone."""
        assert self.process.journal is not None
        self.process.kill_all()
        self._tell(f"power cut: {self.process.journal.cut(self._rng)}")
        self._start("after a power cut")

    def _fill_disk(self) -> None:
        assert self._small_disk is not None
        leave = self._rng.choice((0, 0, 4096, 100_000, 500_000))
        self._small_disk.fill(leave)
        self._tell(f"disk is really full, but for {leave} bytes")

    def _empty_disk(self) -> None:
        if self._small_disk is not None:
            self._small_disk.free()
            self._tell("disk has room again")

    def fill_disk(self) -> None:
        self._fill_disk()
        self._sleep(self._rng.uniform(0.1, 1.0))
        self._empty_disk()

    def kill_on_full_disk(self) -> None:
        self._fill_disk()
        self._sleep(self._rng.uniform(0.05, 0.5))
        self.process.kill()
        self._tell("kill -9 of the server")
        self._empty_disk()
        self._start("after a kill on a full disk")

    def start_on_full_disk(self) -> None:
        self.process.kill()
        self._tell("kill -9 of the server")
        self._fill_disk()
        self._start("on a full disk")
        self._sleep(self._rng.uniform(0.05, 0.5))
        self._empty_disk()

    def move_clock(self) -> None:
        seconds = self._rng.choice((-3600.0, -60.0, -1.0, -0.05, 0.05, 1.0, 60.0, 3600.0)) * self._rng.uniform(0.5, 1.5)
        if self._shim.clock + seconds < CLOCK_FORWARD_MAX:
            self._move_clock(seconds)

    def _move_clock(self, seconds: float) -> None:
        self._shim.move_clock(seconds)
        self._clock_highest = max(self._clock_highest, self._shim.clock)
        self._tell(f"clock moved by {seconds:+.2f} s, now {self._shim.clock:+.2f} s off")
