"""A PostgreSQL of a run's own, and a standby that may take its place.

The standby has each commit before whoever commits is answered (`synchronous_standby_names`). When it takes over it does
so at the address of the one before, as behind a virtual address or a proxy; that one never comes back.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from support.postgres import psql

from faults.fleet.own import LIMIT, Address, OwnServer


@functools.cache
def postgres_programs() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if found := shutil.which("pg_config"):
        told = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.append(Path(told))
    needed = ("initdb", "postgres", "pg_basebackup")
    return next((folder for folder in folders if all((folder / name).exists() for name in needed)), None)


class Cluster(OwnServer):
    """A PostgreSQL."""

    USER = "postgres"
    #: What is written goes to the disk before it is confirmed, as it does by default; the rest keeps it small.
    SETTINGS = {  # noqa: RUF012
        "unix_socket_directories": "",
        "max_connections": "60",
        "shared_buffers": "16MB",
        "logging_collector": "off",
    }

    def __init__(self, address: Address, log: Path) -> None:
        """Makes and starts it."""
        found = postgres_programs()
        assert found is not None
        self._bin = found
        self._lives = 0
        self._standby: Standby | None = None
        super().__init__(address, log, self.USER)

    @property
    def _data(self) -> Path:
        """Another one after each time that a standby has taken over."""
        return self._folder / f"data-{self._lives}"

    def _making(self) -> list[str]:
        make = [str(self._bin / "initdb"), "-D", str(self._data), "-U", self.USER, "-A", "trust"]
        return [*make, "-E", "UTF8", "--locale", "C", "--no-sync"]

    def _running(self) -> list[str]:
        return self._serving(self._data, self.address)

    def _serving(self, data: Path, address: Address) -> list[str]:
        settings = self.SETTINGS | {"listen_addresses": address[0], "port": str(address[1])}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(data), *flags]

    def _ask(self) -> None:
        psql("", at=self.address)

    def break_down(self, choice: int) -> None:
        """It answers the death of one of its processes by ending all and recovering."""
        assert self._child is not None
        path = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        with suppress(ProcessLookupError):
            os.kill(pids[choice % len(pids)], signal.SIGKILL)
        self.wait_open()

    def stand_by(self) -> None:
        """Makes a standby, and waits until nothing is confirmed that it does not have."""
        data = self._folder / f"data-{self._lives + 1}"
        address = (self.address[0], self.address[1] + 1)
        where = ["-h", self.address[0], "-p", str(self.address[1]), "-U", self.USER, "-D", str(data)]
        # As one that is to follow this one.
        copy = [*self._as, str(self._bin / "pg_basebackup"), *where, "-R", "-X", "stream", "-c", "fast", "--no-sync"]
        done = subprocess.run(copy, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"pg_basebackup: {done.stderr}")
        self._standby = Standby([*self._as, *self._serving(data, address)], address, self._log)
        self._waits("SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
        psql("ALTER SYSTEM SET synchronous_standby_names = '*'", at=self.address)
        psql("SELECT pg_reload_conf()", at=self.address)
        self._waits("SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync'")

    def fail_over(self) -> None:
        """kill -9 of all that there is of the one; the other one has its place, and gets a standby in turn."""
        assert self._standby is not None and self._child is not None
        standby, self._standby = self._standby, None
        self._child.send_signal(signal.SIGQUIT)
        self._child.wait(LIMIT)
        standby.take_over()
        shutil.rmtree(self._data, ignore_errors=True)
        self._lives += 1
        self.start()
        self.stand_by()

    def _waits(self, until: str) -> None:
        limit = time.monotonic() + LIMIT
        while psql(until, at=self.address) != "t":
            if time.monotonic() > limit:
                raise RuntimeError(f"the standby does not follow: {until}")
            time.sleep(0.02)

    def close(self) -> None:
        """The standby goes first: what is confirmed needs it."""
        if self._standby is not None:
            self._standby.stop(signal.SIGQUIT)
        super().close()


class Standby:
    """What follows a cluster, at an address of its own."""

    def __init__(self, command: list[str], address: Address, log: Path) -> None:
        """Starts it."""
        self._address = address
        with log.open("ab") as file:
            self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd="/")

    def take_over(self) -> None:
        """It is no standby any more, and ends in order: whoever starts it next starts what was confirmed last."""
        limit = time.monotonic() + LIMIT
        while True:
            try:
                assert psql("SELECT pg_promote()", at=self._address) == "t", "it is not promoted"
                break
            except RuntimeError:  # it may not listen yet
                if time.monotonic() > limit or self._child.poll() is not None:
                    raise
                time.sleep(0.05)
        self.stop(signal.SIGINT)

    def stop(self, number: signal.Signals) -> None:
        """Ends it so."""
        self._child.send_signal(number)
        self._child.wait(LIMIT)
