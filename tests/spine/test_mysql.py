"""A server whose store is in MariaDB."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.mariadb import MariaDatabase
from support.models import ECHO, write_model
from support.server import LONG, run_cli

SLOW = """
import time

def predict(batch):
    time.sleep(0.05)
    return batch
"""


@pytest.fixture
def maria() -> Iterator[MariaDatabase]:
    """A database for one test."""
    made = MariaDatabase()
    try:
        yield made
    finally:
        made.drop()


def submit(client: httpx.Client, value: object) -> str:
    """The address of a task that was accepted."""
    accepted = client.post("/v1/models/echo/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def result(client: httpx.Client, place: str) -> object:
    """What a task came to, once it has."""
    task = client.get(place, params={"wait": "60s"}).json()
    assert task["status"] == "SUCCESS", task
    return task["result"]


def test_tasks_are_kept_in_the_database_and_a_kill_loses_none(
    serve: Serve, tmp_path: Path, maria: MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", SLOW, "[batching]\nmax_batch_size = 4\n")
    server = serve(models, "--store", maria.url).wait_ready()
    with server.http() as client:
        # Some are too large to go along with the others.
        values = [str(i % 10) * (4_000 * i + 1) for i in range(40)]
        first = submit(client, "first")
        assert result(client, first) == "first"
        places = {submit(client, value): value for value in values}
    server.kill()
    assert "never-shown" not in server.log
    assert not (server.data_dir / "tasks.db").exists()
    assert int(maria.sql("SELECT COUNT(*) FROM tasks")) == len(values) + 1

    again = serve(models, env={"CRESSET_STORE": maria.url}).wait_ready()
    with again.http() as client:
        for place, value in places.items():
            assert result(client, place) == value
        assert result(client, first) == "first"
        report = json.loads(run_cli("store", "check", "--store", maria.url, "--json").stdout)
        assert report["ok"] and report["in_use_by"], report
        assert (report["open"], report["ended"]) == (0, len(values) + 1)
    assert again.stop() == 0
    assert int(maria.sql("SELECT COUNT(*) FROM tasks WHERE state <> 3")) == 0


def test_connections_that_end_under_load_cost_no_client_an_error(
    serve: Serve, tmp_path: Path, maria: MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", maria.url).wait_ready()
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
        for _ in range(3):
            before = int(maria.sql("SELECT COUNT(*) FROM tasks"))
            maria.end_connections()
            server.wait(lambda _, n=before: int(maria.sql("SELECT COUNT(*) FROM tasks")) > n + 8, "at work again")
        stop.set()
        counts = [caller.result(LONG) for caller in callers]
    assert int(maria.sql("SELECT COUNT(*) FROM tasks WHERE state = 3")) == sum(counts)
    server.wait_log(lambda line: "the database is back" in line, "that it was away")


def test_a_database_that_is_away_is_told_and_nothing_that_was_accepted_is_lost(
    serve: Serve, tmp_path: Path, maria: MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", SLOW, "[batching]\nmax_batch_size = 2\n")
    server = serve(models, "--store", maria.url).wait_ready()
    with server.http() as client:
        places = {submit(client, number): number for number in range(30)}
        maria.close()

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
        maria.open()
        server.wait_ready()
        for place, value in places.items():
            assert result(client, place) == value
        assert result(client, submit(client, "after")) == "after"
    assert "never-shown" not in server.log


def test_a_second_server_is_refused_in_words_and_doctor_says_who_has_it(
    serve: Serve, tmp_path: Path, maria: MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, "--store", maria.url).wait_ready()
    second = serve(models, "--store", maria.url, data="second")
    assert second.process.wait(LONG) == 69
    second.wait_log(lambda line: "one server at a time owns a database" in line, "who has it")
    with server.http() as client:
        assert result(client, submit(client, "here")) == "here"
    words = ("doctor", str(models), "--json", "--data-dir", str(tmp_path / "third"), "--store", maria.url)
    said = run_cli(*words, "--listen", "127.0.0.1:0", check=False)
    lines = {line["area"]: line for line in json.loads(said.stdout)["lines"]}
    assert "MariaDB" in lines["store"]["text"], said.stdout
    assert "several servers no" in lines["backend"]["text"], said.stdout
    assert "the server with process" in lines["lock"]["text"], said.stdout
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
