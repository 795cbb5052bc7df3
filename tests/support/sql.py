"""Databases that results are stored in, each for one test; and an application that asks from a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.mariadb import mariadb_or_skip
from support.postgres import Database, postgres_or_skip
from support.server import LONG

SETTINGS = """
SECRET_KEY = "not one"
USE_TZ = True
INSTALLED_APPS = ["django_celery_results"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": @DATABASE@}
"""

APP = """
from celery import Celery

app = Celery("proj", broker=@BROKER@, backend=@BACKEND@)
app.conf.task_routes = {"proj.*": {"queue": @QUEUE@}}
app.conf.task_default_queue = @QUEUE@ + "-site"
app.conf.result_extended = @EXTENDED@
app.conf.result_chord_retry_interval = 0.2
"""

ASK = """
import json
import sys
from datetime import datetime, timedelta, timezone

@DJANGO@
from proj import app
from celery import chord, group, signature
from celery.result import GroupResult

LONG = @LONG@


def echo(*args, **options):
    return signature("proj.echo", args, app=app, **options)


VALUE = [1, -3, 2.5, "é😀", None, True, False, {"a": [], "b": {}}, 2**40, -(2**70), 1e300, ""]
said = {}
good = echo(VALUE).delay()
said["same"] = good.get(timeout=LONG) == VALUE
said["state"] = good.status
said["recent"] = abs(good.date_done.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)) < timedelta(minutes=1)
failed = echo({"raise": "value"}).delay()
try:
    failed.get(timeout=LONG)
except ValueError as error:
    said["raised"] = repr(error)
said["failed"] = failed.status
said["traceback"] = "model.py" in failed.traceback
own = echo({"raise": "own"}).delay()
said["own"] = type(own.get(timeout=LONG, propagate=False)).__name__
later = echo(1).apply_async(expires=-5)
said["late"] = repr(later.get(timeout=LONG, propagate=False))
said["pending"] = app.AsyncResult("nobody").status
several = group(echo(i) for i in range(5)).delay()
several.save()
said["group"] = GroupResult.restore(several.id, app=app).get(timeout=LONG)
linked = echo("l").apply_async(link=echo())
linked.get(timeout=LONG)
said["children"] = [child.get(timeout=LONG) for child in linked.children or []]
extended = app.AsyncResult(good.id)
said["name"] = extended.name
said["worker"] = extended.worker
if @CHORDS@:
    said["chord"] = chord([echo(i) for i in range(3)], app=app)(echo()).get(timeout=LONG)
    chained = (echo("x") | group(echo(), echo(5, immutable=True)) | echo()).delay()
    said["chained"] = chained.get(timeout=LONG)
    broken = chord([echo(1), echo({"raise": "value"})], app=app)(echo())
    said["broken"] = repr(broken.get(timeout=LONG, propagate=False))
print(json.dumps(said))
"""


class Sql:
    """A database, under SQLAlchemy's address and as Django has it in its settings."""

    def __init__(self, url: str, django: dict[str, Any], postgres: Database | None = None) -> None:
        """It is there already."""
        self.url = url
        self.django = django
        self.postgres = postgres


@contextmanager
def sql(kind: str, folder: Path) -> Generator[Sql, None, None]:
    """A new database of a kind; without a server of that kind the test is skipped, in print."""
    if kind == "sqlite":
        path = folder / "results.db"
        yield Sql(f"sqlite:///{path}", {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)})
    elif kind == "postgresql":
        database = postgres_or_skip()
        url = database.url.replace("postgresql://", "postgresql+psycopg2://")
        place = {"HOST": "127.0.0.1", "USER": "postgres", "NAME": database.name}
        try:
            yield Sql(url, {"ENGINE": "django.db.backends.postgresql", **place}, database)
        finally:
            database.drop()
    else:
        name = f"cresset_test_{uuid.uuid4().hex}"
        mariadb_or_skip(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        place = {"HOST": "127.0.0.1", "USER": "root", "NAME": name}
        try:
            yield Sql(f"mysql+pymysql://root@127.0.0.1/{name}", {"ENGINE": "django.db.backends.mysql", **place})
        finally:
            mariadb_or_skip(f"DROP DATABASE {name}")


class Project:
    """An application in a folder, asked by the interpreter of an environment."""

    def __init__(self, folder: Path, python: str, **words: Any) -> None:
        """Writes it. `words`: broker, backend, queue, extended; and for Django's tables the database."""
        self.folder = folder
        self.python = python
        self.django: dict[str, Any] | None = words.pop("database", None)
        folder.mkdir(parents=True)
        (folder / "proj.py").write_text(_filled(APP, **words))
        if self.django is not None:
            # Django's MySQL backend wants a module of another client, which this one stands in for.
            shim = "import pymysql\n\npymysql.version_info = (2, 2, 7, 'final', 0)\npymysql.install_as_MySQLdb()\n"
            needs_it = self.django["ENGINE"].endswith("mysql")
            (folder / "settings.py").write_text((shim if needs_it else "") + _filled(SETTINGS, database=self.django))
            self.run("-m", "django", "migrate", "--verbosity", "0")

    def environ(self) -> dict[str, str]:
        """Where the settings are, for Django."""
        plain = {**os.environ, "PYTHONPATH": str(self.folder)}
        return plain if self.django is None else {**plain, "DJANGO_SETTINGS_MODULE": "settings"}

    def run(self, *words: str) -> str:
        """Runs Python in it."""
        done = subprocess.run(
            [self.python, "-W", "ignore", *words],
            cwd=self.folder,
            env=self.environ(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, *, chords: bool) -> dict[str, Any]:
        """What the application gets to see."""
        django = "" if self.django is None else "import django; django.setup()"
        ask = ASK.replace("@DJANGO@", django).replace("@CHORDS@", repr(chords)).replace("@LONG@", repr(LONG))
        (self.folder / "ask.py").write_text(ask)
        return json.loads(self.run("ask.py").splitlines()[-1])


def _filled(template: str, **words: Any) -> str:
    for name, value in words.items():
        template = template.replace(f"@{name.upper()}@", repr(value))
    return template
