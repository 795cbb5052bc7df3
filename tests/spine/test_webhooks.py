"""Webhooks, with the real program: whatever the receiver does, and the server dies, each end is told once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Serve
from support.models import write_model
from support.receiver import SECRET, Receiver
from support.server import LONG, Server, as_json, program, run_cli

ECHO = """
def predict(batch):
    for item in batch:
        if item == "bad":
            raise ValueError("no")
    return batch
"""
FLAGS = ("--webhooks-allow", "127.0.0.1")
ENV = {"CRESSET_WEBHOOKS_SECRETS": SECRET}

Receive = Callable[[Callable[[str, int], int | None]], Receiver]


@pytest.fixture
def receive() -> Iterator[Receive]:
    with ExitStack() as receivers:

        def start(behave: Callable[[str, int], int | None]) -> Receiver:
            receiver = Receiver(behave)
            receivers.callback(receiver.close)
            return receiver

        yield start


def submit(client: httpx.Client, item: str, url: str, **options: Any) -> str:
    body = {"input": item, "callback_url": url, **options}
    answer = client.post("/v1/models/echo/tasks", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["task_id"])


def listed(server: Server, **query: str) -> list[dict[str, Any]]:
    with server.http() as client:
        return client.get("/v1/webhooks", params=query).raise_for_status().json()["webhooks"]


def test_each_end_is_told_once_whatever_happens(serve: Serve, receive: Receive, tmp_path: Path) -> None:
    def behave(path: str, number: int) -> int | None:
        if path == "/gone":
            return 410
        # The first request of each path goes wrong in its own way.
        return {"/hangs": None, "/fails": 500, "/redirects": 302}.get(path, 204) if number == 0 else 204

    receiver = receive(behave)
    model = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(model, *FLAGS, env=ENV).wait_ready()
    paths = ("/hangs", "/fails", "/redirects", "/well")
    with server.http() as client:
        tasks = {path: submit(client, path, receiver.url(path)) for path in paths}
        gone = submit(client, "gone", receiver.url("/gone"))
        failed = submit(client, "bad", receiver.url("/well"))
        for task in tasks.values():
            client.get(f"/v1/tasks/{task}", params={"wait": "30s"}, timeout=LONG)

    # Between the result and its delivery: the receiver has heard the first half of the story and says nothing.
    server.wait(lambda _: all(receiver.heard[path] for path in (*paths, "/gone")), "telling of all")
    assert listed(server, task=tasks["/hangs"])[0]["state"] == "sending"
    server.wait(lambda _: not listed(server, task=gone, state="sending"), "done with what is gone")
    server.kill()

    again = serve(model, *FLAGS, env=ENV).wait_ready()
    again.wait(lambda _: len(receiver.events) == len(paths) + 1, "done")
    again.wait(lambda _: again.metric("cresset_webhooks_open") == 0, "idle")

    assert receiver.mistakes == []
    results = {event.task_id: event.data.get("result") for event in receiver.events.values()}
    assert results == {task: path for path, task in tasks.items()} | {failed: None}
    assert {event.id for event in receiver.events.values()} == {
        *(f"evt_{task}_succeeded" for task in tasks.values()),
        f"evt_{failed}_failed",
    }
    for event in receiver.events.values():
        task = event.task()
        assert task is not None
        assert task.status == ("FAILURE" if event.task_id == failed else "SUCCESS")
    assert receiver.heard["/elsewhere"] == 0, "a redirect is not followed"
    assert receiver.heard["/gone"] == receiver.ids[f"evt_{gone}_succeeded"] == 1, "gone is gone"
    states = {entry["task_id"]: entry["state"] for entry in listed(again, limit="100")}
    assert states == dict.fromkeys([*tasks.values(), failed], "delivered") | {gone: "disabled"}
    assert listed(again, task=tasks["/fails"])[0]["tries"] >= 2
    assert again.stop() == 0


def test_what_is_gone_is_listed_replayed_and_tried_from_the_command_line(
    serve: Serve, receive: Receive, tmp_path: Path
) -> None:
    answers = {"/gone": 410}
    receiver = receive(lambda path, _: answers.get(path, 204))
    model = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(model, *FLAGS, env=ENV).wait_ready()
    at = ("--url", server.url)
    with server.http() as client:
        task = submit(client, "x", receiver.url("/gone?key=hidden"), callback_events=["succeeded"])
    server.wait(lambda _: listed(server, state="disabled") != [], "told that it is gone")
    line = as_json(run_cli("webhooks", "list", "--state", "disabled", "--json", *at).stdout)
    assert (line["task_id"], line["status"], line["url"]) == (task, 410, receiver.url("/gone?..."))
    assert line["id"] in run_cli("webhooks", "list", *at).stdout

    tested = run_cli("webhooks", "test", receiver.url("/gone"), *at, check=False)
    assert (tested.returncode, "410" in tested.stdout) == (1, True), tested
    answers.clear()
    assert "it answered 204" in run_cli("webhooks", "test", receiver.url("/gone"), *at).stdout
    assert run_cli("webhooks", "replay", line["id"], *at).stdout.strip() == line["id"]
    server.wait(lambda _: listed(server, task=task)[0]["state"] == "delivered", "heard")
    assert receiver.events[line["id"]].data["result"] == "x"
    unknown = run_cli("webhooks", "replay", f"{line['id'][:-9]}failed", *at, check=False)
    assert unknown.returncode == 66, unknown
    done = run_cli(
        "submit", "echo", "--json", '"y"', "--wait", "--callback-url", receiver.url("/cli"),
        "--callback-events", "started,succeeded", *at,
    )  # fmt: skip
    assert done.stdout.strip() == '"y"'
    server.wait(lambda _: any(e.data.get("result") == "y" for e in receiver.events.values()), "told from there")
    assert receiver.mistakes == []


def test_without_secrets_and_to_our_own_addresses_nothing_is_sent(
    serve: Serve, receive: Receive, tmp_path: Path
) -> None:
    receiver = receive(lambda _path, _number: 204)
    model = write_model(tmp_path / "models", "echo", ECHO)
    url = receiver.url("/")
    port = url.rsplit(":", 1)[1].strip("/")
    server = serve(model).wait_ready()
    with server.http() as client:
        refused = client.post("/v1/models/echo/tasks", json={"input": 1, "callback_url": url})
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "callback_url")
    assert server.stop() == 0

    guarded = serve(model, env=ENV).wait_ready()
    with guarded.http() as client:
        refused = client.post("/v1/models/echo/tasks", json={"input": 1, "callback_url": url})
        assert refused.status_code == 422, refused.text
        # A name is looked up when it is called.
        task = submit(client, "x", f"http://localhost:{port}/")
    guarded.wait(lambda _: listed(guarded, task=task, state="failed") != [], "refused")
    assert "webhooks.allow" in listed(guarded, task=task)[0]["note"]
    assert receiver.heard.total() == 0


def test_a_model_that_wants_webhooks_is_not_served_without_secrets(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "echo", ECHO, '[webhook]\nurl = "https://example.com/"\n')
    assert program().exists()
    server = serve(model)
    assert server.ended() == 65
    server.wait_log(lambda line: "has a [webhook]" in line, "what is missing")
