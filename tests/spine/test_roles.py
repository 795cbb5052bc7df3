"""Gateways and workers, apart, over one store in PostgreSQL or MariaDB."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Serve
from support.mariadb import MariaDatabase
from support.postgres import Database
from support.roles import Start, feeding, learns_of_a_worker, left_by_its_worker, model, starting, wait_state, who
from support.server import LONG, run_cli


@pytest.fixture
def database(either: Database | MariaDatabase) -> Database | MariaDatabase:
    """One of each kind."""
    return either


@pytest.fixture
def start(tmp_path: Path, database: Database | MariaDatabase) -> Iterator[Start]:
    """Starts gateways and workers on one store; ends them all."""
    with starting(tmp_path, database.url) as (begin, started):
        yield begin
        assert not any("never-shown" in server.log for server in started)


def test_a_gateway_answers_with_what_workers_run(start: Start, tmp_path: Path) -> None:
    gateway, _ = learns_of_a_worker(start, who(tmp_path / "models"))
    with gateway.http() as client:
        place = client.post("/v1/models/who/tasks", json={"input": 7}).headers["location"]
        assert client.get(place, params={"wait": "60s"}).json()["result"][0] == 7


def test_a_worker_that_is_killed_under_load_costs_nobody_an_answer(
    start: Start, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    workers = [start("worker", models) for _ in range(2)]
    gateway.wait(lambda c: sum(one["ready"] for one in model(c).get("workers") or []) == 2, "told of both")
    with gateway.http() as client, feeding(client) as feeds:
        feeds.wait_more(60, "at work")
        workers[1].kill()
        feeds.wait_more(60, "at work with one worker")
        gateway.wait(lambda c: len(model(c)["workers"]) == 1, "told that one is gone")
        done = feeds.end(workers)
    assert int(database.sql("SELECT count(*) FROM tasks")) == len(done)


def test_without_a_worker_callers_are_told_who_was_the_last_until_there_is_one(start: Start, tmp_path: Path) -> None:
    with left_by_its_worker(start, who(tmp_path / "models"), tmp_path / "gate"), start("gateway").http() as other:
        assert "the last was process" in other.post("/v1/models/who/predict", json={"input": 1}).text


def test_every_server_tells_of_all_and_a_door_of_a_worker_takes_no_work(
    start: Start, serve: Serve, tmp_path: Path, database: Database | MariaDatabase
) -> None:
    models = who(tmp_path / "models")
    gateway, worker = start("gateway"), start("worker", models)
    both = serve(models, "--store", database.url)
    for server in (worker, both):
        server.wait_ready()
    wait_state(gateway, "ready")
    for server in (gateway, worker, both):
        said = json.loads(run_cli("workers", "--json", "--url", server.url).stdout)["workers"]
        assert {(one["role"], one["pid"]) for one in said} == {
            ("gateway", gateway.process.pid),
            ("worker", worker.process.pid),
            ("serve", both.process.pid),
        }
        runs = {one["role"]: [(model["name"], model["version"]) for model in one["models"]] for one in said}
        assert runs == {"gateway": [], "worker": [("who", "1")], "serve": [("who", "1")]}
    table = run_cli("workers", "--url", gateway.url).stdout
    assert re.search(rf"worker +\S+ +{worker.process.pid} .* who +1 +ready +1/1", table), table
    with worker.http() as client:
        assert client.get("/metrics").status_code == 200
        assert client.get("/v1/models/who").json()["state"] == "ready"
        assert client.post("/v1/models/who/tasks", json={"input": 1}).status_code == 404
        assert client.get("/v1/tasks").status_code == 404


def test_a_late_prediction_goes_on_and_one_whose_caller_is_gone_is_stopped_where_it_runs(
    start: Start, tmp_path: Path
) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    gates = [tmp_path / "late", tmp_path / "gone"]
    with gateway.http() as client:
        late = client.post("/v1/models/who/predict", json={"input": str(gates[0]), "timeout": "300ms"})
        assert (late.status_code, late.json()["status"]) == (202, "STARTED"), late.text
        gates[0].touch()
        ended = client.get(late.headers["location"], params={"wait": "30s"}).json()
        assert (ended["status"], ended["attempts"]) == ("SUCCESS", 1), ended
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/models/who/predict", json={"input": str(gates[1])}, timeout=1.0)
        gateway.wait(lambda _: Path(f"{gates[1]}.stopped").exists(), "told that nobody is there")
        gate = tmp_path / "held"
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(client.post, "/v1/models/who/predict", json={"input": str(gate)})
            gateway.wait(lambda _: Path(f"{gate}.begun").exists(), "at work on it")
            gateway.process.terminate()
            gateway.wait_log(lambda line: "stopping" in line, "that it stops")
            gate.touch()
            assert held.result(LONG).status_code == 200, "a gateway that stops answers what it has begun"
        assert gateway.ended() == 0


def test_workers_with_two_versions_are_told_apart_and_the_newer_one_says_what_is_taken(
    start: Start, tmp_path: Path
) -> None:
    old = who(tmp_path / "old")
    new = who(tmp_path / "new", 2)
    gateway = start("gateway")
    first = start("worker", old)
    wait_state(gateway, "ready")
    start("worker", new)
    with gateway.http() as client:
        wait_state(gateway, "degraded")
        gateway.wait(lambda c: model(c)["version"] == "2", "told of the newer one")
        [health] = client.get("/health/ready").json()["models"]
        assert health["ready"]
        assert "1 of 2 servers run it by other settings" in health["reason"], health
        assert first.stop() == 0
        wait_state(gateway, "ready")
        answer = client.post("/v1/models/who/predict", json={"input": 1}).json()
        assert (answer["version"], answer["result"][0]) == ("2", 1)


@pytest.mark.parametrize(
    ("command", "flags", "words"),
    [
        ("gateway", [], "shares a store with other servers, and none is named"),
        ("gateway", ["--broker", "sqs://h"], "a gateway takes PostgreSQL, MySQL, MariaDB, Redis or RabbitMQ"),
        ("gateway", ["--broker", "sqlite:///t.db"], "belongs to one process, also on one machine"),
        ("worker", [".", "--broker", "redis-sentinel://h"], "sentinel://HOST:26379/0;sentinel://"),
        ("gateway", ["--broker", "redis-cluster://h"], "a cluster refuses. One server works"),
        ("gateway", ["--broker", "redis://h", "--results", "x", "--store", "y"], "both name the store"),
        ("worker", [".", "--broker", "redis://h", "--store", "postgresql://h/d"], "keeps no tasks"),
        (
            "worker",
            [".", "--broker", "redis://h", "--results", "sqlite:///tmp/t.db"],
            "large payloads go by PostgreSQL",
        ),
        ("worker", [".", "--broker", "postgresql://h/d", "--results", "postgresql://h/d"], "both name the store"),
        ("worker", [".", "--store", "postgresql://h/d", "--results", "postgresql://h/d"], "both name the store"),
        ("worker", [".", "--results", "postgresql://h/d"], "beside --broker redis:// or amqp://"),
        (
            "worker",
            [".", "--broker", "redis://h", "--celery", "q", "--results", "mysql://h/d"],
            "beside --broker redis:// or amqp://",
        ),
        ("gateway", ["--broker", "postgresql://h/d", "--store", "postgresql://h/d"], "both name the store"),
        ("gateway", ["--store", "sqlite:///tmp/tasks.db"], "an SQLite database, which belongs to one server"),
        ("worker", ["."], "shares a store with other servers, and none is named"),
        ("worker", [".", "--broker", "postgresql://h/d", "--celery", "q"], "is no broker of Celery"),
        ("worker", [".", "--broker", "mysql://h/d", "--celery", "q"], "is no broker of Celery"),
    ],
)
def test_a_broker_that_a_role_cannot_use_is_refused_with_what_would_be_right(
    command: str, flags: list[str], words: str
) -> None:
    refused = run_cli(command, *flags, check=False)
    assert refused.returncode == os.EX_USAGE, refused.stderr
    assert words in refused.stderr
    assert "hint:" in refused.stderr
