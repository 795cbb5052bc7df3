"""An application on real Celery sends tasks, and Cresset answers them."""

from __future__ import annotations

import base64
import json
import pickle
import time
import uuid
from typing import Any

import pytest
from celery import canvas as untyped
from celery.exceptions import NotRegistered, TaskRevokedError, TimeLimitExceeded
from support.application import RedisHouse
from support.server import LONG

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a Redis that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


canvas: Any = untyped
"""Celery says nothing of its types."""


def test_delay_and_get(shared: RedisHouse) -> None:
    @shared.app.task(name="proj.perform_inference", shared=False)
    def perform_inference(input_data: object) -> object: ...

    assert perform_inference.delay([1, 2.5, "é"]).get(timeout=LONG) == [1, 2.5, "é"]
    result = perform_inference.apply_async(kwargs={"input_data": {"a": None}}, task_id=f"any/id é {uuid.uuid4()}")
    assert result.get(timeout=LONG) == {"a": None}
    assert (result.state, result.traceback) == ("SUCCESS", None)
    assert result.date_done is not None


@pytest.mark.parametrize(
    "options",
    [
        {"serializer": "msgpack"},
        {"compression": "zlib"},
        {"serializer": "msgpack", "compression": "gzip"},
        {"priority": 9},
    ],
    ids=str,
)
def test_messages_come_in_every_form(shared: RedisHouse, options: dict[str, Any]) -> None:
    assert shared.app.send_task("proj.echo", ([1, {"k": "x" * 2000}],), **options).get(timeout=LONG)[0] == 1


def test_many_tasks_share_batches(home: RedisHouse) -> None:
    results = canvas.group(canvas.signature("proj.echo", (i,), app=home.app) for i in range(300)).delay()
    home.worker()
    assert results.get(timeout=LONG) == list(range(300))
    assert home.workers[0].metric("cresset_batch_size_count", model="echo") < 30


@pytest.mark.parametrize(
    ("item", "type_", "text"),
    [
        ({"raise": "value"}, ValueError, "boom"),
        ({"raise": "key"}, KeyError, "boom"),
        ({"raise": "own"}, Exception, "mine"),
    ],
)
def test_an_exception_of_the_model_is_raised_at_the_client(
    shared: RedisHouse, item: object, type_: type, text: str
) -> None:
    result = shared.app.send_task("proj.echo", (item,))
    with pytest.raises(type_, match=text) as raised:
        result.get(timeout=LONG)
    assert type(raised.value).__name__ in {"ValueError", "KeyError", "OwnError"}
    assert result.state == "FAILURE"
    assert "model.py" in result.traceback


def test_wrong_arguments_and_unknown_tasks_are_told(shared: RedisHouse) -> None:
    with pytest.raises(TypeError, match=r"echo\(\) takes 1 positional argument but 2 were given"):
        shared.app.send_task("proj.echo", (1, 2)).get(timeout=LONG)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        shared.app.send_task("proj.echo").get(timeout=LONG)
    with pytest.raises(NotRegistered, match=r"proj\.nothing"):
        shared.app.send_task("proj.nothing").get(timeout=LONG)
    with pytest.raises(ValueError, match="NaN"):
        shared.app.send_task("proj.echo", (float("nan"),)).get(timeout=LONG)


def test_expired_and_later_tasks(shared: RedisHouse) -> None:
    with pytest.raises(TaskRevokedError, match="expired"):
        shared.app.send_task("proj.echo", (1,), expires=-5).get(timeout=LONG)
    began = time.monotonic()
    later = [shared.app.send_task("proj.echo", (i,), countdown=2.5) for i in range(150)]
    # Those that wait hold nobody up, even where they are more than are taken at once.
    assert shared.app.send_task("proj.echo", ("now",)).get(timeout=LONG) == "now"
    assert time.monotonic() - began < 2.5
    assert [result.get(timeout=LONG) for result in later] == list(range(150))
    assert time.monotonic() - began >= 2.5


def test_a_result_that_nobody_wants_is_not_stored(shared: RedisHouse) -> None:
    ignored = shared.app.send_task("proj.echo", (1,), ignore_result=True)
    assert shared.app.send_task("proj.echo", (2,)).get(timeout=LONG) == 2
    assert shared.client.exists(f"celery-task-meta-{ignored.id}") == 0


