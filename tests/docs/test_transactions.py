"""The SQL of the guide to tasks within one's own transactions, run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Serve
from support.inbox import KINDS, MariaInbox, PostgresInbox, inbox_or_skip
from support.mariadb import mariadb
from support.models import ECHO, write_model
from support.postgres import psql

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "transactions.md"
SQL = re.compile(r"^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    """The blocks that are for a kind of database."""
    before, rest = GUIDE.read_text().split("## MySQL and MariaDB\n")
    theirs, after = rest.split("\n## ", 1)
    return SQL.findall(theirs if kind == "mariadb" else before + after)


def prepare(inbox: PostgresInbox | MariaInbox, text: str) -> str:
    """An application with tables of its own; its SQL with the names that there are here."""
    text = re.sub(r"\bapp\b", inbox.role if isinstance(inbox, PostgresInbox) else inbox.user, text)
    return text if isinstance(inbox, PostgresInbox) else text.replace("cresset.", f"{inbox.database.name}.")


@pytest.mark.parametrize("kind", KINDS)
def test_the_sql_of_the_guide_makes_tasks(serve: Serve, tmp_path: Path, kind: str) -> None:
    inbox = inbox_or_skip(kind)
    assert isinstance(inbox, PostgresInbox | MariaInbox)
    try:
        server = serve(write_model(tmp_path / "models", "digits", ECHO), "--store", inbox.url).wait_ready()
        found = blocks(kind)
        rights = [text for text in found if "GRANT" in text]
        written = [text for text in found if "INSERT INTO" in text and text not in rights]
        assert rights and written and len(rights) + len(written) == len(found)
        tables = (
            "CREATE TABLE orders (customer int, picture varchar(99));"
            "CREATE TABLE pictures (pixels varchar(99), classified_at date);"
            "INSERT INTO pictures (pixels) VALUES ('7')"
        )
        if isinstance(inbox, PostgresInbox):
            name = inbox.database.name
            psql(f"{tables}; GRANT ALL ON orders, pictures TO {inbox.role}", name)
            for text in rights:
                psql(prepare(inbox, text), name)
            for text in written:
                psql(f"SET ROLE {inbox.role}; {prepare(inbox, text)}", name)
        else:
            name = f"{inbox.database.name}_site"
            mariadb(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {inbox.user}@'%'")
            try:
                mariadb(tables, name)
                for text in rights:
                    mariadb(prepare(inbox, text))
                for text in written:
                    mariadb(prepare(inbox, text), name, user=inbox.user, password="its-own")
            finally:
                mariadb(f"DROP DATABASE {name}")
        server.wait(lambda _: inbox.count("tasks") == len(written) and inbox.count() == 0, "taken")
    finally:
        inbox.drop()
