"""Dead letters: what is asked, how answers are read, the same from both clients."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

import cresset

ID = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10"


def letter(**other: Any) -> dict[str, Any]:
    return {
        "task_id": ID,
        "model": "m",
        "version": "1",
        "created_at": "2026-11-23T10:00:00.000000Z",
        "died_at": "2026-11-23T10:00:09.000000Z",
        "cause": "signal",
        "reason": "was ended by signal 11",
        "tried": 3,
        "resident_bytes": 1 << 30,
        "log": ["about to crash"],
        "priority": 7,
        "input_bytes": 8,
        "replayed_as": None,
        "metadata": {"a": 1},
        **other,
    }


class Server:
    """Answers from a table, and keeps what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        status, body = self.answers.pop(0)
        return httpx.Response(status, json=body)

    def client(self) -> cresset.Client:
        return cresset.Client(transport=httpx.MockTransport(self), retries=0)

    def async_client(self) -> cresset.AsyncClient:
        return cresset.AsyncClient(transport=httpx.MockTransport(self), retries=0)


PAGES = ((200, {"letters": [letter()], "next": "7"}), (200, {"letters": [letter(model="n")], "next": None}))
WALK = ["GET /v1/dead?model=a+b&limit=100", "GET /v1/dead?model=a+b&limit=100&after=7"]
UNKNOWN = (404, {"code": "unknown_letter", "title": "", "status": 404, "detail": "no"})


def test_a_list_is_walked_page_by_page_and_read():
    server = Server(*PAGES)
    with server.client() as client:
        first, second = client.dead.list("a b")
    assert server.asked == WALK
    assert (first.id, second.model, first.log, first.tried) == (ID, "n", ("about to crash",), 3)
    assert first.died_at - first.created_at == timedelta(seconds=9)
    assert (first.metadata, first.priority, first.replayed_as) == ({"a": 1}, 7, None)


def test_a_page_is_fetched_only_when_it_is_reached():
    server = Server(*PAGES)
    with server.client() as client:
        next(client.dead.list())
    assert server.asked == ["GET /v1/dead?limit=100"]


def test_one_letter_is_looked_at_replayed_and_purged():
    server = Server((200, letter(log=None)), (200, "poison"), (202, {"task_id": "t2"}), (200, {"purged": 1}), UNKNOWN)
    with server.client() as client:
        assert client.dead.get(ID).log is None
        assert client.dead.input(ID) == "poison"
        assert client.dead.replay(ID).id == "t2"
        assert client.dead.purge(ID)
        assert not client.dead.purge(ID)
    path = f"/v1/dead/{ID}"
    assert server.asked == [
        f"GET {path}",
        f"GET {path}/input",
        f"POST {path}/replay",
        f"DELETE {path}",
        f"DELETE {path}",
    ]


def test_a_letter_that_is_not_there_has_its_exception():
    with Server(UNKNOWN).client() as client, pytest.raises(cresset.UnknownLetter):
        client.dead.get(ID)


def test_letters_are_purged_by_model_and_age():
    at = datetime(2026, 1, 31, 8, tzinfo=timezone.utc)
    server = Server(*[(200, {"purged": 2})] * 4)
    with server.client() as client:
        assert client.dead.purge_all() == 2
        client.dead.purge_all(model="m")
        client.dead.purge_all(before=at)
        client.dead.purge_all(model="m", before=timedelta(days=7))
    assert server.asked == [
        "DELETE /v1/dead?all=true",
        "DELETE /v1/dead?model=m",
        "DELETE /v1/dead?before=2026-01-31T08%3A00%3A00Z",
        "DELETE /v1/dead?model=m&before=604800000ms",
    ]
    with server.client() as client, pytest.raises(ValueError, match="naive"):
        client.dead.purge_all(before=datetime(2026, 1, 31))  # noqa: DTZ001  # what is refused


def test_the_asyncio_client_does_the_same():
    server = Server(
        *PAGES, (200, letter()), (200, [1]), (202, {"task_id": "t2"}), (200, {"purged": 1}), (200, {"purged": 0})
    )

    async def walk() -> None:
        async with server.async_client() as client:
            assert [one.model async for one in client.dead.list("a b")] == ["m", "n"]
            assert (await client.dead.get(ID)).id == ID
            assert await client.dead.input(ID) == [1]
            assert (await client.dead.replay(ID)).id == "t2"
            assert await client.dead.purge(ID)
            assert await client.dead.purge_all(model="m") == 0

    asyncio.run(walk())
    assert server.asked[:2] == WALK
