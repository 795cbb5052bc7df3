"""A server as a script of answers, and time that passes only by what the script says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx

from cresset.client._core import Core, Lost, Send, Sleep
from cresset.client._messages import Response

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from cresset.client._options import Retries

TASK = {
    "task_id": "t1",
    "model": "m",
    "version": "2",
    "status": "SUCCESS",
    "result": [1],
    "created_at": "2026-11-23T01:02:03.5Z",
    "started_at": None,
    "finished_at": "2026-11-23T01:02:04.123456789Z",
    "attempts": 1,
    "priority": -3,
    "queue_position": None,
    "metadata": {"a": 1},
}


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    names = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status, json.dumps(value).encode(), names)


def problem(code: str, status: int, **headers: str) -> Response:
    return answer({"code": code, "status": status, "title": "T", "detail": "D"}, status, **headers)


def task(**changes: Any) -> Response:
    return answer({**TASK, **changes})


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A stream that breaks after these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:  # pyright: ignore[reportIncompatibleMethodOverride]
        for piece in self.pieces:
            yield piece
        raise httpx.ReadError("cut")


class Clock:
    """Time that passes only by what the script says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Driver:
    """Carries out a call's effects from a script of answers, and keeps what was asked."""

    def __init__(self, clock: Clock, *script: Response | Lost | Callable[[Send], Response | Lost]) -> None:
        self.clock = clock
        self.script = list(script)
        self.sent: list[Send] = []
        self.slept: list[float] = []

    def run(self, flow: Any) -> Any:
        outcome: Any = None
        lost: Lost | None = None
        while True:
            try:
                effect = flow.send(outcome) if lost is None else flow.throw(lost)
            except StopIteration as end:
                assert not self.script, "the call ended before the script did"
                return end.value
            outcome = lost = None
            if isinstance(effect, Sleep):
                self.slept.append(effect.seconds)
                self.clock.now += effect.seconds
                continue
            self.sent.append(effect)
            entry = self.script.pop(0)
            result = entry(effect) if callable(entry) else entry
            if isinstance(result, Lost):
                lost = result
            else:
                outcome = result


def core(retries: int | Retries = 3) -> Core:
    return Core(30.0, retries)
