"""Models whose items real Celery workers run: Cresset is the front door, the work is done where it was."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cresset
import httpx
import pytest
from support.application import Redis, redis_or_skip
from support.rabbit import largest_message
from support.server import LONG, Server, run_cli
from support.shop import Shop, kill, rabbit_shop, redis_shop
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


MANY = 2_000
"""Tasks of one batch."""
AT_ONCE = 128
"""Tasks on their way to the broker together."""
LARGEST = 16 << 20
"""Bytes of a message."""


@pytest.fixture(params=["redis", "rabbitmq"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """An application on each of the brokers, without workers and servers."""
    if request.param == "redis":
        made = redis_shop(tmp_path, request.getfixturevalue("the_redis"))
    else:
        made = rabbit_shop(tmp_path)
    with made.stack:
        yield made


def ready(server: Server) -> bool:
    return httpx.get(f"{server.url}/health/ready").status_code == 200


def test_a_task_is_run_by_a_worker_and_ends_here(shop: Shop) -> None:
    for name, more in {"add": "", "one": 'arguments = "one"', "context": '[limits]\ntimeout = "50s"'}.items():
        shop.model(name, more=more)
    shop.worker()
    server = shop.serve().wait_ready()
    client = shop.client(server)
    assert client.submit("add", [2, 3]).result(timeout=LONG) == 5
    assert client.submit("add", {"b": "é", "a": "x"}).result(timeout=LONG) == "xé"
    assert client.submit("one", {"b": [None, 1.5]}).result(timeout=LONG) == {"b": [None, 1.5]}
    assert client.predict("add", [[1], [2]]) == [1, 2]
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    with server.http() as http:
        told = http.post("/v1/models/context/predict", json={"input": {}}, headers={"traceparent": traceparent})
    result = told.raise_for_status().json()["result"]
    assert result["traceparent"].startswith("00-4bf92f3577b34da6a3ce929d0e0e4736-")
    assert (result["limits"], result["origin"].startswith("cresset@")) == ([50.0, None], True)


def test_a_failure_has_the_workers_class_and_message(shop: Shop) -> None:
    shop.model("work", more='[retry]\non = ["shop.Busy"]\nmax_retries = 1\ndelay = "50ms"')
    shop.worker()
    client = shop.client(shop.serve().wait_ready())
    with pytest.raises(cresset.TaskFailed) as failed:
        client.submit("work", {"error": "boom"}).result(timeout=LONG)
    assert (failed.value.error.type, failed.value.error.message, failed.value.error.code) == (
        "ValueError",
        "boom",
        "model_error",
    )
    # Celery's own retries are the workers', Cresset's are another message each.
    assert client.submit("work", {"tries": 2, "give": 1}).result(timeout=LONG) == 1
    busy = client.submit("work", {"error": "own"})
    with pytest.raises(cresset.TaskFailed, match="try later"):
        busy.result(timeout=LONG)
    assert shop.runs()[busy.id] == 2
    with pytest.raises(cresset.TaskFailed, match="unexpected keyword"):
        client.submit("work", {"nothing": 1}).result(timeout=LONG)


def test_a_pickled_result_is_a_failure_in_words(tmp_path: Path, the_redis: Redis) -> None:
    shop = redis_shop(tmp_path, the_redis, "pickle")
    with shop.stack:
        shop.model("add")
        shop.worker()
        with pytest.raises(cresset.TaskFailed, match="a pickle is never loaded") as failed:
            shop.client(shop.serve().wait_ready()).submit("add", [1, 2]).result(timeout=LONG)
        assert failed.value.error.code == "bad_output"


def test_how_far_a_task_has_come_is_told(shop: Shop) -> None:
    shop.model("work")
    shop.worker()
    client = shop.client(shop.serve().wait_ready())
    task = client.submit("work", {"sleep": 1.0, "steps": 4, "give": 1})
    told = [event for event in task.events(timeout=LONG) if isinstance(event, cresset.Progress)]
    assert [said.message for said in told if said.fraction == 0.75] == ["step 3"]
    assert task.result(timeout=LONG) == 1


def test_a_cancelled_task_is_revoked_at_the_workers(shop: Shop) -> None:
    shop.model("work", concurrency=2, more="terminate = true")
    shop.worker(processes=1)
    server = shop.serve().wait_ready()
    client = shop.client(server)
    running = client.submit("work", {"sleep": 60})
    until(lambda: shop.runs()[running.id] == 1, "running")
    sent, queued = client.submit("work", {"give": 1}), client.submit("work", {"give": 2})
    for task in (sent, running):
        task.cancel()
    began = time.monotonic()
    assert queued.result(timeout=LONG) == 2
    assert time.monotonic() - began < 30, "its process was not ended"
    for task in (sent, running):
        with pytest.raises(cresset.TaskRevoked):
            task.result(timeout=LONG)
    assert shop.runs()[sent.id] == 0


def test_a_task_that_others_revoke_is_revoked_here(shop: Shop) -> None:
    shop.model("work")
    shop.model("one", more='arguments = "one"')
    shop.worker(processes=1)
    client = shop.client(shop.serve().wait_ready())
    # The one process is busy, so that the other task is known to the worker and has not begun.
    running = client.submit("work", {"sleep": 1.0})
    until(lambda: shop.runs()[running.id] == 1, "running")
    waiting = client.submit("one", 1)
    app = shop.app
    app.control.revoke(waiting.id)
    with pytest.raises(cresset.TaskRevoked, match="at the Celery workers"):
        waiting.result(timeout=LONG)
    assert waiting.status().status == "REVOKED"
    assert running.result(timeout=LONG) is None


def test_a_result_that_never_comes_is_a_time_limit(shop: Shop) -> None:
    shop.model("work", more='timeout = "1s"')
    client = shop.client(shop.serve().wait_ready())
    lost = client.submit("work", {"give": 1})
    with pytest.raises(cresset.TaskFailed, match="nobody takes tasks from the queue") as failed:
        lost.result(timeout=LONG)
    assert failed.value.error.code == "time_limit"
    # It has expired by then.
    shop.worker()
    assert client.submit("work", {"give": 2}).result(timeout=LONG) == 2
    assert shop.runs()[lost.id] == 0


def test_a_killed_worker_loses_nothing(shop: Shop) -> None:
    shop.model("work", concurrency=8)
    first = shop.worker()
    client = shop.client(shop.serve().wait_ready())
    tasks = [client.submit("work", {"sleep": 0.3, "give": i}) for i in range(12)]
    until(lambda: len(shop.runs()) >= 3, "under way")
    kill(first)
    shop.worker()
    assert [task.result(timeout=LONG) for task in tasks] == list(range(12))


def test_a_killed_server_takes_the_results_that_have_come_meanwhile(shop: Shop) -> None:
    shop.model("work", concurrency=64)
    server = shop.serve().wait_ready()
    client = shop.client(server)
    tasks = [client.submit("work", {"sleep": 0.1, "give": i}).id for i in range(40)]
    until(lambda: shop.waiting() == 40, "sent")
    shop.worker(processes=4)
    until(lambda: len(shop.runs()) >= 10, "under way")
    server.kill()
    until(lambda: len(shop.runs()) == 40, "all begun at the workers")
    again = shop.client(shop.serve().wait_ready())
    assert [again.task(task).result(timeout=LONG) for task in tasks] == list(range(40))
    # At least once: what has a result does not run again, and four may have been without one.
    assert sum(shop.runs().values()) <= 44


def test_a_stopped_server_goes_on_where_it_was(shop: Shop) -> None:
    shop.model("work")
    server = shop.serve("--drain-timeout", "100ms").wait_ready()
    client = shop.client(server)
    tasks = [client.submit("work", {"give": i}).id for i in range(10)]
    assert server.stop() == 0
    shop.worker()
    again = shop.client(shop.serve().wait_ready())
    assert [again.task(task).result(timeout=LONG) for task in tasks] == list(range(10))


def test_a_broker_that_goes_is_said_and_loses_nothing(tmp_path: Path) -> None:
    redis = redis_or_skip(tmp_path)
    try:
        made = redis_shop(tmp_path, redis)
        with made.stack:
            made.model("work", concurrency=4)
            redis.stop()
            server = made.serve()
            until(lambda: not ready(server), "not ready")
            client = made.client(server)
            tasks = [client.submit("work", {"give": i}) for i in range(10)]
            with server.http() as http:
                until(lambda: "cannot be reached" in http.get("/v1/models/work").text, "said of the model")
            redis.start()
            made.worker()
            until(lambda: ready(server), "ready")
            assert [task.result(timeout=LONG) for task in tasks] == list(range(10))
            # In the middle of it, with results that are told nobody while the broker is away.
            running = [client.submit("work", {"sleep": 0.2, "give": i}) for i in range(4)]
            until(lambda: len(made.runs()) >= 11, "under way")
            redis.stop()
            until(lambda: not ready(server), "not ready")
            assert all(task.status().status in {"QUEUED", "STARTED"} for task in running)
    finally:
        redis.stop()


def test_a_broker_that_is_restarted_with_tasks_at_the_workers_loses_none(tmp_path: Path) -> None:
    redis = redis_or_skip(tmp_path, keeps=True)
    try:
        made = redis_shop(tmp_path, redis)
        with made.stack:
            made.model("work", concurrency=2)
            made.worker()
            server = made.serve().wait_ready()
            client = made.client(server)
            # A worker fails a task that it begins while its backend is away, so all that it has has begun.
            tasks = [client.submit("work", {"sleep": 3.0, "give": i}) for i in range(4)]
            until(lambda: len(made.runs()) == 2, "under way")
            redis.stop()
            until(lambda: not ready(server), "not ready")
            redis.start()
            assert [task.result(timeout=LONG) for task in tasks] == list(range(4))
            assert ready(server)
    finally:
        redis.stop()


def test_a_message_that_the_broker_does_not_take_fails_its_task_at_once(tmp_path: Path) -> None:
    shop = rabbit_shop(tmp_path)
    # What newer ones have unless they are told otherwise.
    with shop.stack, largest_message(LARGEST):
        shop.model("one", more='arguments = "one"')
        client = shop.client(shop.serve().wait_ready())
        with pytest.raises(cresset.TaskFailed, match="larger than configured max size") as failed:
            client.submit("one", "x" * (LARGEST + 1)).result(timeout=LONG)
        assert failed.value.error.code == "invalid_input"
        shop.worker()
        assert client.submit("one", 1).result(timeout=LONG) == 1


def test_all_that_is_sent_at_once_to_a_queue_that_is_not_there_arrives_once(tmp_path: Path) -> None:
    shop = rabbit_shop(tmp_path)
    with shop.stack:
        shop.model("work", concurrency=AT_ONCE)
        client = shop.client(shop.serve().wait_ready())
        batch = client.submit_many("work", ({"give": i} for i in range(AT_ONCE)))
        until(lambda: shop.waiting() == AT_ONCE, "sent")
        shop.worker(pool="solo")
        assert batch.wait(timeout=LONG).counts.success == AT_ONCE
        assert [line.result for line in batch.results()] == list(range(AT_ONCE))
        assert list(shop.runs().values()) == [1] * AT_ONCE


def test_rabbitmq_with_results_in_redis(tmp_path: Path, the_redis: Redis) -> None:
    shop = rabbit_shop(tmp_path, the_redis.url(15))
    with shop.stack:
        shop.model("work")
        shop.worker()
        client = shop.client(shop.serve().wait_ready())
        assert client.submit("work", {"give": 1, "tries": 1}).result(timeout=LONG) == 1


def test_connections_that_are_lost_lose_no_result(tmp_path: Path) -> None:
    shop = rabbit_shop(tmp_path)
    with shop.stack:
        shop.model("work", concurrency=8)
        shop.worker()
        server = shop.serve().wait_ready()
        client = shop.client(server)
        tasks = [client.submit("work", {"sleep": 0.1, "give": i}) for i in range(40)]
        assert shop.rabbit is not None
        for count in (4, 12, 20):
            until(lambda count=count: len(shop.runs()) >= count, "under way")
            shop.rabbit.close_connections()
        assert [task.result(timeout=LONG) for task in tasks] == list(range(40))
        until(lambda: ready(server), "ready again")


@pytest.mark.timeout(600)
def test_many_tasks_drain(tmp_path: Path, the_redis: Redis) -> None:
    shop = redis_shop(tmp_path, the_redis)
    with shop.stack:
        shop.model("add", concurrency=128)
        shop.worker()
        server = shop.serve().wait_ready()
        client = shop.client(server)
        began = time.monotonic()
        batch = client.submit_many("add", ([i, 1] for i in range(MANY)))
        ended = batch.wait(timeout=8 * LONG)
        ours = MANY / (time.monotonic() - began)
        assert (ended.counts.success, ended.total) == (MANY, MANY), ended
        assert [line.result for line in batch.results()] == list(range(1, MANY + 1))
        app = shop.app
        began = time.monotonic()
        results = [app.send_task("shop.add", (i, 1)) for i in range(MANY // 5)]
        assert [result.get(timeout=LONG) for result in results] == list(range(1, MANY // 5 + 1))
        theirs = len(results) / (time.monotonic() - began)
        print(f"through Cresset {ours:.0f} tasks a second, by .delay() and .get() {theirs:.0f}")


def test_mistakes_are_told_all_at_once(shop: Shop, tmp_path: Path) -> None:
    shop.model("work")
    text = (shop.models / "work" / "model.toml").read_text()
    (shop.models / "work" / "model.toml").write_text(f'entry = "a.py"\n{text}\n[instances]\ncount = 2\n')
    done = run_cli("check", str(shop.models), check=False)
    assert done.returncode == 65
    told = done.stdout + done.stderr
    assert "entry" in told and "instances.count" in told and "send.task" in told
    (shop.models / "work" / "model.toml").write_text(text)
    done = run_cli("check", str(shop.models), check=False)
    told = done.stdout + done.stderr
    assert (done.returncode, "celery.broker" in told, "celery.result_backend" in told) == (65, True, True), told
    settings = tmp_path / "cresset.toml"
    settings.write_text(f'[celery]\nbroker = "redis://:secret@h"\nresult_backend = "rpc://"\nqueues = "{shop.queue}"\n')
    done = run_cli("check", str(shop.models), "--config", str(settings), check=False)
    told = done.stdout + done.stderr
    assert "send.queue" in told and "rpc://" in told and "secret" not in told, told
