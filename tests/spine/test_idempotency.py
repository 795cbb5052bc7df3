"""A submit sent again under its `Idempotency-Key` is the same task, whatever happened to the server meanwhile.

The Python client gives every submit a key, and sends one again whose answer is lost.
"""

from __future__ import annotations

from pathlib import Path

import cresset
import httpx
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.server import LONG, Server


def submit(server: Server, key: str, value: float) -> httpx.Response:
    with server.http() as client:
        body = {"input": [value, 0, 0, 0], "metadata": {"order": 7}}
        return client.post("/v1/models/plus-one/tasks", json=body, headers={"Idempotency-Key": key})


def test_a_submit_sent_again_is_the_same_task_also_after_kill_9_of_the_server(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "plus-one", PLUS_ONE, PLUS_ONE_TOML)
    server = serve(models).wait_ready()
    first = submit(server, "order-7", 1)
    assert first.status_code == 202, first.text
    assert "idempotency-replayed" not in first.headers
    task_id = first.json()["task_id"]

    def is_replayed(again: httpx.Response) -> None:
        assert (again.status_code, again.json()["task_id"]) == (202, task_id), again.text
        assert again.headers["idempotency-replayed"] == "true"
        assert again.headers["location"] == first.headers["location"]
        assert again.json()["created_at"] == first.json()["created_at"]

    def is_refused(other: httpx.Response) -> None:
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused"), other.text

    is_replayed(submit(server, "order-7", 1))
    is_replayed(submit(server, '"order-7"', 1))
    is_refused(submit(server, "order-7", 2))
    assert server.metric("cresset_tasks_total", model="plus-one", status="PENDING") == 1

    server.kill()
    server = serve(models).wait_ready()
    is_replayed(submit(server, "order-7", 1))
    is_refused(submit(server, "order-7", 2))
    with server.http() as client:
        task = client.get(first.headers["location"], params={"wait": "30s"}).json()
    assert (task["status"], task["result"]) == ("SUCCESS", [2, 1, 1, 1]), task

    server.kill()
    server = serve(models).wait_ready()
    ended = submit(server, "order-7", 1)
    is_replayed(ended)
    assert ended.json()["status"] == "SUCCESS"
    fresh = submit(server, "order-8", 1)
    assert fresh.status_code == 202
    assert fresh.json()["task_id"] != task_id
    with server.http() as client:
        task = client.get(fresh.headers["location"], params={"wait": "30s"}).json()
    assert (task["status"], task["result"]) == ("SUCCESS", [2, 1, 1, 1]), task


class Forgetful(httpx.HTTPTransport):
    """Takes every request to the server, and loses the first answers."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        if self.losses == 0:
            return answer
        self.losses -= 1
        answer.read()
        raise httpx.ReadError("connection reset by the test")


def test_a_submit_of_the_python_client_whose_answers_are_lost_is_one_task(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "echo", ECHO)).wait_ready()
    with cresset.Client(server.url, transport=Forgetful(3), retries=cresset.Retries(base_delay=0)) as client:
        handle = client.submit("echo", {"order": 7}, priority=1, metadata={"größe": 1}, countdown=0.1, expires=60)
        assert handle.result(timeout=LONG) == {"order": 7}
        assert client.submit("echo", {"order": 7}).id != handle.id
    assert server.metric("cresset_tasks_total", model="echo", status="PENDING") == 2
