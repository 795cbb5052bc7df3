"""A Django site and a server that share a PostgreSQL or a MariaDB: submits within the site's real transactions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dev_env
import pytest
from conftest import Serve
from support import mariadb, postgres
from support.inbox import KINDS, Inbox, MariaInbox, PostgresInbox, inbox_or_skip
from support.models import ECHO, write_model
from support.server import LONG

#: Does what its arguments say in a transaction, and tells what it made; the last says how the transaction ends.
SITE = """
import json, os, sys
import django
from django.conf import settings

database, url, kind, end = sys.argv[1:]
database = json.loads(database)
schema = database.pop("inbox")
if database["ENGINE"].endswith("mysql"):
    # Django's backend wants a module of another client, which this one stands in for.
    import pymysql
    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
settings.configure(
    DATABASES={"default": database},
    SECRET_KEY="of a test", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["cresset.django"], CRESSET={"URL": url, "INBOX": "default", "INBOX_SCHEMA": schema},
    TASKS={"default": {"BACKEND": "cresset.django.backport.CressetBackend", "QUEUES": ["echo"]}},
)
django.setup()
from django.core.management import call_command
from django.db import connection, transaction
from cresset.django import submit
from cresset.errors import UnknownTask

call_command("check", databases=["default"], verbosity=0)
call_command("cresset_check", "echo", stdout=open(os.devnull, "w"))
with connection.cursor() as cursor:
    cursor.execute("CREATE TABLE IF NOT EXISTS orders (task varchar(40) NOT NULL)")


class GoneWrong(Exception):
    pass


tasks = []
try:
    with transaction.atomic():
        for number in range(20):
            tasks.append(submit("echo", [kind, number], owner="user:1", countdown=0.01))
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO orders VALUES (%s)", [tasks[-1].id])
        try:
            tasks[0].status()
        except UnknownTask:
            pass
        else:
            raise SystemExit("a task is there before the commit")
        if end == "kill":
            os.kill(os.getpid(), 9)
        if end == "rollback":
            raise GoneWrong
except GoneWrong:
    pass
with connection.cursor() as cursor:
    cursor.execute(f"SELECT count(*) FROM orders WHERE task IN ({', '.join(['%s'] * 20)})", [task.id for task in tasks])
    orders = cursor.fetchone()[0]
results = []
for task in tasks:
    try:
        results.append(task.result(60))
    except UnknownTask:
        results.append(None)
print(json.dumps({"orders": orders, "results": results}))
"""


@contextmanager
def site_database(inbox: Inbox) -> Generator[dict[str, Any], None, None]:
    """A database of the site's own beside the inbox, as `DATABASES` has it, and the name of the inbox's schema."""
    if isinstance(inbox, PostgresInbox):
        place = {"ENGINE": "django.db.backends.postgresql", "NAME": inbox.database.name, "USER": "postgres"}
        yield {**place, "HOST": postgres.HOST, "PORT": postgres.PORT, "inbox": "cresset"}
        return
    assert isinstance(inbox, MariaInbox)
    name = f"{inbox.database.name}_site"
    mariadb.mariadb(f"CREATE DATABASE {name}; GRANT ALL ON {name}.* TO {inbox.user}@'%'")
    inbox.as_application("SELECT 1")  # has the right to insert from here on
    place = {"ENGINE": "django.db.backends.mysql", "NAME": name, "USER": inbox.user, "PASSWORD": "its-own"}
    try:
        yield {**place, "HOST": mariadb.HOST, "PORT": mariadb.PORT, "inbox": inbox.database.name}
    finally:
        mariadb.mariadb(f"DROP DATABASE {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_s_transaction_decides_whether_there_are_tasks(serve: Serve, tmp_path: Path, kind: str) -> None:
    python = str(dev_env.build("django5.2", sys.executable))
    inbox = inbox_or_skip(kind)
    try:
        server = serve(write_model(tmp_path / "models", "echo", ECHO), "--store", inbox.url).wait_ready()
        script = tmp_path / "site.py"
        script.write_text(SITE)
        with site_database(inbox) as database:
            place = json.dumps(database)

            def run(end: str) -> subprocess.CompletedProcess[str]:
                command = [python, str(script), place, server.url, end, end]
                return subprocess.run(command, capture_output=True, text=True, timeout=2 * LONG, check=False)

            def told(end: str) -> dict[str, Any]:
                done = run(end)
                assert done.returncode == 0, done.stderr
                return json.loads(done.stdout.splitlines()[-1])

            assert told("commit") == {"orders": 20, "results": [["commit", number] for number in range(20)]}
            assert told("rollback") == {"orders": 0, "results": [None] * 20}
            assert run("kill").returncode == -9
            # Nothing of the other two is anywhere.
            assert inbox.count("tasks") == 20
            assert inbox.count() == 0
    finally:
        inbox.drop()
