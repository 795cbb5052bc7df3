"""Breaks things, one after the other, as the seed says; and mends them at the end.

A fault is a method here; `families` decides which of them a seed draws from.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable

from faults.disk import SmallDisk
from faults.history import Fault, History, Wrong
from faults.models import TIMEOUT_SECONDS
from faults.process import DRAIN_SECONDS, LONG, Process
from faults.shim import Shim

#: A stop has this long beyond its drain time; the machine is busy.
STOP_GRACE = 20.0
#: An instance that is stopped longer than its batch may take is replaced; each costs a start and some blame.
HANGS_MAX = 1
#: A clock is moved forward at most so far in all: results are kept for a day.
CLOCK_FORWARD_MAX = 6 * 3600.0
#: How far the clock is moved at the end beyond all it ever was: whatever waits for a time is due then.
CLOCK_HEAL = 60.0


class Injector:
    """The faults of one run."""

    def __init__(
        self,
        process: Process,
        shim: Shim,
        history: History,
        seed: int,
        families: list[str],
        small_disk: SmallDisk | None,
    ) -> None:
        self._process = process
        self._shim = shim
        self._history = history
        self._rng = random.Random(f"{seed} faults")
        self._pause = threading.Event()
        self._hangs = HANGS_MAX
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
        self._process.signal(signal.SIGCONT)
        if not self._process.is_alive():
            self._start("healed")
        self._tell("healed")

    def _tell(self, what: str) -> None:
        self._history.tell(Fault(time.monotonic(), what))

    def _wrong(self, rule: str, what: str) -> None:
        self._history.tell(Wrong(time.monotonic(), 8, rule, what))

    def _sleep(self, seconds: float) -> None:
        self._pause.wait(seconds)

    def _start(self, why: str) -> None:
        """Starts it, and again if it could not: only a bad disk is a reason."""
        for _ in range(3):
            self._process.start()
            if self._process.wait_open():
                self._tell(f"server started ({why}), pid {self._process.pid}")
                return
            self._tell(f"server refused to start ({why}), status {self._process.wait(0)}")
            self._shim.disk()
            self._empty_disk()
        self._wrong("starts_again", "it does not start on its own data folder")
        raise RuntimeError(f"the server does not start; see {self._process.log}")

    def kill_server(self) -> None:
        self._process.kill()
        self._tell("kill -9 of the server")
        self._start("after a kill")

    def kill_server_twice(self) -> None:
        """The second kill comes while it starts."""
        self._process.kill()
        self._tell("kill -9 of the server")
        self._process.start()
        self._sleep(self._rng.uniform(0, 0.3))
        self._process.kill()
        self._tell("kill -9 of the server that starts")
        self._start("after two kills")

    def _instance(self) -> int | None:
        pids = self._process.instances()
        return self._rng.choice(pids) if pids else None

    def _signal(self, pid: int, number: int) -> bool:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False
        return True

    def kill_instance(self) -> None:
        if (pid := self._instance()) is not None and self._signal(pid, signal.SIGKILL):
            self._tell(f"kill -9 of instance {pid}")

    def stop_instance(self) -> None:
        self._stop_instance(self._rng.uniform(0.05, TIMEOUT_SECONDS / 2))

    def hang_instance(self) -> None:
        if self._hangs:
            self._hangs -= 1
            self._stop_instance(TIMEOUT_SECONDS * 1.5)
        else:
            self.kill_instance()

    def _stop_instance(self, seconds: float) -> None:
        if (pid := self._instance()) is not None and self._signal(pid, signal.SIGSTOP):
            self._tell(f"instance {pid} stopped for {seconds:.1f} s")
            self._sleep(seconds)
            self._signal(pid, signal.SIGCONT)
            self._tell(f"instance {pid} goes on")

    def stop_server(self) -> None:
        seconds = self._rng.uniform(0.05, 0.8)
        self._process.signal(signal.SIGSTOP)
        self._tell(f"server stopped for {seconds:.1f} s")
        self._sleep(seconds)
        self._process.signal(signal.SIGCONT)
        self._tell("server goes on")

    def drain(self) -> None:
        self._tell("SIGTERM")
        self._process.signal(signal.SIGTERM)
        self._expect_end(0)
        self._start("after a drain")

    def drain_and_kill(self) -> None:
        self._tell("SIGTERM, then kill -9")
        self._process.signal(signal.SIGTERM)
        self._sleep(self._rng.uniform(0, 0.3))
        self._process.kill()
        self._start("after a drain that was killed")

    def stop_twice(self) -> None:
        self._tell("SIGTERM, and another one")
        self._process.signal(signal.SIGTERM)
        self._sleep(self._rng.uniform(0, 0.2))
        self._process.signal(signal.SIGTERM)
        if self._process.wait(LONG) is None:
            self._wrong("stops_in_time", "a second SIGTERM did not end it")
            self._process.kill()
        self._start("after two SIGTERMs")

    def _expect_end(self, status: int) -> None:
        limit = DRAIN_SECONDS + STOP_GRACE
        ended = self._process.wait(limit)
        if ended is None:
            self._wrong("stops_in_time", f"it still ran {limit:.0f} s after SIGTERM")
            self._process.kill()
        elif ended != status:
            self._wrong("stops_cleanly", f"it ended with {ended} after SIGTERM")

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
        self._process.kill()
        self._tell("kill -9 of the server")
        self._good_disk()
        self._start("after a kill on a bad disk")

    def start_on_bad_disk(self) -> None:
        self._process.kill()
        self._tell("kill -9 of the server")
        self._bad_disk()
        self._start("on a bad disk")
        self._sleep(self._rng.uniform(0.05, 0.5))
        self._good_disk()

    def cut_power(self) -> None:
        """What was not flushed is gone."""
        assert self._process.journal is not None
        self._process.kill_all()
        self._tell(f"power cut: {self._process.journal.cut(self._rng)}")
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
        self._process.kill()
        self._tell("kill -9 of the server")
        self._empty_disk()
        self._start("after a kill on a full disk")

    def start_on_full_disk(self) -> None:
        self._process.kill()
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
