"""A server whose store is in MariaDB: what is so there alone. `test_databases` has the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Serve
from support.mariadb import MariaDatabase
from support.models import ECHO, write_model
from support.server import LONG, run_cli
from support.tasks import result, submit


@pytest.fixture
def maria() -> Iterator[MariaDatabase]:
    """A database for one test."""
    made = MariaDatabase()
    try:
        yield made
    finally:
        made.drop()


def test_doctor_says_what_it_is_and_who_is_on_it(serve: Serve, tmp_path: Path, maria: MariaDatabase) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", maria.url).wait_ready()
    second = serve(models, "--store", maria.url, data="second").wait_ready()
    with server.http() as client:
        assert result(client, submit(client, "here")) == "here"
    words = ("doctor", str(models), "--json", "--data-dir", str(tmp_path / "third"), "--store", maria.url)
    said = run_cli(*words, "--listen", "127.0.0.1:0", check=False)
    lines = {line["area"]: line for line in json.loads(said.stdout)["lines"]}
    assert "MariaDB" in lines["store"]["text"], said.stdout
    assert "several servers yes" in lines["backend"]["text"], said.stdout
    for one in (server, second):
        assert f"the server with process {one.process.pid}" in lines["lock"]["text"], said.stdout
    assert "never-shown" not in said.stdout + said.stderr


def test_what_cannot_be_used_is_said_in_words_and_the_password_is_not(
    tmp_path: Path, serve: Serve, maria: MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    wrong = maria.url.replace("never-shown", "never-shown-either")
    maria.sql("CREATE TABLE orders (id INT)")
    cases = {
        "mysql://u:never-shown@db": "it names no database",
        "mysql://u:never-shown@127.0.0.1:1/tasks": "cannot connect",
        wrong: "Access denied",
        maria.url: "a database of its own",
    }
    for number, (url, words) in enumerate(cases.items()):
        server = serve(models, "--store", url, data=f"data-{number}")
        assert server.process.wait(LONG) != 0, url
        server.wait_log(lambda line, words=words: words in line, f"{words!r} of {url}")
        assert "never-shown" not in server.log, server.log
    copy = run_cli("store", "backup", str(tmp_path / "copy"), "--store", maria.url, check=False)
    assert copy.returncode == 64 and "mariadb-dump" in copy.stderr, copy.stderr
    assert "never-shown" not in copy.stderr
