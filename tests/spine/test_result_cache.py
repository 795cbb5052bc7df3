"""A result cache, with the real program: equal inputs are computed once, and never by code that has gone."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from conftest import Serve
from support.models import write_model
from support.server import LONG, Server

# Each run leaves a line, and waits until it may end.
COUNTING = """
import time
from pathlib import Path

WHO = Path("who").read_text()

def predict(batch):
    for item in batch:
        with Path("runs").open("a") as runs:
            runs.write(f"{item}\\n")
        while Path("hold").exists():
            time.sleep(0.01)
        if item == "bad":
            raise ValueError("no")
    return [f"{WHO}: {item}" for item in batch]
"""
CACHE = """
[cache]
enabled = true
"""


def runs(model: Path) -> list[str]:
    path = model / "runs"
    return path.read_text().split() if path.exists() else []


def predict(client: httpx.Client, item: str, control: str | None = None) -> tuple[str, str | None]:
    headers = {"cache-control": control} if control else {}
    answer = client.post("/v1/models/counting/predict", json={"input": item}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"], answer.headers.get("cresset-cache")


def submit(client: httpx.Client, item: str) -> str:
    answer = client.post("/v1/models/counting/tasks", json={"input": item})
    assert answer.status_code == 202, answer.text
    return answer.headers["location"]


def ended(client: httpx.Client, place: str) -> dict[str, object]:
    return client.get(place, params={"wait": "30s"}, timeout=LONG).json()


def pid(server: Server) -> int:
    with server.http() as client:
        return client.get("/v1/models/counting").json()["instances"][0]["pid"]


def test_equal_inputs_are_computed_once_and_not_by_code_that_has_gone(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "counting", COUNTING, CACHE)
    (model / "who").write_text("old")
    server = serve(model).wait_ready()
    with server.http() as client:
        assert predict(client, "a") == ("old: a", "miss")
        assert predict(client, "a") == ("old: a", "hit")
        task = ended(client, submit(client, "a"))
        assert (task["status"], task["result"], task["cached"]) == ("SUCCESS", "old: a", True)
        assert runs(model) == ["a"]
        assert predict(client, "a", "no-store") == ("old: a", None)
        assert predict(client, "a", "no-cache") == ("old: a", "bypass")
        assert runs(model) == ["a"] * 3

        # The folder changes, and the process dies: what it computed is not answered any more.
        (model / "who").write_text("new")
        was = pid(server)
        os.kill(was, signal.SIGKILL)
        server.wait(lambda _: pid(server) not in (was, None), "another process")
        assert predict(client, "a") == ("new: a", "miss")

        metrics = client.get("/metrics").text
        assert 'cresset_cache_lookups_total{model="counting",result="hit"} 2' in metrics
        assert 'cresset_cache_evictions_total{model="counting",reason="changed"} 1' in metrics


def test_requests_at_the_same_time_share_a_computation(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "counting", COUNTING, CACHE)
    (model / "who").write_text("it")
    (model / "hold").touch()
    server = serve(model).wait_ready()
    with server.http() as client, ThreadPoolExecutor(8) as callers:
        leads = callers.submit(predict, client, "x")
        server.wait(lambda _: runs(model) == ["x"], "the first run")
        follows = [callers.submit(predict, client, "x") for _ in range(4)]
        places = [submit(client, "x") for _ in range(4)]
        waiting = 'cresset_tasks_total{model="counting",status="PENDING"} 4'
        server.wait(lambda of: waiting in of.get("/metrics").text, "the tasks")
        server.wait(lambda of: of.get("/v1/models/counting").json()["waiting"] == 5, "all predictions")
        server.wait(lambda of: all(of.get(place).json()["status"] == "STARTED" for place in places), "all tasks")
        (model / "hold").unlink()
        assert leads.result(LONG) == ("it: x", "miss")
        assert [call.result(LONG) for call in follows] == [("it: x", "coalesced")] * 4
        tasks = [ended(client, place) for place in places]
        assert [(task["result"], task["cached"], task["attempts"]) for task in tasks] == [("it: x", True, 1)] * 4
        assert runs(model) == ["x"]


def test_what_fails_is_not_kept(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "counting", COUNTING, CACHE)
    (model / "who").write_text("it")
    server = serve(model).wait_ready()
    with server.http() as client:
        for _ in range(2):
            assert client.post("/v1/models/counting/predict", json={"input": "bad"}).status_code == 500
        task = ended(client, submit(client, "bad"))
        assert (task["status"], task["cached"]) == ("FAILURE", False)
        assert runs(model) == ["bad"] * 3
