"""A server whose store is in PostgreSQL: what is so there alone. `test_databases` has the rest."""

from __future__ import annotations

import json
import os
import subprocess
import time
from contextlib import closing
from pathlib import Path

from conftest import Serve
from support.models import ECHO, write_model
from support.postgres import Database, LocksOut
from support.server import LONG, Server, program, run_cli
from support.tasks import result, submit


def doctor(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `cresset doctor` says of a store."""
    command = [str(program()), "doctor", str(folder / "models"), "--json", "--data-dir", str(folder / "data")]
    command += ["--store", url, "--listen", "127.0.0.1:0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=folder, check=False)


def test_an_input_that_is_damaged_fails_its_task_and_the_log_names_its_trace(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url, "--log-format", "json").wait_ready()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    with server.http() as client:
        body = {"input": 1, "countdown": 3}
        headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        accepted = client.post("/v1/models/echo/tasks", json=body, headers=headers)
        assert accepted.status_code == 202, accepted.text
        database.sql("UPDATE inputs SET kind = 99")
        began = time.monotonic()
        task = client.get(accepted.headers["location"], params={"wait": "60s"}).json()
    assert (task["status"], task["error"]["type"]) == ("FAILURE", "UnreadableInput"), task
    assert time.monotonic() - began < 30, "who waits hears of its end, not only when the wait is over"
    line = server.wait_log(lambda text: "stored input cannot be read" in text, "that it is damaged")
    assert trace in line, line


def test_another_schema_is_another_store(serve: Serve, tmp_path: Path, database: Database) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url).wait_ready()
    other = serve(models, "--store", f"{database.url}?schema=blue", data="blue").wait_ready()
    with server.http() as here, other.http() as there:
        place = submit(here, "here")
        assert result(here, place) == "here"
        assert there.get(place).status_code == 404
    said = doctor(database.url, tmp_path)
    lines = {line["area"]: line for line in json.loads(said.stdout)["lines"]}
    assert "PostgreSQL" in lines["store"]["text"], said.stdout
    assert "the server with process" in lines["lock"]["text"], said.stdout
    assert "never-shown" not in said.stdout + said.stderr


def test_what_cannot_be_used_is_said_in_words_and_the_password_is_not(tmp_path: Path, serve: Serve) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    with closing(LocksOut()) as locked:
        cases = {
            "oracle://u:never-shown@db/tasks": "tasks are kept in PostgreSQL, in MySQL or MariaDB, or in SQLite",
            "postgresql://u:never-shown@db": "it names no database",
            "postgresql://u:never-shown@127.0.0.1:1/tasks?sslmode=disable": "cannot connect",
            "postgresql://u:never-shown@no-such-host.invalid/tasks": "cannot connect",
            f"postgresql://u:never-shown@127.0.0.1:{locked.port}/t?sslmode=disable": "password authentication failed",
        }
        for number, (url, words) in enumerate(cases.items()):
            server: Server = serve(models, "--store", url, data=f"data-{number}")
            assert server.process.wait(LONG) != 0, url
            server.wait_log(lambda line, words=words: words in line, f"{words!r} of {url}")
            assert "never-shown" not in server.log, server.log


def test_a_backup_of_such_a_store_is_left_to_the_databases_own_tools(tmp_path: Path) -> None:
    url = "postgresql://u:never-shown@db/tasks"
    for command, words in {
        ("backup", str(tmp_path / "copy")): "pg_dump",
        ("restore", str(tmp_path)): "pg_restore",
    }.items():
        done = run_cli("store", *command, "--store", url, check=False)
        assert done.returncode == 64, done.stderr
        assert words in done.stderr and "never-shown" not in done.stderr, done.stderr
    shown = run_cli("config", "show", "--store", url, check=False)
    assert "never-shown" not in shown.stdout + shown.stderr


def test_a_store_of_an_older_schema_that_is_in_use_is_left_alone(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    assert serve(models, "--store", database.url).wait_ready().stop() == 0
    database.sql("DELETE FROM migrations WHERE version > 1; CREATE TABLE server AS SELECT 'an old server' AS who")
    lock = f"SELECT pg_advisory_lock({0x43525354}, 'cresset'::regnamespace::oid::bigint::int)"
    with database.session(lock):
        refused = serve(models, "--store", database.url, data="second")
        assert refused.ended() == os.EX_UNAVAILABLE
        refused.wait_log(lambda line: "an old server is on it" in line, "who is on the store")
        assert "never-shown" not in refused.log
