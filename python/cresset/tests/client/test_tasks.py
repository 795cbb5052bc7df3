"""The list of tasks: what is asked, how pages are walked, the same from both clients."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

TASK = {
    "task_id": "t1",
    "model": "m",
    "version": None,
    "status": "RETRY",
    "created_at": "2026-11-23T01:02:03.5Z",
    "started_at": "2026-11-23T01:02:04Z",
    "finished_at": None,
    "eta": "2026-11-23T01:03:04Z",
    "attempts": 2,
    "retries": 1,
    "priority": -3,
    "metadata": {"a": 1},
}


def test_a_list_is_walked_page_by_page_and_read():
    pages = [{"tasks": [TASK], "next": "7"}, {"tasks": [], "next": "5"}, {"tasks": [TASK], "next": None}]
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(200, json=pages[(len(asked) - 1) % 3])

    with cresset.Client(transport=httpx.MockTransport(answer), retries=0) as client:
        first, second = client.tasks("a b", status="RETRY")
    start = "/v1/tasks?model=a+b&status=RETRY&limit=100"
    assert asked == [start, f"{start}&after=7", f"{start}&after=5"]
    assert first == second
    assert (first.id, first.status, first.attempts, first.retries, first.priority) == ("t1", "RETRY", 2, 1, -3)
    assert (first.metadata, first.finished_at) == ({"a": 1}, None)
    assert first.eta is not None
    assert first.eta.minute == 3

    async def walk() -> list[cresset.TaskSummary]:
        async with cresset.AsyncClient(transport=httpx.MockTransport(answer), retries=0) as client:
            return [task async for task in client.tasks()]

    assert asyncio.run(walk()) == [first, second]


def test_a_wrong_question_is_told():
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"code": "bad_query", "detail": "`status` is `DONE`"})

    status: Any = "DONE"
    with (
        cresset.Client(transport=httpx.MockTransport(answer)) as client,
        pytest.raises(cresset.BadRequest, match="DONE"),
    ):
        next(client.tasks(status=status))


def test_the_stand_in_server_lists_its_tasks():
    server = MockServer({"double": lambda x: 2 * x, "negate": lambda x: -x}, run_at_submit=False)
    with server.client() as client:
        ids = [client.submit("negate" if n % 50 == 7 else "double", n).id for n in range(230)]
        assert [task.id for task in client.tasks()] == ids[::-1]
        assert [task.id for task in client.tasks("negate")] == ids[7::50][::-1]
        server.run_pending()
        assert len(list(client.tasks(status="SUCCESS"))) == 230
        assert list(client.tasks(status="PENDING")) == []
