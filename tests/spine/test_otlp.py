"""Spans with the real program, read by a collector: whose child is which, what is said, and what holds nobody up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from conftest import Serve
from support.collector import Collector, Span
from support.models import write_model
from support.receiver import SECRET, Receiver
from support.server import LONG, Server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
MODEL = """
import time
import cresset

class Model(cresset.Model):
    def predict(self, batch):
        if "slow" in batch:
            time.sleep(0.5)
        if "bad" in batch:
            raise ValueError("no")
        return [cresset.current().traceparents[at] for at in range(len(batch))]
"""
SETTINGS = "[batching]\nmax_batch_size = 8\n"
SUBMIT, PREDICT = "POST /v1/models/{model}/tasks", "POST /v1/models/{model}/predict"

Collect = Callable[..., Collector]


@pytest.fixture
def collect() -> Iterator[Collect]:
    with ExitStack() as all_of_them:

        def start(behave: Callable[[int], int | None] = lambda _number: 200) -> Collector:
            collector = Collector(behave)
            all_of_them.callback(collector.close)
            return collector

        yield start


def environment(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}


def parent(flag: str = "01", trace: str = TRACE) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{CALLER}-{flag}"}


def seen(server: Server, collector: Collector, count: int, name: str) -> list[Span]:
    """The spans of this name once there are so many."""

    def found() -> list[Span]:
        return [span for span in collector.spans if span.name == name]

    server.wait(lambda _: len(found()) >= count, f"telling of {count} x {name}")
    assert len(found()) == count
    return found()


def test_a_task_is_one_tree_below_its_callers_span(serve: Serve, collect: Collect, tmp_path: Path) -> None:
    collector, receiver = collect(), Receiver(lambda _path, _number: 204)
    model = write_model(tmp_path / "models", "m", MODEL, SETTINGS)
    env = environment(
        collector,
        CRESSET_WEBHOOKS_SECRETS=SECRET,
        OTEL_SERVICE_NAME="shop",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test,service.name=not-this",
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
    )
    server = serve(model, "--webhooks-allow", "127.0.0.1", env=env).wait_ready()
    with server.http() as client:
        body = {"input": "x", "callback_url": receiver.url("/told")}
        headers = {**parent(), "tracestate": "rojo=1"}
        place = client.post("/v1/models/m/tasks", json=body, headers=headers).headers["location"]
        task = client.get(place, params={"wait": "60s"}, timeout=LONG).json()
    assert task["trace_id"] == TRACE
    (request,), (queued,), (run,), (told,) = (
        seen(server, collector, 1, name) for name in (SUBMIT, "queue m", "run m", "webhook")
    )
    assert {span.trace for span in collector.spans} == {TRACE}
    assert (request.kind, request.parent, request.state) == ("SERVER", CALLER, "rojo=1")
    assert request.words["http.route"] == "/v1/models/{model}/tasks"
    assert request.words["http.response.status_code"] == 202
    assert {queued.parent, run.parent, told.parent} == {request.id}
    assert (queued.kind, run.kind, told.kind) == ("INTERNAL", "INTERNAL", "CLIENT")
    assert request.began <= queued.began <= queued.ended <= run.began <= run.ended <= told.ended
    assert task["result"] == f"00-{TRACE}-{run.id}-01", "what the model does is a child of the run"
    said = {
        "cresset.model.name": "m",
        "cresset.task.id": task["task_id"],
        "cresset.batch.size": 1,
        "cresset.attempt": 1,
        "cresset.instance.id": 0,
    }
    assert said.items() <= run.words.items(), run
    assert run.words["cresset.model.version"] == task["version"]
    assert run.links == []
    assert receiver.headers["/told"]["traceparent"] == f"00-{TRACE}-{told.id}-01"
    assert (told.words["http.response.status_code"], told.words["cresset.webhook.event"]) == (204, "task.succeeded")
    assert (run.resource["service.name"], run.resource["deployment.environment.name"]) == ("shop", "test")
    assert run.resource["service.version"] and run.scope == "cresset"
    for path, sent in collector.requests:
        assert path == "/v1/traces" and sent["content-type"] == "application/x-protobuf" and sent["x-key"] == "a b"
    assert server.stop() == 0
    receiver.close()


def test_those_of_one_batch_are_linked_and_a_failure_is_an_error(
    serve: Serve, collect: Collect, tmp_path: Path
) -> None:
    collector = collect()
    model = write_model(tmp_path / "models", "m", MODEL, SETTINGS)
    server = serve(model, env=environment(collector)).wait_ready()
    with server.http() as client:
        # While the first one runs, the others come together.
        inputs = ["slow", *(["x"] * 6)]
        sent = [
            client.post("/v1/models/m/tasks", json={"input": item}, headers=parent(trace=f"{at + 1:032x}"))
            for at, item in enumerate(inputs)
        ]
        for answer in sent:
            task = client.get(answer.headers["location"], params={"wait": "60s"}, timeout=LONG).json()
            assert task["status"] == "SUCCESS"
        failed = client.post("/v1/models/m/predict", json={"input": "bad"}, headers=parent())
        assert failed.status_code == 500
    runs = seen(server, collector, len(inputs) + 1, "run m")
    for run in runs:
        mates = [other for other in runs if other.words["cresset.batch.id"] == run.words["cresset.batch.id"]]
        assert len(mates) == run.words["cresset.batch.size"]
        assert set(run.links) == {(other.trace, other.id) for other in mates if other is not run}
    assert any(run.links for run in runs), "no two ran together"
    (broken,) = (run for run in runs if run.trace == TRACE)
    assert (broken.status, broken.words["error.type"]) == ("ERROR", "ValueError")
    (request,) = seen(server, collector, 1, PREDICT)
    assert (request.status, request.id) == ("ERROR", broken.parent)
    assert "no" not in broken.error, "what a model raises may have its input in it"
    assert server.stop() == 0


def test_the_callers_decision_stands_and_the_sampler_decides_alone(
    serve: Serve, collect: Collect, tmp_path: Path
) -> None:
    collector = collect()
    model = write_model(tmp_path / "models", "m", MODEL)
    env = environment(collector, OTEL_TRACES_SAMPLER="parentbased_always_off")
    server = serve(model, env=env).wait_ready()
    with server.http() as client:
        for headers, flag in ((parent("00"), "00"), ({}, "00"), ({"traceparent": "broken"}, "00"), (parent(), "01")):
            answer = client.post("/v1/models/m/predict", json={"input": "x"}, headers=headers)
            # Nobody records it, and the model is told so.
            assert answer.json()["result"].endswith(flag), answer.text
        client.get("/v1/models")
    assert server.stop() == 0, "which sends what is left"
    assert [span.trace for span in collector.spans] == [TRACE] * 3, collector.spans


def test_who_says_no_trace_has_one_of_ours(serve: Serve, collect: Collect, tmp_path: Path) -> None:
    collector = collect()
    model = write_model(tmp_path / "models", "m", MODEL)
    server = serve(model, env=environment(collector, OTEL_BSP_SCHEDULE_DELAY="60000")).wait_ready()
    with server.http() as client:
        place = client.post("/v1/models/m/tasks", json={"input": "x"}).headers["location"]
        task = client.get(place, params={"wait": "60s"}, timeout=LONG).json()
    assert collector.spans == []
    assert server.stop() == 0, "which sends what is left"
    assert {span.trace for span in collector.spans} == {task["trace_id"]}
    assert {span.name: span.parent == "" for span in collector.spans} == {
        SUBMIT: True,
        "queue m": False,
        "run m": False,
    }


@pytest.mark.parametrize("behaves", ["hangs", "refuses", "is dead"])
def test_a_collector_that_is_no_good_holds_nobody_up(
    serve: Serve, collect: Collect, tmp_path: Path, behaves: str
) -> None:
    def behave(_number: int) -> int | None:
        return None if behaves == "hangs" else 503

    collector = collect(behave)
    env = environment(
        collector,
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces?token=hush",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20hush",
        OTEL_BSP_MAX_QUEUE_SIZE="16",
        OTEL_BSP_MAX_EXPORT_BATCH_SIZE="8",
    )
    if behaves == "is dead":
        collector.close()
    model = write_model(tmp_path / "models", "m", MODEL)
    server = serve(model, "--log-level", "trace", env=env).wait_ready()
    with server.http() as client:
        for _ in range(100):
            began = time.monotonic()
            answer = client.post("/v1/models/m/predict", json={"input": "x"}, headers=parent())
            assert answer.status_code == 200, answer.text
            assert time.monotonic() - began < 5
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 20, "it waits for the last spans only so long"
    assert "spans were lost" in server.log
    assert behaves != "is dead" or "Connection refused" in server.log
    assert "hush" not in server.log


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only `http/protobuf` is"),
        ("OTEL_TRACES_SAMPLER", "xray", "parentbased_always_on"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector", "http://localhost:4318"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many", "such as 2048"),
    ],
)
def test_what_is_not_supported_is_said_before_anything_is_served(
    serve: Serve, collect: Collect, tmp_path: Path, variable: str, value: str, says: str
) -> None:
    model = write_model(tmp_path / "models", "m", MODEL)
    server = serve(model, env={**environment(collect()), variable: value})
    assert server.ended() == 65
    assert variable in server.log and says in server.log


def test_it_is_off_without_an_endpoint_and_where_it_is_disabled(serve: Serve, collect: Collect, tmp_path: Path) -> None:
    collector = collect()
    model = write_model(tmp_path / "models", "m", MODEL)
    server = serve(model, env=environment(collector, OTEL_SDK_DISABLED="true")).wait_ready()
    with server.http() as client:
        answer = client.post("/v1/models/m/predict", json={"input": "x"})
        assert answer.json()["result"] is None, "nothing is said where nobody records"
    assert server.stop() == 0
    assert collector.requests == []
