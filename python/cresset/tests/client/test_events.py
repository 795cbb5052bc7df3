"""Following a task by server-sent events."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

import httpx
import pytest

import cresset
from cresset import TaskStatus
from cresset.client._events import Events
from cresset.testing import MockServer
from scripted import Broken

TASK = {"task_id": "t", "model": "m", "version": None, "created_at": "2026-11-23T01:02:03Z", "attempts": 1}
STREAM = {"content-type": "text/event-stream"}


def event(number: int, status: str, **more: Any) -> bytes:
    data = json.dumps({**TASK, "status": status, **more}, ensure_ascii=False)
    return f"id: {number}\nevent: status\ndata: {data}\n\n".encode()


class Script:
    """A server that answers as scripted, and keeps what was seen last by who asks."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.seen: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.url.path, request.headers["accept"]) == ("/v1/tasks/t/events", "text/event-stream")
        self.seen.append(request.headers.get("last-event-id"))
        return self.answers.pop(0)

    def follow(self, **options: Any) -> list[str]:
        retries = cresset.Retries(attempts=2, base_delay=0)
        with cresset.Client(transport=httpx.MockTransport(self), retries=retries) as client:
            return [state.status for state in client.task("t").events(**options) if isinstance(state, TaskStatus)]

    async def follow_async(self) -> list[str]:
        retries = cresset.Retries(attempts=2, base_delay=0)
        async with cresset.AsyncClient(transport=httpx.MockTransport(self), retries=retries) as client:
            return [state.status async for state in client.task("t").events() if isinstance(state, TaskStatus)]


def stream(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, content=b"retry: 0\n\n" + b"".join(pieces), headers=STREAM)


def broken(*pieces: bytes) -> httpx.Response:
    return httpx.Response(200, stream=Broken(*pieces), headers=STREAM)


def eventful() -> Script:
    end = event(5, "SUCCESS", result="\u2028 is no line break")
    busy = httpx.Response(503, json={"code": "shutting_down"}, headers={"retry-after": "0"})
    return Script(
        stream(event(1, "PENDING"), b": still here\n\n"),
        broken(event(3, "STARTED"), end[:20]),
        busy,
        broken(b": still here\n\n"),
        stream(b"event: news\ndata: 0.5\n\n", end),
    )


def test_a_task_is_followed_across_streams_that_end_break_and_are_refused():
    script = eventful()
    assert script.follow() == ["PENDING", "STARTED", "SUCCESS"]
    assert script.seen == [None, "1", "3", "3", "3"]
    again = eventful()
    assert asyncio.run(again.follow_async()) == ["PENDING", "STARTED", "SUCCESS"]
    assert again.seen == script.seen


def test_events_are_read_however_they_are_cut():
    whole = b"retry: 2500\n\n: still here\n\n" + event(3, "STARTED") + event(5, "SUCCESS", result="é\u2028")
    expected = list(Events().feed(whole))
    assert [one[:2] for one in expected] == [("3", "status"), ("5", "status")]
    for size in range(1, 40):
        reader = Events()
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        assert [one for piece in pieces for one in reader.feed(piece)] == expected
        assert reader.retry == 2.5


def test_what_cannot_be_followed_is_told():
    with pytest.raises(cresset.UnknownTask):
        Script(httpx.Response(404, json={"code": "unknown_task"})).follow()
    with pytest.raises(cresset.BadAnswer, match="is not a task"):
        Script(stream(b"event: status\ndata: {}\n\n")).follow()
    with pytest.raises(cresset.BadAnswer, match="not a stream"):
        Script(httpx.Response(302)).follow()
    with pytest.raises(cresset.ConnectionFailed, match="cut"):
        Script(broken(), broken(), broken()).follow()
    busy = httpx.Response(503, json={"code": "store_unavailable"}, headers={"retry-after": "0"})
    with pytest.raises(cresset.StoreUnavailable):
        Script(busy, busy, busy).follow()


def test_a_follower_that_is_out_of_time_is_told_how_the_task_stands():
    with pytest.raises(cresset.TaskTimeout, match="it is STARTED") as late:
        Script(stream(event(3, "STARTED"))).follow(timeout=0)
    assert late.value.task is not None
    assert late.value.task.status == "STARTED"


def test_the_end_that_has_been_seen_is_the_end():
    assert Script(stream(event(3, "STARTED")), httpx.Response(204)).follow() == ["STARTED"]


def test_the_stand_in_server_can_be_followed():
    server = MockServer({"double": lambda x: 2 * x}, run_at_submit=False)
    with server.client() as client:
        handle = client.submit("double", 4)
        states = (event for event in handle.events() if isinstance(event, TaskStatus))
        seen = [next(states).status]
        server.start_pending()
        seen.append(next(states).status)
        server.run_pending()
        end = next(states)
        assert [*seen, end.status, end.result] == ["PENDING", "STARTED", "SUCCESS", 8]
        assert list(states) == []
        assert [state.result for state in handle.events() if isinstance(state, TaskStatus)] == [8]

    async def follow() -> list[str]:
        async with server.async_client() as client:
            handle = await client.submit("double", 4)
            seen: list[str] = []
            async with aclosing(handle.events()) as states:
                async for state in states:
                    assert isinstance(state, TaskStatus)
                    seen.append(state.status)
                    server.run_pending()
            return seen

    assert asyncio.run(follow()) == ["PENDING", "SUCCESS"]
