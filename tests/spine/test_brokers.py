"""Gateways and workers, with Redis or RabbitMQ between them: the gateway keeps tasks, the broker carries them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import Celery
from kombu.connection import Connection
from support.between import Between, ByRabbit, ended, submitted
from support.models import PLUS_ONE, PLUS_ONE_TOML, write_model
from support.postgres import Database
from support.rabbit import largest_message
from support.roles import Start, feeding, learns_of_a_worker, left_by_its_worker, model, wait_state, who
from support.server import LONG, run_cli
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Raises what its input says; counts how often it was asked in a file beside it.
FAILS = """
from pathlib import Path

import cresset

def predict(batch):
    ends = []
    for value in batch:
        with Path(value["count"]).open("a") as file:
            file.write("x")
        if value["raise"] == "value":
            raise ValueError("no such thing")
        if value["raise"] == "reject":
            raise cresset.Reject("never again")
        ends.append(value["count"])
    return ends
"""


def test_a_gateway_answers_with_what_workers_run(start: Start, tmp_path: Path) -> None:
    gateway, worker = learns_of_a_worker(start, who(tmp_path / "models"))
    with gateway.http() as client:
        task = ended(client, submitted(client, {"deep": [1.5, None, "é"]}))
        assert (task["status"], task["result"][0], task["attempts"]) == ("SUCCESS", {"deep": [1.5, None, "é"]}, 1)
        wait_state(worker, "ready")
        for server in (gateway, worker):
            said = json.loads(run_cli("workers", "--json", "--url", server.url).stdout)["workers"]
            assert {(one["role"], one["pid"]) for one in said} == {
                ("gateway", gateway.process.pid),
                ("worker", worker.process.pid),
            }
        with worker.http() as door:
            assert door.post("/v1/models/who/tasks", json={"input": 1}).status_code == 404, "it takes no work"
            assert door.get("/health/ready").status_code == 200


def test_tensors_go_as_their_bytes(start: Start, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "plus", PLUS_ONE, PLUS_ONE_TOML)
    gateway = start("gateway")
    start("worker", models)
    gateway.wait(lambda c: c.get("/v1/models/plus").json().get("state") == "ready", "told of it")
    with gateway.http() as client:
        answer = client.post("/v1/models/plus/predict", json={"input": [1, 2, 3, 4.5]})
        assert answer.status_code == 200, answer.text
        assert answer.json()["result"] == [2, 3, 4, 5.5], answer.text
        accepted = client.post("/v1/models/plus/tasks", json={"input": [0, 0, 0, 0.25]})
        task = ended(client, accepted.headers["location"])
        assert (task["status"], task["result"]) == ("SUCCESS", [1, 1, 1, 1.25]), task
        wrong = client.post("/v1/models/plus/predict", json={"input": [1, 2]})
        assert wrong.status_code == 422, wrong.text


def test_a_worker_that_is_killed_under_load_costs_nobody_an_answer(start: Start, tmp_path: Path) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    workers = [start("worker", models) for _ in range(2)]
    gateway.wait(lambda c: sum(one["ready"] for one in model(c).get("workers") or []) == 2, "told of both")
    with gateway.http() as client, feeding(client) as feeds:
        feeds.wait_more(60, "at work")
        tasks = [submitted(client, [9, number]) for number in range(200)]
        workers[1].kill()
        gateway.wait(lambda c: len(model(c)["workers"]) == 1, "told that one is gone")
        feeds.wait_more(60, "at work with one worker")
        feeds.end(workers)
        ends = [ended(client, place) for place in tasks]
        assert [(end["status"], end["result"][0]) for end in ends] == [("SUCCESS", [9, n]) for n in range(200)]
        assert {end["attempts"] for end in ends} == {1}, "what a worker lost another one ran, and it ended once"


def test_a_gateway_that_is_killed_goes_on_with_what_it_had(start: Start, tmp_path: Path) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway", data="kept")
    start("worker", models)
    wait_state(gateway, "ready")
    gate = tmp_path / "gate"
    with gateway.http() as client:
        held = submitted(client, str(gate))
        until(Path(f"{gate}.begun").exists, "begun")
        places = [submitted(client, [number]) for number in range(100)]
        gateway.kill()
    gate.touch()
    again = start("gateway", data="kept")
    with again.http() as client:
        ends = [ended(client, place) for place in [held, *places]]
        assert {end["status"] for end in ends} == {"SUCCESS"}
        assert [end["result"][0] for end in ends[1:]] == [[number] for number in range(100)]


def test_without_a_worker_callers_are_told_who_was_the_last_until_there_is_one(start: Start, tmp_path: Path) -> None:
    with left_by_its_worker(start, who(tmp_path / "models"), tmp_path / "gate"):
        pass


def test_a_broker_that_goes_away_costs_no_task(start: Start, tmp_path: Path, between: Between) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    with gateway.http() as client:
        before = [submitted(client, [number]) for number in range(150)]
        between.lose()
        meanwhile = [submitted(client, [number]) for number in range(150, 200)]
        between.found()
        ends = [ended(client, place) for place in [*before, *meanwhile]]
        assert [(end["status"], end["result"][0]) for end in ends] == [("SUCCESS", [n]) for n in range(200)]
        assert client.post("/v1/models/who/predict", json={"input": 3}).json()["result"][0] == 3


def test_what_somebody_throws_out_of_a_queue_is_missed_and_sent_again(
    start: Start, tmp_path: Path, between: Between
) -> None:
    gateways = [start("gateway") for _ in range(2)]
    start("worker", who(tmp_path / "models"))
    for gateway in gateways:
        wait_state(gateway, "ready")
    gate = tmp_path / "gate"
    with gateways[0].http() as first, gateways[1].http() as second:
        held = submitted(first, str(gate))
        until(Path(f"{gate}.begun").exists, "begun")
        places = [(client, submitted(client, [number])) for number in range(40) for client in (first, second)]
        # Each gateway has as much away as the worker takes, which has one gateway's by now.
        until(lambda: between.waiting("cresset.who"), "more at the broker than the worker takes")
        between.throw_out("cresset.who")
        gate.touch()
        ends = [ended(client, place) for client, place in [(first, held), *places]]
        assert {(end["status"], end["attempts"]) for end in ends} == {("SUCCESS", 1)}
        assert [end["result"][0] for end in ends[1:]] == [[number] for number in range(40) for _ in gateways]
        until(lambda: between.waiting("cresset.who") == 0, "nothing is left")


def test_who_is_not_there_any_more_is_not_computed_for(start: Start, tmp_path: Path) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    late, gone, cancelled = (tmp_path / name for name in ("late", "gone", "cancelled"))
    with gateway.http() as client:
        place = submitted(client, str(cancelled))
        until(Path(f"{cancelled}.begun").exists, "begun")
        assert client.post(f"{place}/cancel").json()["status"] == "REVOKED"
        until(Path(f"{cancelled}.stopped").exists, "stopped where it ran")
        answer = client.post("/v1/models/who/predict", json={"input": str(late), "timeout": "500ms"})
        assert (answer.status_code, answer.json()["status"]) == (202, "STARTED"), answer.text
        late.touch()
        task = ended(client, answer.headers["location"])
        assert (task["status"], task["attempts"]) == ("SUCCESS", 1), task
        with pytest.raises(httpx.ReadTimeout):
            client.post("/v1/models/who/predict", json={"input": str(gone)}, timeout=1.0)
        until(Path(f"{gone}.stopped").exists, "told that nobody is there")


def test_a_failure_comes_as_it_was_and_is_tried_again_by_the_gateway_alone(start: Start, tmp_path: Path) -> None:
    retries = '[retry]\non = ["ValueError"]\nmax_retries = 2\ndelay = "10ms"\n'
    models = write_model(tmp_path / "models", "who", FAILS, retries)
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    with gateway.http() as client:
        for what, tries, type_, words in [
            ("value", 3, "ValueError", "no such"),
            ("reject", 1, "Reject", "never again"),
        ]:
            count = tmp_path / f"{what}.count"
            task = ended(client, submitted(client, {"raise": what, "count": str(count)}))
            assert (task["status"], len(count.read_text())) == ("FAILURE", tries), task
            error = task["error"]
            assert error["type"].endswith(type_) and words in error["message"], error
            assert (error["code"], error["stage"]) == ("model_error", "predict"), error


def test_two_versions_are_told_apart_and_the_newer_one_says_what_is_taken(start: Start, tmp_path: Path) -> None:
    gateway = start("gateway")
    first = start("worker", who(tmp_path / "first"))
    wait_state(gateway, "ready")
    gate = tmp_path / "gate"
    with gateway.http() as client, ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.post, "/v1/models/who/predict", json={"input": str(gate)})
        until(Path(f"{gate}.begun").exists, "at work on it")
        start("worker", who(tmp_path / "second", 2))
        wait_state(gateway, "degraded")
        gateway.wait(lambda c: model(c)["version"] == "2", "told of the newer one")
        gate.touch()
        assert held.result(LONG).status_code == 200, "what is under way is not lost with the older description"
        assert first.stop() == 0
        wait_state(gateway, "ready")
        answer = client.post("/v1/models/who/predict", json={"input": 1}).json()
        assert (answer["version"], answer["result"][0]) == ("2", 1)


def test_a_client_of_celery_is_answered_and_garbage_harms_nobody(
    start: Start, tmp_path: Path, between: Between
) -> None:
    models = who(tmp_path / "models")
    gateway, worker = start("gateway"), start("worker", models)
    wait_state(gateway, "ready")
    with gateway.http() as client:
        # From here on there is the queue: what a bare client sends before goes nowhere.
        assert client.post("/v1/models/who/predict", json={"input": 0}).json()["result"][0] == 0
    backend = between.url if between.url.startswith("redis") else "rpc://"
    app: Any = Celery("proj", broker=between.url, backend=backend, set_as_current=False)
    with Connection(between.url) as connection, connection.Producer() as producer:
        for number, (body, content_type) in enumerate(
            [
                (b"\x00garbage", "application/x-cresset-tensors"),
                (b"{", "application/x-cresset-json"),
                (b"[", "application/json"),
            ]
        ):
            head = {"task": "cresset.who", "id": f"bad-{number}", "cresset": 1}
            producer.publish(
                body, routing_key="cresset.who", content_type=content_type, content_encoding="binary", headers=head
            )
    try:
        sent = app.send_task("cresset.who", args=[{"a": 1}], queue="cresset.who")
        assert sent.get(timeout=LONG) == [{"a": 1}, worker.process.pid]
    finally:
        app.close()
    with gateway.http() as client:
        assert client.post("/v1/models/who/predict", json={"input": 3}).json()["result"][0] == 3
    assert worker.log.count("message is refused") == 3, worker.log


def test_gateways_over_one_database_and_a_broker_share_their_tasks(
    start: Start, tmp_path: Path, database: Database
) -> None:
    models = who(tmp_path / "models")
    gateways = [start("gateway", None, "--results", database.url) for _ in range(2)]
    start("worker", models)
    for gateway in gateways:
        wait_state(gateway, "ready")
    with gateways[0].http() as one, gateways[1].http() as other:
        places = [submitted(one, [number]) for number in range(40)]
        assert [ended(other, place)["result"][0] for place in places] == [[number] for number in range(40)]
        said = other.get("/v1/workers").json()["workers"]
        assert sorted(member["role"] for member in said) == ["gateway", "gateway", "worker"]


def test_what_the_broker_will_never_take_fails_in_words(start: Start, tmp_path: Path, between: Between) -> None:
    if not isinstance(between, ByRabbit):
        pytest.skip("Redis takes up to 512 MB, and the bound of 64 MiB is that of requests")
    models = who(tmp_path / "models")
    with largest_message(100_000):
        gateway = start("gateway")
        start("worker", models)
        wait_state(gateway, "ready")
        with gateway.http() as client:
            task = ended(client, submitted(client, ["x" * 200_000]))
            assert (task["status"], task["error"]["code"]) == ("FAILURE", "invalid_input"), task
            assert "cannot be sent" in task["error"]["message"], task
            assert ended(client, submitted(client, ["small"]))["result"][0] == ["small"]


def test_a_doctor_looks_at_the_broker(tmp_path: Path, between: Between) -> None:
    models = who(tmp_path / "models")

    def said(url: str) -> list[tuple[str, str]]:
        words = ("doctor", str(models), "--broker", url, "--data-dir", str(tmp_path / "data"), "--json")
        lines = json.loads(run_cli(*words, check=False).stdout)["lines"]
        return [(line["status"], line["text"]) for line in lines if line["area"] == "broker"]

    [(status, text)] = said(between.url)
    assert (status, text.endswith("answers")) == ("ok", True), text
    scheme = between.url.split("://", maxsplit=1)[0]
    [(status, text)] = said(
        f"{scheme}://:secret@127.0.0.1:1/x" if scheme == "amqp" else "redis://:secret@127.0.0.1:1/0"
    )
    assert (status, "secret" in text) == ("fail", False), text
