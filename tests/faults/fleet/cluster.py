"""The databases that a fleet can be on, each in a server of the run's own where that can be had."""

from __future__ import annotations

import shutil
import signal
from contextlib import suppress
from pathlib import Path

from support.mariadb import MariaDatabase, mariadb
from support.postgres import Database

from faults.fleet.between import Between
from faults.fleet.own import Address, OwnServer, can_run_as
from faults.fleet.postgres import Cluster, postgres_programs

#: Which there are, and what each is called in `--store`.
KINDS = ("postgresql", "mariadb")


def can_have_one(kind: str = "postgresql") -> bool:
    """Whether its programs are here, and somebody whom they run as."""
    if kind == "mariadb":
        programs = ("mariadbd", "mariadb-install-db", "mariadb")
        return all(shutil.which(name) for name in programs) and can_run_as(MariaServer.USER)
    return postgres_programs() is not None and shutil.which("psql") is not None and can_run_as(Cluster.USER)


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

    def __init__(self, kind: str, address: Address, log: Path, *, with_standby: bool = False) -> None:
        """Makes it; `address` is where a server of its own would listen. `with_standby`: a PostgreSQL can fail over."""
        self.kind = kind
        self.cluster: OwnServer | None = None
        if can_have_one(kind):
            self.cluster = MariaServer(address, log) if kind == "mariadb" else Cluster(address, log)
        if with_standby and isinstance(self.cluster, Cluster):
            self.cluster.stand_by()
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
