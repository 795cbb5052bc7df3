"""A database of a test's own in the MariaDB on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid

import pytest

HOST = "127.0.0.1"
PORT = 3306
_CLIENT = ["mariadb", "-h", HOST, "-P", str(PORT), "--batch", "--skip-column-names"]


def mariadb(sql: str, database: str = "mysql", *, user: str = "root", password: str = "") -> str:
    """Runs SQL, as the superuser unless told otherwise, and gives what it prints."""
    command = [*_CLIENT, "-u", user, f"--password={password}", "-D", database, "-e", sql]
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
    """It is dropped at the end, and so is its user, who may do nothing elsewhere."""

    def __init__(self) -> None:
        """Makes both."""
        self.name = f"cresset_test_{uuid.uuid4().hex}"
        self.user = f"cresset_{uuid.uuid4().hex[:16]}"
        mariadb_or_skip(
            f"CREATE DATABASE {self.name}; CREATE USER {self.user}@'%' IDENTIFIED BY 'never-shown'; "
            f"GRANT ALL ON {self.name}.* TO {self.user}@'%'"
        )

    @property
    def url(self) -> str:
        """Its address."""
        return f"mysql://{self.user}:never-shown@{HOST}:{PORT}/{self.name}"

    def sql(self, text: str) -> str:
        """Runs SQL in it."""
        return mariadb(text, self.name)

    def end_connections(self) -> None:
        """Ends every connection to it."""
        mariadb(f"KILL USER {self.user}")

    def close(self) -> None:
        """Takes no connections any more, and ends those that there are."""
        mariadb(f"ALTER USER {self.user}@'%' ACCOUNT LOCK")
        self.end_connections()

    def open(self) -> None:
        """Takes connections again."""
        mariadb(f"ALTER USER {self.user}@'%' ACCOUNT UNLOCK")

    def drop(self) -> None:
        """Drops it, and its user."""
        mariadb(f"DROP USER {self.user}@'%'; DROP DATABASE IF EXISTS {self.name}")
