"""A server whose store is in a database on another machine: what is the same in PostgreSQL and in MariaDB."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.mariadb import MariaDatabase
from support.models import ECHO, write_model
from support.postgres import Database
from support.server import LONG, run_cli
from support.tasks import result, submit

SLOW = """
import time

def predict(batch):
    time.sleep(0.05)
    return batch
"""


@pytest.fixture
def database(either: Database | MariaDatabase) -> Database | MariaDatabase:
    """One of each kind."""
    return either


def test_tasks_are_kept_in_the_database_and_a_kill_loses_none(
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "echo", SLOW, "[batching]\nmax_batch_size = 4\n")
    server = serve(models, "--store", database.url).wait_ready()
    with server.http() as client:
        # Some are larger than a row, or too large to go along with the others.
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
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
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
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
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
