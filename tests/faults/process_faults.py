"""What can be done to one process of a server, and to the processes that it started: killed, stopped, told to end.

A fault is a method without arguments. Each leaves the server running, but for what it says.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time

from faults.history import Fault, History, Wrong
from faults.models import TIMEOUT_SECONDS
from faults.process import DRAIN_SECONDS, LONG, Process

#: A stop has this long beyond its drain time; the machine is busy.
STOP_GRACE = 20.0
#: An instance that is stopped longer than its batch may take is replaced; each costs a start and some blame.
HANGS_MAX = 1


class ProcessFaults:
    """The faults of one process."""

    #: So often it may refuse to start while things around it are mended.
    start_tries = 3

    def __init__(self, process: Process, history: History, rng: random.Random) -> None:
        self.process = process
        self._history = history
        self._rng = rng
        self._pause = threading.Event()
        self._hangs = HANGS_MAX

    def revive(self) -> None:
        """It runs, whatever was done to it."""
        self.process.signal(signal.SIGCONT)
        if not self.process.is_alive():
            self._start("healed")

    def _mend(self) -> None:
        """Takes away what may keep it from starting."""

    def _tell(self, what: str) -> None:
        self._history.tell(Fault(time.monotonic(), what))

    def _wrong(self, rule: str, what: str) -> None:
        self._history.tell(Wrong(time.monotonic(), 8, rule, what))

    def _sleep(self, seconds: float) -> None:
        self._pause.wait(seconds)

    def _start(self, why: str) -> None:
        """Starts it, and again if it could not: only what is broken around it is a reason."""
        for _ in range(self.start_tries):
            self.process.start()
            if self.process.wait_open():
                self._tell(f"{self.process.name} started ({why}), pid {self.process.pid}")
                return
            self._tell(f"{self.process.name} refused to start ({why}), status {self.process.wait(0)}")
            self._mend()
        self._wrong("starts_again", f"{self.process.name} does not start on its own data folder")
        raise RuntimeError(f"the {self.process.name} does not start; see {self.process.log}")

    def kill_server(self) -> None:
        self.process.kill()
        self._tell(f"kill -9 of the {self.process.name}")
        self._start("after a kill")

    def kill_server_twice(self) -> None:
        """The second kill comes while it starts."""
        self.process.kill()
        self._tell(f"kill -9 of the {self.process.name}")
        self.process.start()
        self._sleep(self._rng.uniform(0, 0.3))
        self.process.kill()
        self._tell(f"kill -9 of the {self.process.name} that starts")
        self._start("after two kills")

    def _instance(self) -> int | None:
        pids = self.process.instances()
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
        self.process.signal(signal.SIGSTOP)
        self._tell(f"{self.process.name} stopped for {seconds:.1f} s")
        self._sleep(seconds)
        self.process.signal(signal.SIGCONT)
        self._tell(f"{self.process.name} goes on")

    def drain(self) -> None:
        self._tell(f"SIGTERM to the {self.process.name}")
        self.process.signal(signal.SIGTERM)
        self._expect_end(0)
        self._start("after a drain")

    def drain_and_kill(self) -> None:
        self._tell(f"SIGTERM to the {self.process.name}, then kill -9")
        self.process.signal(signal.SIGTERM)
        self._sleep(self._rng.uniform(0, 0.3))
        self.process.kill()
        self._start("after a drain that was killed")

    def stop_twice(self) -> None:
        self._tell(f"SIGTERM to the {self.process.name}, and another one")
        self.process.signal(signal.SIGTERM)
        self._sleep(self._rng.uniform(0, 0.2))
        self.process.signal(signal.SIGTERM)
        if self.process.wait(LONG) is None:
            self._wrong("stops_in_time", f"a second SIGTERM did not end the {self.process.name}")
            self.process.kill()
        self._start("after two SIGTERMs")

    def _expect_end(self, status: int) -> None:
        limit = DRAIN_SECONDS + STOP_GRACE
        ended = self.process.wait(limit)
        if ended is None:
            self._wrong("stops_in_time", f"the {self.process.name} still ran {limit:.0f} s after SIGTERM")
            self.process.kill()
        elif ended != status:
            self._wrong("stops_cleanly", f"the {self.process.name} ended with {ended} after SIGTERM")
