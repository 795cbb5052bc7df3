"""What a submit adds to a view's transaction: as a row of the inbox, and by HTTP after the commit, in turn.

    python benches/inbox.py [--program target/release/cresset] [--database URL] [--rounds 1000]

It makes a schema of its own in that database and drops it again; in a MySQL or MariaDB (`mysql://...`) two databases,
one for the server and one for the site. Runs in an environment with Django, psycopg and PyMySQL
(`python3 scripts/dev_env.py django5.2` says which python). Each round saves a row of the site's three times: alone,
with a submit in the transaction (`INBOX`), and with a submit by HTTP when it has committed; what the last two take
beyond the first is the cost. The tasks run meanwhile. The last line says how soon after its commit one has ended.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import cresset
import django
import pymysql
from cresset.django import client, submit
from django.conf import settings
from django.db import connection, transaction

REPOSITORY = Path(__file__).resolve().parents[1]
INPUT = [[0.5] * 8] * 8
LONG = 60.0
WARM_UP = 20
"""Rounds until connections are made and statements are known."""


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=REPOSITORY / "target" / "release" / "cresset")
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1:5432/postgres")
    parser.add_argument("--rounds", type=int, default=1000)
    return parser.parse_args()


def configure(database: str, schema: str, port: int) -> None:
    """Makes this process a site."""
    url = urlsplit(database)
    is_mysql = url.scheme == "mysql"
    if is_mysql:
        # Django's backend wants a module of another client, which this one stands in for.
        pymysql.version_info = (2, 2, 7, "final", 0)
        pymysql.install_as_MySQLdb()
    one = {
        "ENGINE": f"django.db.backends.{'mysql' if is_mysql else 'postgresql'}",
        "NAME": url.path.lstrip("/"),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname,
        "PORT": url.port or (3306 if is_mysql else 5432),
    }
    settings.configure(
        DATABASES={"default": one},
        SECRET_KEY="of a bench",  # noqa: S106
        USE_TZ=True,
        INSTALLED_APPS=["cresset.django"],
        CRESSET={"URL": f"http://127.0.0.1:{port}", "INBOX": "default", "INBOX_SCHEMA": schema},
    )
    django.setup()


def until_ready() -> None:
    """Waits for the server and its model."""
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        try:
            if client.health().ready:
                return
        except cresset.CressetError:
            pass  # it is not there yet
        time.sleep(0.05)
    raise SystemExit("the server is not ready")


def told(name: str, seconds: list[float]) -> None:
    """One line."""
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{name:34} p50 {statistics.median(seconds) * 1e3:6.2f} ms   p99 {cuts[98] * 1e3:6.2f} ms", flush=True)


def orders(schema: str) -> str:
    """The site's table."""
    return f"`{schema}_site`.bench_orders" if connection.vendor == "mysql" else f'"{schema}".bench_orders'


def save(schema: str) -> None:
    """A row of the site's own."""
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {orders(schema)} (what) VALUES (%s)", ["something"])  # noqa: S608  # ours


def alone(schema: str) -> None:
    """What the view does anyway."""
    with transaction.atomic():
        save(schema)


def within(schema: str) -> None:
    """The same with a submit in its transaction."""
    with transaction.atomic():
        save(schema)
        submit("echo", INPUT)


def after(schema: str) -> None:
    """The same with a submit by HTTP behind it."""
    alone(schema)
    client.submit("echo", INPUT)


KINDS = {"a row of the site's alone": alone, "with a submit in its transaction": within, "and a submit by HTTP": after}


def took(what: Callable[[], object]) -> float:
    """How long something takes, in seconds."""
    began = time.perf_counter()
    what()
    return time.perf_counter() - began


def measure(schema: str, rounds: int) -> None:
    """All of it, against a server that is there."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {orders(schema)} (what text)")
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for number in range(rounds + WARM_UP):
        for name, what in KINDS.items():
            seconds = took(partial(what, schema))
            if number >= WARM_UP:
                times[name].append(seconds)
    for name, seconds in times.items():
        told(name, seconds)
    tasks = [took(submit("echo", INPUT).result) for _ in range(rounds)]
    told("from a commit to the result", tasks)


def store_of(database: str, schema: str) -> str:
    """Where the server is to have its store."""
    if connection.vendor != "mysql":
        return f"{database}?schema={schema}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{schema}`")
        cursor.execute(f"CREATE DATABASE `{schema}_site`")
    return urlsplit(database)._replace(path=f"/{schema}").geturl()


def drop(schema: str) -> None:
    """Takes away what was made."""
    with connection.cursor() as cursor:
        if connection.vendor == "mysql":
            cursor.execute(f"DROP DATABASE `{schema}`")
            cursor.execute(f"DROP DATABASE `{schema}_site`")
        else:
            cursor.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def main() -> None:
    """Starts a server, measures, and takes away what it made."""
    options = parsed()
    schema = f"bench_{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "models" / "echo"
        model.mkdir(parents=True)
        (model / "model.toml").write_text(f'name = "echo"\n[environment]\npython = "{sys.executable}"\n')
        (model / "model.py").write_text("def predict(batch):\n    return batch\n")
        port = 18700
        configure(options.database, schema, port)
        store = store_of(options.database, schema)
        command = [str(options.program), "serve", str(model.parent), "--data-dir", f"{folder}/data", "--store", store]
        server = subprocess.Popen([*command, "--listen", f"127.0.0.1:{port}", "--log-level", "warn"])
        try:
            until_ready()
            measure(schema, options.rounds)
        finally:
            server.terminate()
            server.wait(LONG)
            drop(schema)


if __name__ == "__main__":
    main()
