"""A Django site and a server that share a PostgreSQL: submits within the site's real transactions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dev_env
from conftest import Serve
from support.models import ECHO, write_model
from support.postgres import HOST, PORT, Database
from support.server import LONG

#: Does what its arguments say in a transaction, and tells what it made; the last says how the transaction ends.
SITE = """
import json, os, sys
import django
from django.conf import settings

name, url, kind, end = sys.argv[1:]
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres",
                           "HOST": os.environ["SITE_HOST"], "PORT": os.environ["SITE_PORT"]}},
    SECRET_KEY="of a test", USE_TZ=True, DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["cresset.django"], CRESSET={"URL": url, "INBOX": "default"},
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
    cursor.execute("CREATE TABLE IF NOT EXISTS orders (task text NOT NULL)")


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
    cursor.execute("SELECT count(*) FROM orders WHERE task = ANY (%s)", [[task.id for task in tasks]])
    orders = cursor.fetchone()[0]
results = []
for task in tasks:
    try:
        results.append(task.result(60))
    except UnknownTask:
        results.append(None)
print(json.dumps({"orders": orders, "results": results}))
"""


def test_a_site_s_transaction_decides_whether_there_are_tasks(serve: Serve, tmp_path: Path, database: Database) -> None:
    python = str(dev_env.build("django5.2", sys.executable))
    server = serve(write_model(tmp_path / "models", "echo", ECHO), "--store", database.url).wait_ready()
    script = tmp_path / "site.py"
    script.write_text(SITE)

    def run(end: str) -> subprocess.CompletedProcess[str]:
        command = [python, str(script), database.name, server.url, end, end]
        where = {"SITE_HOST": HOST, "SITE_PORT": str(PORT)}
        return subprocess.run(command, capture_output=True, text=True, timeout=2 * LONG, check=False, env=where)

    def told(end: str) -> dict[str, Any]:
        done = run(end)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    assert told("commit") == {"orders": 20, "results": [["commit", number] for number in range(20)]}
    assert told("rollback") == {"orders": 0, "results": [None] * 20}
    assert run("kill").returncode == -9
    # Nothing of the other two is anywhere.
    assert database.sql("SELECT count(*) FROM tasks") == "20"
    assert database.sql("SELECT count(*) FROM inbox") == "0"
    assert database.sql("SELECT count(*) FROM public.orders JOIN tasks ON tasks.id = orders.task::uuid") == "20"
