"""Results that come piece by piece: of predictions, and of tasks across connections that break."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer
from scripted import TASK as ENDED, Broken

if TYPE_CHECKING:
    from collections.abc import Iterator

TASK = {key: value for key, value in ENDED.items() if key not in ("status", "result")}
STREAM = {"content-type": "text/event-stream"}


def event(kind: str, data: Any, number: str | None = None) -> bytes:
    name = f"id: {number}\n" if number else ""
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def chunk(number: int, value: Any, *, attempt: int = 1, run: int = 9) -> bytes:
    data = {"attempt": attempt, "number": number, "chunk": value}
    return event("chunk", data, f"3-{run}.{number + 1}")


def answer(*pieces: bytes, breaks: bool = False) -> httpx.Response:
    if breaks:
        return httpx.Response(200, stream=Broken(b"retry: 0\n\n", *pieces), headers=STREAM)
    return httpx.Response(200, content=b"retry: 0\n\n" + b"".join(pieces), headers=STREAM)


class Script:
    """A server that answers as scripted, and keeps the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        return self.answers.pop(0)

    def client(self) -> cresset.Client:
        retries = cresset.Retries(attempts=2, base_delay=0)
        return cresset.Client(transport=httpx.MockTransport(self), retries=retries)


def speak(text: str) -> Iterator[str]:
    for word in text.split():
        if word == "boom":
            raise ValueError("no more")
        yield word


def test_a_prediction_is_read_as_it_comes():
    server = MockServer({"speak": speak, "whole": str})
    with server.client() as client, client.stream("speak", "a b c") as stream:
        with pytest.raises(RuntimeError, match="wait"):
            _ = stream.result
        assert next(stream) == "a"
        assert list(stream) == ["b", "c"]
        assert stream.result == "abc"
        assert (stream.restarts, stream.has_gap) == (0, False)
        assert client.stream("speak", "a b").wait() == "ab"
        broken = client.stream("speak", "a boom")
        assert next(broken) == "a"
        with pytest.raises(cresset.PredictFailed, match="no more") as failed:
            next(broken)
        assert failed.value.error is not None
        assert failed.value.error.type == "ValueError"
        with pytest.raises(cresset.ApiError, match="whole"):
            client.stream("whole", 1).wait()
        assert client.predict("speak", "a b") == "ab"

    async def read() -> tuple[list[Any], Any]:
        async with server.async_client() as client, client.stream("speak", "a b") as stream:
            pieces = [piece async for piece in stream]
            assert await client.stream("speak", "c").wait() == "c"
            return pieces, stream.result

    assert asyncio.run(read()) == (["a", "b"], "ab")


def test_a_task_is_read_as_it_comes():
    server = MockServer({"speak": speak})
    with server.client() as client:
        handle = client.submit("speak", "a b")
        with handle.stream() as stream:
            assert list(stream) == ["a", "b"]
        assert stream.result == "ab"
        with pytest.raises(cresset.TaskFailed, match="no more"):
            client.submit("speak", "boom").stream().wait()

    async def read() -> Any:
        async with server.async_client() as client:
            handle = await client.submit("speak", "a b")
            return await handle.stream().wait()

    assert asyncio.run(read()) == "ab"


def test_a_task_is_taken_up_again_where_it_was_and_begins_anew_when_it_must():
    said = {"fraction": 0.5, "message": "half", "at": "2026-11-23T01:02:03Z"}
    script = Script(
        answer(event("status", {**TASK, "status": "STARTED"}, "3"), chunk(0, "a"), breaks=True),
        answer(chunk(1, "b"), event("progress", said), breaks=True),
        answer(
            event("restart", {"attempt": 2}, "6"),
            event("gap", {"attempt": 2, "from": 0, "to": 0}, "6-10.1"),
            chunk(1, "y", attempt=2, run=10),
            event("status", {**TASK, "status": "SUCCESS", "result": "xy"}, "8-10.2"),
        ),
    )
    with script.client() as client:
        stream = client.task("t").stream()
        assert [next(stream), next(stream)] == ["a", "b"]
        assert list(stream) == ["y"]
    assert (stream.result, stream.restarts, stream.has_gap) == ("xy", 1, True)
    assert stream.progress is not None
    assert (stream.progress.fraction, stream.progress.message) == (0.5, "half")
    assert [request.headers.get("last-event-id") for request in script.asked] == [None, "3-9.1", "3-9.2"]


def test_events_are_typed():
    said = {"fraction": 1, "message": None, "at": "2026-11-23T01:02:03Z"}
    script = Script(
        answer(
            event("progress", said),
            chunk(0, {"a": 1}),
            event("gap", {"attempt": 1, "from": 1, "to": 3}, "3-9.4"),
            event("restart", {"attempt": 2}, "3"),
            event("something new", 7),
            event("status", {**TASK, "status": "SUCCESS", "result": 1}, "5"),
        )
    )
    with script.client() as client:
        progress, first, gap, restart, end = client.task("t").events()
    assert isinstance(progress, cresset.Progress)
    assert first == cresset.Chunk({"a": 1}, 0, 1)
    assert gap == cresset.Gap(1, 3, 1)
    assert restart == cresset.Restart(2)
    assert isinstance(end, cresset.TaskStatus)
    with (
        Script(answer(event("chunk", {"number": 1}))).client() as client,
        pytest.raises(cresset.BadAnswer, match="chunk"),
    ):
        list(client.task("t").events())


def test_a_prediction_that_was_refused_is_asked_for_again_and_one_that_breaks_is_not():
    busy = httpx.Response(503, json={"code": "overloaded"}, headers={"retry-after": "0"})
    result = event("result", {"result": "a", "model": "m", "version": "1"})
    script = Script(busy, answer(chunk(0, "a"), result))
    with script.client() as client:
        assert client.stream("m", 1).wait() == "a"
    first = script.asked[0]
    assert (first.url.path, first.headers["accept"]) == ("/v1/models/m/predict", "text/event-stream")
    assert json.loads(first.content) == {"input": 1}
    for cut in (answer(chunk(0, "a"), breaks=True), answer(chunk(0, "a"))):
        with Script(cut).client() as client, pytest.raises(cresset.ConnectionFailed):
            client.stream("m", 1).wait()
    with Script(busy, busy, busy).client() as client, pytest.raises(cresset.ApiError):
        client.stream("m", 1).wait()
    with Script(answer(event("result", 7))).client() as client, pytest.raises(cresset.BadAnswer):
        client.stream("m", 1).wait()
