"""A database of a test's own in the PostgreSQL on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from support.listens import Address, Listens

HOST = "127.0.0.1"
PORT = 5432


def _psql(at: Address, database: str) -> list[str]:
    where = ["psql", "-h", at[0], "-p", str(at[1]), "-U", "postgres", "-d", database]
    return [*where, "-w", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]


def psql(sql: str, database: str = "postgres", at: Address = (HOST, PORT)) -> str:
    """Runs SQL as the superuser, and gives what it prints."""
    done = subprocess.run([*_psql(at, database), "-c", sql], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{sql}: {done.stderr}")
    return done.stdout.strip()


def postgres_or_skip() -> Database:
    """A new database; without a server a failure where CI says that it has one, and a skip that is told elsewhere."""
    why = "psql is not installed"
    if shutil.which("psql"):
        try:
            psql("")
            return Database()
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            why = f"no PostgreSQL at {HOST}:{PORT}: {error}"
    if "postgresql" in os.environ.get("CI_HAS", "").split():
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


class Database:
    """It is dropped at the end, whoever is still connected."""

    def __init__(self, at: Address = (HOST, PORT)) -> None:
        """Makes it, in the PostgreSQL at that address."""
        self.at = at
        self.name = f"cresset_test_{uuid.uuid4().hex}"
        self._psql(f"CREATE DATABASE {self.name} ENCODING 'UTF8' TEMPLATE template0")

    def _psql(self, text: str) -> str:
        return psql(text, at=self.at)

    @property
    def url(self) -> str:
        """Its address, with a password that is not asked for."""
        return self._url(self.at)

    def _url(self, way: Address) -> str:
        return f"postgresql://postgres:never-shown@{way[0]}:{way[1]}/{self.name}"

    def url_by(self, way: Address, application: str) -> str:
        """The same where something else listens on the way to it, for an application that is told apart by its name."""
        return f"{self._url(way)}?application_name={application}"

    def sql(self, text: str) -> str:
        """Runs SQL in the store's schema."""
        return psql(f"SET search_path TO cresset; {text}", self.name, self.at)

    @contextmanager
    def session(self, text: str) -> Generator[None, None, None]:
        """Runs SQL in the store's schema, in a session that lasts as long as this."""
        with subprocess.Popen(
            _psql(self.at, self.name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as run:
            assert run.stdin and run.stdout
            run.stdin.write(f"SET search_path TO cresset;\n{text};\nSELECT 'it has run';\n")
            run.stdin.flush()
            while "it has run" not in run.stdout.readline():
                assert run.poll() is None, text
            yield
            run.stdin.close()

    def end_connections(self, application: str | None = None) -> None:
        """Ends every connection to it, or those of one application name."""
        whose = "" if application is None else f" AND application_name = '{application}'"
        self._psql(
            f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{self.name}'{whose}"
        )

    def close(self) -> None:
        """Takes no connections any more, and ends those that there are."""
        self._psql(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false")
        self.end_connections()

    def open(self) -> None:
        """Takes connections again."""
        self._psql(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true")

    def drop(self) -> None:
        """Drops it."""
        self._psql(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")


class LocksOut(Listens):
    """A server that asks for a password and takes none: the one on this machine may ask for none at all."""

    def __init__(self) -> None:
        """Listens on a free port."""
        super().__init__((HOST, 0))
        self._begin()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address[1]

    def _met(self, caller: socket.socket) -> None:
        with caller:
            self._refuse(caller)

    @staticmethod
    def _refuse(caller: socket.socket) -> None:
        def message() -> None:
            (length,) = struct.unpack("!i", caller.recv(4, socket.MSG_WAITALL))
            caller.recv(length - 4, socket.MSG_WAITALL)

        message()
        caller.sendall(b"R" + struct.pack("!ii", 8, 3))
        caller.recv(1, socket.MSG_WAITALL)
        message()
        fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user\0\0"
        caller.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)

    def close(self) -> None:
        """Listens no more."""
        self._ignore()
        self._join()
