"""The databases that a fleet can be on, each in a server of the run's own where that can be had."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from support.mariadb import MariaDatabase, mariadb
from support.postgres import Database, psql

from faults.fleet.between import Between
from faults.fleet.own import Address, OwnServer, can_run_as

#: Which there are, and what each is called in `--store`.
KINDS = ("postgresql", "mariadb")


@functools.cache
def _postgres_programs() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if found := shutil.which("pg_config"):
        told = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.append(Path(told))
    return next(
        (folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres"))), None
    )


def can_have_one(kind: str = "postgresql") -> bool:
    """Whether its programs are here, and somebody whom they run as."""
    if kind == "mariadb":
        programs = ("mariadbd", "mariadb-install-db", "mariadb")
        return all(shutil.which(name) for name in programs) and can_run_as(MariaServer.USER)
    return _postgres_programs() is not None and shutil.which("psql") is not None and can_run_as(Cluster.USER)


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
        found = _postgres_programs()
        assert found is not None
        self._bin = found
        super().__init__(address, log, self.USER)

    def _making(self) -> list[str]:
        make = [str(self._bin / "initdb"), "-D", str(self._data), "-U", self.USER, "-A", "trust"]
        return [*make, "-E", "UTF8", "--locale", "C", "--no-sync"]

    def _running(self) -> list[str]:
        settings = self.SETTINGS | {"listen_addresses": self.address[0], "port": str(self.address[1])}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._bin / "postgres"), "-D", str(self._data), *flags]

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


class MariaServer(OwnServer):
    """A MariaDB."""

    USER = "mysql"
    AT_ONCE = signal.SIGKILL
    IN_ORDER = signal.SIGTERM
    #: As it is by default, but small: each commit is flushed.
    SETTINGS = {  # noqa: RUF012
        "innodb_buffer_pool_size": "32M",
        "innodb_log_file_size": "32M",
        "max_connections": "80",
        "performance_schema": "OFF",
        "skip_name_resolve": "ON",
    }

    def __init__(self, address: Address, log: Path) -> None:
        """Makes and starts it."""
        super().__init__(address, log, self.USER)

    def _making(self) -> list[str]:
        make = ["mariadb-install-db", "--no-defaults", f"--datadir={self._data}", "--skip-test-db"]
        return [*make, "--skip-name-resolve", "--auth-root-authentication-method=normal"]

    def _running(self) -> list[str]:
        # The superuser comes from wherever a test does.
        welcome = self._folder / "welcome.sql"
        welcome.write_text("CREATE USER IF NOT EXISTS root@'%'; GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;\n")
        found = shutil.which("mariadbd")
        assert found is not None
        where = [f"--datadir={self._data}", f"--socket={self._folder}/socket", f"--pid-file={self._folder}/pid"]
        where += [f"--bind-address={self.address[0]}", f"--port={self.address[1]}", f"--init-file={welcome}"]
        return [found, "--no-defaults", *where, *(f"--{name}={value}" for name, value in self.SETTINGS.items())]

    def _ask(self) -> None:
        mariadb("SELECT 1", at=self.address)

    def break_down(self, choice: int) -> None:
        """It is one process; whoever looks after it starts it again."""
        self.stop(at_once=True)
        self.start()


class Store(Between):
    """The run's own database: in a server of its own where that can be had, else in the one of this machine."""

    def __init__(self, kind: str, address: Address, log: Path) -> None:
        """Makes it; `address` is where a server of its own would listen."""
        self.kind = kind
        self.cluster: OwnServer | None = None
        if can_have_one(kind):
            self.cluster = MariaServer(address, log) if kind == "mariadb" else Cluster(address, log)
        own = self.cluster and self.cluster.address
        self.database: Database | MariaDatabase
        if kind == "mariadb":
            self.database = MariaDatabase(own)
        else:
            self.database = Database() if own is None else Database(own)

    @property
    def at(self) -> Address:
        """Where its server listens."""
        return self.database.at

    def url_by(self, way: Address, mark: str) -> str:
        """Its sessions are told apart by the mark."""
        return self.database.url_by(way, mark)

    def end_sessions(self, application: str | None = None) -> None:
        """Terminates all sessions, or those of one server; in vain where the store is away."""
        with suppress(RuntimeError):
            self.database.end_connections(application)

    def close(self) -> None:
        """Drops it."""
        if self.cluster is None:
            self.database.drop()
        else:
            self.cluster.close()
