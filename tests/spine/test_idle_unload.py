"""A model that has no work gives its memory back, says so, and is there again for the next task or prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cresset
import httpx
from conftest import Serve
from support.models import write_model
from support.server import LONG, Server

#: Notes the process of each load, and fails to load while there is a file `broken`.
COUNTED = """
import os
from pathlib import Path

import cresset

class Counted(cresset.Model):
    def load(self):
        with Path("loads").open("a") as file:
            file.write(f"{os.getpid()}\\n")
        if Path("broken").exists():
            raise RuntimeError("the weights are not there today")

    def predict(self, batch):
        return [item * 2 for item in batch]
"""

SETTINGS = """
[instances]
idle_unload = "1s"

[health]
canary = "canary.json"
interval = "1s"
"""


def counted(tmp_path: Path) -> Path:
    folder = write_model(tmp_path / "models", "counted", COUNTED, SETTINGS)
    (folder / "canary.json").write_text("1")
    return folder


def loads(folder: Path) -> list[int]:
    """The processes that have loaded, by id."""
    return [int(line) for line in (folder / "loads").read_text().split()]


def model(server: Server) -> dict[str, Any]:
    return httpx.get(f"{server.url}/v1/models/counted", timeout=LONG).json()


def unloaded(server: Server) -> None:
    def is_unloaded(_: httpx.Client) -> bool:
        told = model(server)
        return told["state"] == "unloaded" and not any(instance["pid"] for instance in told["instances"])

    server.wait(is_unloaded, "unloading an idle model")


def test_an_idle_model_is_unloaded_and_comes_back_for_work(serve: Serve, tmp_path: Path) -> None:
    folder = counted(tmp_path)
    server = serve(folder).wait_ready()
    [before] = loads(folder)
    unloaded(server)
    assert not Path(f"/proc/{before}").exists(), "its memory is free"
    health = httpx.get(f"{server.url}/health/ready", timeout=LONG)
    assert (health.status_code, health.json()["state"]) == (200, "ready")
    [told] = health.json()["models"]
    assert (told["state"], told["ready"]) == ("unloaded", True)
    assert "it is loaded again when there is some" in told["reason"]
    assert [instance["state"] for instance in model(server)["instances"]] == ["unloaded"]
    assert server.metric("cresset_model_ready", model="counted") == 1
    assert server.metric("cresset_model_loaded", model="counted") == 0
    assert server.metric("cresset_instances_unloaded_total", model="counted") == 1
    assert server.metric("cresset_instance_restarts_total", model="counted") == 0
    server.wait_log(lambda text: "a model had no work and is unloaded" in text, "that it is unloaded")
    with cresset.Client(server.url) as client:
        assert client.predict("counted", 2) == 4, "the first caller waits for the load"
        unloaded(server)
        assert len(loads(folder)) == 2, "the canary loads none"
        task = client.submit("counted", 3)
        assert task.result(timeout=LONG) == 6
        assert task.status().attempts == 1
    assert [instance["restarts"] for instance in model(server)["instances"]] == [0]


def test_a_load_that_fails_is_told_and_the_task_waits(serve: Serve, tmp_path: Path) -> None:
    folder = counted(tmp_path)
    server = serve(folder).wait_ready()
    unloaded(server)
    (folder / "broken").touch()
    with cresset.Client(server.url) as client:
        task = client.submit("counted", 3)
        server.wait(lambda _: model(server)["state"] == "failed", "failing to load")
        answer = httpx.post(f"{server.url}/v1/models/counted/predict", json={"input": 1}, timeout=LONG)
        assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
        assert "the weights are not there today" in answer.json()["detail"]
        assert httpx.get(f"{server.url}/health/ready", timeout=LONG).status_code == 503
        assert task.status().status == "PENDING"
        (folder / "broken").unlink()
        assert task.result(timeout=LONG) == 6


def test_a_server_stops_in_order_while_a_model_is_unloaded(serve: Serve, tmp_path: Path) -> None:
    folder = counted(tmp_path)
    server = serve(folder).wait_ready()
    unloaded(server)
    assert server.stop() == 0
