"""A database of a test's own in the MariaDB on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid

import pytest

HOST = "127.0.0.1"
PORT = 3306
Address = tuple[str, int]
#: It is looked for where it must not be.
PASSWORD = "never-shown"


def mariadb(
    sql: str, database: str = "mysql", *, user: str = "root", password: str = "", at: Address = (HOST, PORT)
) -> str:
    """Runs SQL, as the superuser unless told otherwise, and gives what it prints."""
    command = ["mariadb", "-h", at[0], "-P", str(at[1]), "--batch", "--raw", "--skip-column-names"]
    command += ["-u", user, f"--password={password}", "-D", database, "-e", sql]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{sql}: {done.stderr}")
    return done.stdout.strip()


def mariadb_or_skip(statement: str) -> str:
    """Runs SQL; without a server a failure where CI says that it has one, and a skip that is told elsewhere."""
    why = "mariadb is not installed"
    if shutil.which("mariadb"):
        try:
            return mariadb(statement)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why = f"no MariaDB at {HOST}:{PORT}: {error}"
    if "mariadb" in os.environ.get("CI_HAS", "").split():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


class MariaDatabase:
    """It is dropped at the end, and so are its users, who may do nothing elsewhere."""

    def __init__(self, at: Address | None = None) -> None:
        """Makes it and its first user, in the MariaDB of this machine or at that address."""
        self.at = at or (HOST, PORT)
        self.name = f"cresset_test_{uuid.uuid4().hex}"
        make = f"CREATE DATABASE {self.name}"
        if at is None:
            mariadb_or_skip(make)
        else:
            self._run(make)
        self.user = f"cresset_{uuid.uuid4().hex[:16]}"
        self._users: list[str] = []
        self._let_in(self.user)

    def _run(self, text: str) -> str:
        return mariadb(text, at=self.at)

    def _let_in(self, user: str) -> None:
        self._run(f"CREATE USER '{user}'@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON {self.name}.* TO '{user}'@'%'")
        self._users.append(user)

    @property
    def url(self) -> str:
        """Its address."""
        return self._url(self.user, self.at)

    def _url(self, user: str, way: Address) -> str:
        return f"mysql://{user}:{PASSWORD}@{way[0]}:{way[1]}/{self.name}"

    def url_by(self, way: Address, application: str) -> str:
        """The same where something else listens on the way to it, for an application with a user of its own."""
        self._let_in(application)
        return self._url(application, way)

    def sql(self, text: str) -> str:
        """Runs SQL in it."""
        return mariadb(text, self.name, at=self.at)

    def end_connections(self, application: str | None = None) -> None:
        """Ends every connection to it, or those of one application."""
        whose = self._users if application is None else [application]
        self._run("; ".join(f"KILL USER '{user}'" for user in whose))

    def close(self) -> None:
        """Takes no connections any more, and ends those that there are."""
        self._run("; ".join(f"ALTER USER '{user}'@'%' ACCOUNT LOCK" for user in self._users))
        self.end_connections()

    def open(self) -> None:
        """Takes connections again."""
        self._run("; ".join(f"ALTER USER '{user}'@'%' ACCOUNT UNLOCK" for user in self._users))

    def drop(self) -> None:
        """Drops it, and its users."""
        self._run("; ".join(f"DROP USER '{user}'@'%'" for user in self._users))
        self._run(f"DROP DATABASE IF EXISTS {self.name}")
