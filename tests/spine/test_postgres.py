"""A server whose store is in PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
from conftest import Serve
from support.models import ECHO, write_model
from support.postgres import Database, LocksOut
from support.server import LONG, Server, program, run_cli

SLOW = """
import time

def predict(batch):
    time.sleep(0.05)
    return batch
"""


def submit(client: httpx.Client, value: object, model: str = "echo") -> str:
    """The address of a task that was accepted."""
    accepted = client.post(f"/v1/models/{model}/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def result(client: httpx.Client, place: str) -> object:
    """What a task came to, once it has."""
    task = client.get(place, params={"wait": "60s"}).json()
    assert task["status"] == "SUCCESS", task
    return task["result"]


def doctor(url: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What `cresset doctor` says of a store."""
    command = [str(program()), "doctor", str(folder / "models"), "--json", "--data-dir", str(folder / "data")]
    command += ["--store", url, "--listen", "127.0.0.1:0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LONG, cwd=folder, check=False)


def test_tasks_are_kept_in_the_database_and_a_kill_loses_none(serve: Serve, tmp_path: Path, database: Database) -> None:
    models = write_model(tmp_path / "models", "echo", SLOW, "[batching]\nmax_batch_size = 4\n")
    server = serve(models, "--store", database.url).wait_ready()
    with server.http() as client:
        # Some are larger than a row.
        values = [str(i % 10) * (4_000 * i + 1) for i in range(60)]
        first = submit(client, "first")
        assert result(client, first) == "first"
        places = {submit(client, value): value for value in values}
    server.kill()
    assert "never-shown" not in server.log
    assert not (server.data_dir / "tasks.db").exists()
    assert int(database.sql("SELECT count(*) FROM tasks")) == len(values) + 1

    again = serve(models, env={"CRESSET_STORE": database.url}).wait_ready()
    with again.http() as client:
        for place, value in places.items():
            assert result(client, place) == value
        assert result(client, first) == "first"
        report = json.loads(run_cli("store", "check", "--store", database.url, "--json").stdout)
        assert report["ok"] and report["in_use_by"], report
        assert (report["open"], report["ended"]) == (0, len(values) + 1)
    assert again.stop() == 0
    assert int(database.sql("SELECT count(*) FROM tasks WHERE state <> 3")) == 0


def test_connections_that_end_under_load_cost_no_client_an_error(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", database.url).wait_ready()
    stop = threading.Event()
    with server.http() as client, ThreadPoolExecutor(8) as pool:

        def ask(worker: int) -> int:
            done = 0
            while not stop.is_set():
                value = [worker, done]
                assert result(client, submit(client, value)) == value
                done += 1
            return done

        callers = [pool.submit(ask, number) for number in range(8)]
        for _ in range(5):
            before = int(database.sql("SELECT count(*) FROM tasks"))
            database.end_connections()
            server.wait(lambda _, n=before: int(database.sql("SELECT count(*) FROM tasks")) > n + 8, "at work again")
        stop.set()
        counts = [caller.result(LONG) for caller in callers]
    assert int(database.sql("SELECT count(*) FROM tasks WHERE state = 3")) == sum(counts)
    server.wait_log(lambda line: "the database is back" in line, "that it was away")


def test_a_database_that_is_away_is_told_and_nothing_that_was_accepted_is_lost(
    serve: Serve, tmp_path: Path, database: Database
) -> None:
    models = write_model(tmp_path / "models", "echo", SLOW, "[batching]\nmax_batch_size = 2\n")
    server = serve(models, "--store", database.url).wait_ready()
    with server.http() as client:
        places = {submit(client, number): number for number in range(40)}
        database.close()

        def refuses(client: httpx.Client) -> bool:
            answer = client.post("/v1/models/echo/tasks", json={"input": 1})
            if answer.status_code == 202:
                return False
            assert answer.status_code == 503, answer.text
            assert answer.json()["code"] == "store_unavailable", answer.text
            assert "retry-after" in answer.headers
            assert "never-shown" not in answer.text
            return True

        server.wait(refuses, "without a database")
        ready = client.get("/health/ready")
        assert ready.status_code == 503, ready.text
        assert "away" in ready.text and "never-shown" not in ready.text, ready.text
        assert client.get("/health/live").status_code == 200
        database.open()
        server.wait_ready()
        for place, value in places.items():
            assert result(client, place) == value
        assert result(client, submit(client, "after")) == "after"
    assert "never-shown" not in server.log


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