def test_started_is_told(shared: RedisHouse) -> None:
    result = shared.app.send_task("proj.echo", ({"sleep": 0.3, "give": 1},))
    while (state := result.state) == "PENDING":
        time.sleep(0.01)
    assert state == "STARTED"
    assert result.info["hostname"].startswith("cresset-")
    assert result.get(timeout=LONG) == 1


def test_a_time_limit_is_kept(shared: RedisHouse) -> None:
    with pytest.raises(TimeLimitExceeded):
        shared.app.send_task("proj.echo", ({"sleep": 1.0},), time_limit=0.2).get(timeout=LONG)


def test_a_model_may_ask_for_another_try(shared: RedisHouse) -> None:
    result = shared.app.send_task("proj.echo", ({"retry": str(uuid.uuid4())},))
    assert result.get(timeout=LONG) == 2


def test_chains_groups_and_chords(shared: RedisHouse) -> None:
    def echo(*args: object, **options: object) -> Any:
        return canvas.signature("proj.echo", args, app=shared.app, **options)

    chained = canvas.chain(echo("x"), echo(), echo()).delay()
    assert chained.get(timeout=LONG) == "x"
    assert chained.parent.parent.get(timeout=LONG) == "x"
    assert canvas.chord([echo(i) for i in range(7)], app=shared.app)(echo()).get(timeout=LONG) == list(range(7))
    both = canvas.chain(
        echo(1), canvas.group(echo(), echo(5, immutable=True), app=shared.app), echo(), app=shared.app
    ).delay()
    assert both.get(timeout=LONG) == [1, 5]
    linked = echo("l").apply_async(link=[echo(), echo()])
    assert linked.get(timeout=LONG) == "l"
    # A group of two, and each of them has a result.
    (children,) = linked.children
    assert children.get(timeout=LONG) == ["l", "l"]


def test_what_fails_fails_what_follows(shared: RedisHouse) -> None:
    def echo(*args: object, **options: object) -> Any:
        return canvas.signature("proj.echo", args, app=shared.app, **options)

    broken = canvas.chain(echo({"raise": "value"}), echo(), app=shared.app).delay()
    with pytest.raises(ValueError, match="boom"):
        shared.app.AsyncResult(broken.id).get(timeout=LONG)
    failed = canvas.chord([echo(1), echo({"raise": "value"})], app=shared.app)(echo())
    with pytest.raises(Exception, match=r"Dependency .* raised ValueError\('boom'\)"):
        shared.app.AsyncResult(failed.id).get(timeout=LONG)
    handler = echo().clone()
    handler.options["task_id"] = str(uuid.uuid4())
    failed = echo({"raise": "value"}).apply_async(link_error=handler)
    assert shared.app.AsyncResult(handler.options["task_id"]).get(timeout=LONG) == failed.id


def test_bad_messages_leave_the_queue_and_the_worker_lives(shared: RedisHouse) -> None:
    def envelope(task_id: str, body: bytes, content_type: str = "application/json", **headers: object) -> str:
        properties = {"delivery_info": {"exchange": "", "routing_key": shared.queue}, "body_encoding": "base64"}
        text = base64.b64encode(body).decode()
        head = {"task": "proj.echo", "id": task_id, **headers}
        return json.dumps({"body": text, "headers": head, "content-type": content_type, "properties": properties})

    pickled = pickle.dumps(([1], {}, {}))
    ids = [str(uuid.uuid4()) for _ in range(6)]
    told = [
        envelope(ids[0], b"[]"),
        envelope(ids[1], b"not json"),
        envelope(ids[2], pickled, "application/x-python-serialize"),
        envelope(ids[3], b"[[1], {}, {}]", eta="soon"),
        envelope(ids[4], b"\x00\x01", compression="application/x-gzip"),
        envelope(ids[5], b"[[1], {}, {}]", compression="application/x-bz2"),
    ]
    for message in ["junk", "{}", "[1]", '{"body": 5}', b"\xff\xfe{}", *told]:
        shared.client.lpush(shared.queue, message)
    for task_id in ids:
        with pytest.raises(Exception, match=r".+") as raised:
            shared.app.AsyncResult(task_id).get(timeout=LONG)
        assert type(raised.value).__name__ == "InvalidTaskError", task_id
    assert shared.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
    assert 'task_serializer = "json"' in shared.workers[0].log.replace("\\", "")
    assert (shared.client.llen(shared.queue), held(shared)) == (0, [])


def held(house: RedisHouse) -> list[bytes]:
    """What is noted at the broker as held, of this house's queue."""
    records = house.client.hvals("unacked")
    return [record for record in records if f'"{house.queue}"]'.encode() in record]
