"""Several servers on one store in PostgreSQL or MariaDB."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.mariadb import MariaDatabase
from support.models import write_model
from support.postgres import Database
from support.server import LONG, Server, run_cli

#: Gives its input and whose process it was, after a moment.
WHO = """
import os, time

def predict(batch):
    time.sleep(0.02)
    return [[value, os.getppid()] for value in batch]
"""

#: Each input names a pipe: it runs until somebody has written to that. A cancelled one stops at once.
HELD = """
import os
import time
from pathlib import Path

import cresset

def predict(batch):
    Path(batch[0] + ".begun").write_text(str(os.getppid()))
    while not cresset.current().cancelled_items[0]:
        if Path(batch[0]).exists():
            return ["done"] * len(batch)
        time.sleep(0.005)
    Path(batch[0] + ".stopped").touch()
    raise cresset.Cancelled
"""

ONE_BY_ONE = "[batching]\nmax_batch_size = 1\n"


@pytest.fixture
def database(either: Database | MariaDatabase) -> Database | MariaDatabase:
    """One of each kind."""
    return either


def pair(serve: Serve, models: Path, database: Database | MariaDatabase) -> tuple[Server, Server]:
    """Two servers on one store."""
    first = serve(models, "--store", database.url, data="first")
    second = serve(models, "--store", database.url, data="second")
    return first.wait_ready(), second.wait_ready()


def submit(client: httpx.Client, value: object, model: str) -> str:
    """The address of a task that was accepted."""
    accepted = client.post(f"/v1/models/{model}/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def begun(server: Server, mark: Path) -> int:
    """Whose process runs it."""
    server.wait(lambda _: mark.exists() and mark.read_text() != "", f"at {mark.name}")
    return int(mark.read_text())


def test_both_run_what_either_accepts_and_a_wait_at_one_ends_with_the_other(
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "who", WHO, ONE_BY_ONE)
    first, second = pair(serve, models, database)
    with first.http() as client, ThreadPoolExecutor(16) as pool:
        places = [submit(client, number, "who") for number in range(120)]

        def wait(place: str) -> tuple[int, int]:
            task = client.get(place, params={"wait": "60s"}).json()
            assert task["status"] == "SUCCESS", task
            return task["result"]

        results = list(pool.map(wait, places))
        assert [value for value, _ in results] == list(range(120))
        assert {by for _, by in results} == {first.process.pid, second.process.pid}
        for server in (first, second):
            server.wait(
                lambda _, at=server: at.metric("cresset_queue_depth", model="who") == 0, "told that all is done"
            )
    said = json.loads(run_cli("store", "check", "--store", database.url, "--json").stdout)
    for server in (first, second):
        assert f"process {server.process.pid} on" in said["in_use_by"], said
    assert (first.stop(), second.stop()) == (0, 0)
    assert "never-shown" not in first.log + second.log
    assert int(database.sql("SELECT count(*) FROM servers WHERE ended_at IS NULL")) == 0


def test_a_follower_at_one_sees_the_states_at_the_other_and_a_cancellation_gets_there(
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "held", HELD, ONE_BY_ONE)
    servers = pair(serve, models, database)
    with servers[0].http() as client:
        for number in range(4):
            gate = tmp_path / f"gate-{number}"
            place = submit(client, str(gate), "held")
            runs = begun(servers[0], tmp_path / f"gate-{number}.begun")
            other = next(server for server in servers if server.process.pid != runs)
            with other.http() as elsewhere:
                if number % 2:
                    with elsewhere.stream("GET", f"{place}/events") as events:
                        lines = events.iter_lines()
                        assert any('"STARTED"' in line for line in lines)
                        gate.touch()
                        assert any('"SUCCESS"' in line for line in lines)
                else:
                    assert elsewhere.post(f"{place}/cancel").json()["status"] == "REVOKED"
                    stopped = tmp_path / f"gate-{number}.stopped"
                    other.wait(lambda _, at=stopped: at.exists(), "told that nobody wants it")


def test_a_killed_server_loses_nothing_that_was_accepted_and_ends_nothing_twice(
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "who", WHO, ONE_BY_ONE)
    first, second = pair(serve, models, database)
    stop = threading.Event()

    def feed(server: Server, worker: int) -> dict[str, list[int]]:
        accepted: dict[str, list[int]] = {}
        with server.http() as client:
            while not stop.is_set():
                value = [worker, len(accepted)]
                try:
                    accepted[submit(client, value, "who")] = value
                except httpx.TransportError:
                    break
        return accepted

    with ThreadPoolExecutor(6) as pool:
        feeds = [pool.submit(feed, server, number) for number, server in enumerate([first, second] * 3)]
        sql = "SELECT count(*) FROM tasks WHERE state = 3"
        first.wait(lambda _: int(database.sql(sql)) > 60, "at work")
        assert int(database.sql("SELECT count(DISTINCT holder) FROM tasks WHERE state = 1")) <= 2
        second.kill()
        before = int(database.sql(sql))
        first.wait(lambda _: int(database.sql(sql)) > before + 60, "at work alone")
        stop.set()
        accepted = {place: value for fed in feeds for place, value in fed.result(LONG).items()}
        with first.http() as client:

            def ended(place: str) -> object:
                task = client.get(place, params={"wait": "60s"}).json()
                assert task["status"] == "SUCCESS", task
                return task["result"][0]

            assert list(pool.map(ended, accepted)) == list(accepted.values())
    # One that was stored and not answered, if the kill came there, ended too.
    first.wait(lambda _: int(database.sql("SELECT count(*) FROM tasks WHERE state <> 3")) == 0, "done")
    assert int(database.sql("SELECT count(*) FROM tasks")) - len(accepted) <= 3
    assert int(database.sql("SELECT count(*) FROM outcomes")) == int(database.sql("SELECT count(*) FROM tasks"))
    first.wait_log(lambda line: "have ended without a word" in line, "that the other one is gone")
    report = json.loads(run_cli("store", "check", "--store", database.url, "--json").stdout)
    assert report["ok"] and not report["problems"], report


def test_connections_that_end_cost_neither_server_its_leases(
    serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = write_model(tmp_path / "models", "held", HELD, ONE_BY_ONE)
    first, second = pair(serve, models, database)
    with first.http() as client:
        # An instance has two seats: each server takes two of four, and runs one.
        gates = [tmp_path / f"gate-{number}" for number in range(4)]
        places = [submit(client, str(gate), "held") for gate in gates]
        marks = [Path(f"{gate}.begun") for gate in gates]
        first.wait(lambda _: sum(mark.exists() for mark in marks) == 2, "at work, as is the other")
        database.end_connections()
        for server in (first, second):
            server.wait_log(lambda line: "the database is back" in line, "that it was away")
        for gate in gates:
            gate.touch()
        for place in places:
            task = client.get(place, params={"wait": "60s"}).json()
            assert (task["status"], task["attempts"]) == ("SUCCESS", 1), task
