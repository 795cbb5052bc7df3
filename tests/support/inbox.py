"""The inbox of a store in a database of a test's own, as an application sees it: by SQL."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable

from support.mariadb import MariaDatabase, mariadb
from support.postgres import Database, postgres_or_skip, psql

KINDS = ("postgresql", "mariadb")


class Inbox(ABC):
    """What is the same in each kind of database."""

    url: str

    @abstractmethod
    def sql(self, text: str) -> str:
        """Runs SQL in the store's tables, and gives what it prints."""

    @abstractmethod
    def as_application(self, text: str) -> str:
        """Runs SQL in the store's tables as somebody who may insert into the inbox, and nothing else."""

    @abstractmethod
    def from_now(self, hours: int) -> str:
        """An instant, as SQL."""

    @abstractmethod
    def bytes(self, of: bytes) -> str:
        """Bytes, as SQL."""

    @abstractmethod
    def task_ids(self) -> set[str]:
        """The ids of all tasks, in hexadecimal."""

    @abstractmethod
    def drop(self) -> None:
        """Drops it."""

    def write_many(self, rows: Iterable[tuple[str, object]], end: str = "COMMIT", **columns: str) -> list[str]:
        """Writes rows of a model and an input in one transaction, which ends so; gives their ids.

        `columns`: more of each, as SQL.
        """
        ids: list[str] = []
        text = ["BEGIN"]
        names = ", ".join(("id", "model", "input", *columns))
        for model, value in rows:
            ids.append(str(uuid.uuid4()))
            values = ", ".join((f"'{ids[-1]}'", f"'{model}'", f"'{json.dumps(value)}'", *columns.values()))
            text.append(f"INSERT INTO inbox ({names}) VALUES ({values})")
        self.sql("; ".join([*text, end]))
        return ids

    def write(self, model: str, value: object, end: str = "COMMIT", **columns: str) -> str:
        """The same of one row."""
        return self.write_many([(model, value)], end, **columns)[0]

    def count(self, what: str = "inbox") -> int:
        """How many rows there are in a table, or what else stands there."""
        return int(self.sql(f"SELECT count(*) FROM {what}"))


class PostgresInbox(Inbox):
    """In PostgreSQL."""

    def __init__(self) -> None:
        """Makes the database."""
        self.database: Database = postgres_or_skip()
        self.url = self.database.url
        self.role = f"app_{uuid.uuid4().hex}"
        psql(f"CREATE ROLE {self.role}")

    def sql(self, text: str) -> str:
        return self.database.sql(text)

    def as_application(self, text: str) -> str:
        self.sql(f"GRANT USAGE ON SCHEMA cresset TO {self.role}; GRANT INSERT ON inbox TO {self.role}")
        return self.sql(f"SET ROLE {self.role}; {text}")

    def from_now(self, hours: int) -> str:
        return f"now() + interval '{hours} h'"

    def bytes(self, of: bytes) -> str:
        return f"'\\x{of.hex()}'"

    def task_ids(self) -> set[str]:
        return {text.replace("-", "") for text in self.sql("SELECT id FROM tasks").split()}

    def drop(self) -> None:
        self.database.drop()
        psql(f"DROP ROLE {self.role}")


class MariaInbox(Inbox):
    """In MariaDB."""

    def __init__(self) -> None:
        """Makes the database."""
        self.database = MariaDatabase()
        self.url = self.database.url
        self.user = f"app_{uuid.uuid4().hex[:16]}"
        mariadb(f"CREATE USER {self.user}@'%' IDENTIFIED BY 'its-own'")

    def sql(self, text: str) -> str:
        return self.database.sql(text)

    def as_application(self, text: str) -> str:
        mariadb(f"GRANT INSERT ON {self.database.name}.inbox TO {self.user}@'%'")
        return mariadb(text, self.database.name, user=self.user, password="its-own")

    def from_now(self, hours: int) -> str:
        return f"NOW() + INTERVAL {hours} HOUR"

    def bytes(self, of: bytes) -> str:
        return f"X'{of.hex()}'"

    def task_ids(self) -> set[str]:
        return set(self.sql("SELECT LOWER(HEX(id)) FROM tasks").split())

    def drop(self) -> None:
        mariadb(f"DROP USER {self.user}@'%'")
        self.database.drop()


def inbox_or_skip(kind: str) -> Inbox:
    """One of a kind; without a server of that kind the test is skipped, in print."""
    return PostgresInbox() if kind == "postgresql" else MariaInbox()
