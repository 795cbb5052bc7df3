"""The views for ASGI: they wait, and carry events."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync

pytestmark = pytest.mark.django_db


def run(async_client, story):
    """Play a story in an event loop, on the database connection of the test."""
    return async_to_sync(story)(async_client)


async def post(client, text="hi"):
    return await client.post("/ainference/models/upper/tasks", {"input": text}, content_type="application/json")


def read(chunks: bytes) -> list[dict[str, Any]]:
    """Read a stream of events."""
    blocks = [block for block in chunks.decode().split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def test_submit_wait_and_result(async_client, server):
    async def story(client):
        made = await post(client)
        assert made.status_code == 202
        body = made.json()
        assert body["url"] == f"/ainference/tasks/{body['task_id']}"
        waiting = asyncio.ensure_future(client.get(body["url"], {"wait": "10"}))
        await asyncio.sleep(0)
        server.run_pending()
        shown = (await waiting).json()
        assert (shown["status"], shown["result"]) == ("SUCCESS", "HI")

    run(async_client, story)


def test_a_wait_that_is_over_shows_the_task_as_it_is(async_client, server):
    async def story(client):
        url = (await post(client)).json()["url"]
        shown = await client.get(url, {"wait": "50ms"})
        assert (shown.status_code, shown.json()["status"]) == (200, "PENDING")
        assert (await client.get(url, {"wait": "x"})).status_code == 400

    run(async_client, story)


def test_a_form_and_a_refusal(async_client, server):
    async def story(client):
        made = await client.post("/ashout", {"text": "a"})
        assert made.status_code == 202
        assert made.json()["url"].startswith("/ainference/")
        assert (await client.post("/ainference/models/upper/tasks", "x", content_type="text/plain")).status_code == 400
        server.refuse("queue_full", retry_after=3)
        refused = await post(client)
        assert (refused.status_code, refused["Retry-After"]) == (429, "3")

    run(async_client, story)


def test_a_task_is_its_owners_alone(async_client, server):
    async def story(client):
        body = (await post(client)).json()
        client.cookies.clear()
        for answer in (
            await client.get(body["url"]),
            await client.get(body["events_url"]),
            await client.delete(body["url"]),
            await client.post(body["cancel_url"]),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_task")

    run(async_client, story)


def test_cancel(async_client, server):
    async def story(client):
        body = (await post(client)).json()
        done = await client.post(body["cancel_url"])
        assert done.json()["cancelled"] == "before"
        assert (await client.delete(body["url"])).json()["cancelled"] == "too_late"

    run(async_client, story)


def test_events_up_to_the_end_and_no_further(async_client, server):
    async def story(client):
        body = (await post(client)).json()
        response = await client.get(body["events_url"])
        assert response["Content-Type"] == "text/event-stream"
        seen = b""
        async for chunk in response.streaming_content:
            seen += chunk
            if b"PENDING" in chunk:
                server.start_pending()
            elif b"STARTED" in chunk:
                server.run_pending()
        events = read(seen)
        assert [json.loads(event["data"])["status"] for event in events] == ["PENDING", "STARTED", "SUCCESS"]
        assert json.loads(events[-1]["data"])["result"] == "HI"
        assert json.loads(events[-1]["data"])["metadata"] is None
        again = await client.get(body["events_url"], headers={"last-event-id": events[-1]["id"]})
        assert (again.status_code, again.content) == (204, b"")

    run(async_client, story)


def test_a_browser_that_comes_back_is_not_shown_what_it_has_seen(async_client, server):
    async def story(client):
        body = (await post(client)).json()
        response = await client.get(body["events_url"], headers={"last-event-id": "PENDING-0-0"})
        server.run_pending()
        seen = b"".join([chunk async for chunk in response.streaming_content])
        assert [json.loads(event["data"])["status"] for event in read(seen)] == ["SUCCESS"]

    run(async_client, story)


def test_a_stream_that_is_left_lets_go_of_its_connection(async_client, server):
    async def story(client):
        body = (await post(client)).json()
        stream = aiter((await client.get(body["events_url"])).streaming_content)
        before = asyncio.all_tasks()
        assert b"PENDING" in await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        while len(asyncio.all_tasks() - before) < 2:  # the browser's, and that which reads from the server
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await stream.aclose()
        assert asyncio.all_tasks() == before

    run(async_client, story)


def test_with_nginx_they_hand_over_too(async_client, server, settings):
    settings.CRESSET = {**settings.CRESSET, "ACCEL": "/_cresset"}

    async def story(client):
        body = (await post(client)).json()
        answer = await client.get(body["events_url"])
        assert answer["X-Accel-Redirect"].endswith(f"/{body['task_id']}/events")

    run(async_client, story)
