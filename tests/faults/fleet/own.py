"""A database server of a run's own, which can be killed and started again without hurting anybody else.

Its programs do not run as root, so root runs them as the user that the package made for it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

Address = tuple[str, int]
#: Making one, a start with a recovery, a stop.
LIMIT = 60.0


def can_run_as(user: str) -> bool:
    """Whether there is somebody whom its programs run as."""
    if shutil.which("setpriv") is None:
        return False
    with suppress(KeyError):
        return os.geteuid() != 0 or pwd.getpwnam(user).pw_uid != 0
    return False


class OwnServer(ABC):
    """It lies in a folder of its own, which goes with it.

    The thread that starts it must outlive it: it ends with that, so that a run that is killed leaves none behind.
    """

    #: Ends it at once, and nothing more is written; in order.
    AT_ONCE: int = signal.SIGQUIT
    IN_ORDER: int = signal.SIGINT
    #: It ends so when whoever started it does.
    ORPHANED = "QUIT"

    def __init__(self, address: Address, log: Path, user: str | None) -> None:
        """Makes and starts it. `user`: as whom it runs where we are root, if not as root."""
        self.address = address
        self._folder = Path(tempfile.mkdtemp(prefix="faults-store-"))
        self._log = log
        self._as = ["setpriv", "--pdeathsig", self.ORPHANED]
        if user is not None and os.geteuid() == 0:
            found = pwd.getpwnam(user)
            os.chown(self._folder, found.pw_uid, found.pw_gid)
            self._as += [f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--clear-groups"]
        self._child: subprocess.Popen[bytes] | None = None
        self._make()
        self.start()

    def _make(self) -> None:
        words = [*self._as, *self._making()]
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"{words[-1]}: {done.stdout}{done.stderr}")

    @property
    def _environment(self) -> dict[str, str]:
        """What its programs are told beside their words."""
        return dict(os.environ)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @abstractmethod
    def _making(self) -> list[str]:
        """The command that makes it."""

    @abstractmethod
    def _running(self) -> list[str]:
        """The command that is it."""

    @abstractmethod
    def _ask(self) -> None:
        """Asks it something; a RuntimeError when it does not answer."""

    def start(self) -> None:
        """Starts it, and waits until it can be asked."""
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self._as, *self._running()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment,
            )
        self.wait_open()

    def wait_open(self) -> None:
        """Waits until it can be asked."""
        limit = time.monotonic() + LIMIT
        while True:
            try:
                self._ask()
                return
            except RuntimeError:  # noqa: PERF203  (it is asked again)
                if time.monotonic() > limit or self._child is None or self._child.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, *, at_once: bool) -> None:
        """Ends it, at once or in order."""
        if self._child is not None:
            self._child.send_signal(self.AT_ONCE if at_once else self.IN_ORDER)
            self._child.wait(LIMIT)

    @abstractmethod
    def break_down(self, choice: int) -> None:
        """kill -9 of a process of it, after which it recovers; waits until it can be asked again."""

    def close(self) -> None:
        """Nothing is left of it but its log."""
        if self._child is not None and self._child.poll() is None:
            self.stop(at_once=True)
        shutil.rmtree(self._folder, ignore_errors=True)
