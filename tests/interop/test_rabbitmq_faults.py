"""RabbitMQ in trouble: what is lost, refused or sent back costs nobody a task, and the worker finds its way again."""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import canvas as untyped
from support.rabbit import RabbitHouse, entrance, largest_message, rabbit_house
from support.server import LONG
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

canvas: Any = untyped
"""Celery says nothing of its types."""
LARGEST = 300_000
"""Bytes of a message: more than other tests send, and less than a result that is sent together with others."""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[RabbitHouse]:
    """An application with results by RPC, without a worker."""
    made = rabbit_house(tmp_path)
    with made.stack:
        yield made


def test_what_comes_back_is_sent_again_and_nothing_else(home: RabbitHouse) -> None:
    home.worker()
    missing = [f"missing-{number}" for number in range(12)]
    with home.app.connection_for_write() as connection:
        connection.default_channel.queue_declare("there", durable=False, auto_delete=False)

    def echo(*args: object, **options: object) -> Any:
        return canvas.signature("proj.echo", args, app=home.app, **options)

    # The broker confirms many at once, and says of each missing queue before that it is not there.
    links = [echo().set(queue=queue) for name in missing for queue in ("there", name, "there")]
    assert echo("x").apply_async(link=links).get(timeout=LONG) == "x"
    wanted = {"there": 2 * len(missing), **dict.fromkeys(missing, 1)}
    found = until(lambda: (at := home.rabbit.depths()) and set(wanted) <= set(at) and at, "declared")
    assert {name: found[name] for name in wanted} == wanted


def test_either_connection_is_made_again_when_it_is_lost(home: RabbitHouse) -> None:
    worker = home.worker()
    for what in ("sends", "takes tasks"):
        assert home.rabbit.close_connection(f"cresset {home.node} {what}") == 1
        assert home.app.send_task("proj.echo", (what,)).get(timeout=LONG) == what
    assert worker.process.poll() is None


def test_an_exchange_of_another_kind_is_taken_as_it_is(home: RabbitHouse) -> None:
    home.app.conf.task_default_exchange_type = "topic"
    with home.app.connection_for_write() as connection:
        channel = connection.default_channel
        for name in (home.queue, "elsewhere"):
            channel.exchange_declare(name, "topic", durable=True, auto_delete=False)
    home.worker()

    def echo(*args: object) -> Any:
        return canvas.signature("proj.echo", args, app=home.app)

    sent = echo("x").apply_async(link=echo().set(queue="elsewhere"))
    assert sent.get(timeout=LONG) == "x"
    assert until(lambda: home.rabbit.queue("elsewhere", "messages"), "declared") == [1]


def test_what_the_broker_refuses_costs_no_other(home: RabbitHouse) -> None:
    worker = home.worker()

    def echo(*args: object, **options: object) -> Any:
        return canvas.signature("proj.echo", args, app=home.app, **options)

    # RabbitMQ reads this header, and closes the channel that sends another type of it.
    bad = [echo(n).apply_async(link=echo().set(headers={"CC": 5})) for n in range(10)]
    good = [echo(n).apply_async(link=echo().set(queue="good")) for n in range(40)]
    assert [result.get(timeout=LONG) for result in bad + good] == [*range(10), *range(40)]
    worker.wait_log(lambda line: "is refused by the broker" in line and "CC" in line, "which message, and why")
    assert until(lambda: home.rabbit.queue("good", "messages") == [40], "all of them")


def test_a_result_that_the_broker_refuses_costs_no_other(home: RabbitHouse) -> None:
    home.worker()
    # Whoever has a channel by now may send what it likes on it.
    home.app.send_task("proj.echo", (0,), ignore_result=True)
    until(lambda: home.left() == 0, "done")
    with largest_message(LARGEST):
        sent = [home.app.send_task("proj.echo", ("x" * (LARGEST + 1) if n % 8 == 0 else n,)) for n in range(40)]
        for n, result in enumerate(sent):
            if n % 8 == 0:
                with pytest.raises(RuntimeError, match=r"cannot be sent: .*larger than configured max size"):
                    result.get(timeout=LONG)
            else:
                assert result.get(timeout=LONG) == n
    until(lambda: home.left() == 0, "acknowledged")


def test_a_result_that_finds_no_room_holds_up_no_other(home: RabbitHouse) -> None:
    home.worker()
    ids = [str(uuid.uuid4()) for _ in range(2)]
    with home.app.connection_for_write() as connection:
        channel = connection.default_channel
        room_for_one = {"x-max-length": 1, "x-overflow": "reject-publish"}
        channel.queue_declare("full", durable=False, auto_delete=False, arguments=room_for_one)
        producer = connection.Producer(auto_declare=False)
        for task_id in ids:
            producer.publish(
                b"[[7], {}, {}]",
                routing_key=home.queue,
                headers={"task": "proj.echo", "id": task_id},
                content_type="application/json",
                content_encoding="utf-8",
                reply_to="full",
                correlation_id=task_id,
            )
        others = [home.app.send_task("proj.echo", (n,)) for n in range(40)]
        assert [result.get(timeout=LONG) for result in others] == list(range(40))
        until(lambda: home.rabbit.queue(home.queue, "messages_unacknowledged") == [1], "all but one acknowledged")
        told = [json.loads(until(lambda: channel.basic_get("full", no_ack=True), "there").body) for _ in ids]
    assert {one["task_id"]: one["result"] for one in told} == dict.fromkeys(ids, 7)
    until(lambda: home.left() == 0, "acknowledged")


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_nothing_is_acknowledged_before_its_end(tmp_path: Path, kind: str) -> None:
    made = rabbit_house(tmp_path, task_default_queue_type=kind)
    with made.stack:
        first = made.worker("--celery-queue-type", kind)
        sent = {n: made.app.send_task("proj.echo", (n,), countdown=500 if n % 50 == 7 else None) for n in range(400)}
        later = {n: result for n, result in sent.items() if n % 50 == 7}
        assert [result.get(timeout=LONG) for n, result in sent.items() if n not in later] == [
            n for n in sent if n not in later
        ]
        # Those that wait are among those that have ended: what the broker was told of some is not of them.
        kept = [len(later)]
        until(lambda: made.rabbit.queue(made.queue, "messages_unacknowledged") == kept, "all but those that wait")
        first.kill()
        until(lambda: made.waiting() == len(later), "back in their queue")
        made.worker("--celery-queue-type", kind)
        until(lambda: made.rabbit.queue(made.queue, "messages_unacknowledged") == kept, "taken by another")


def test_a_broker_that_says_nothing_is_noticed_and_holds_up_no_stop(home: RabbitHouse, tmp_path: Path) -> None:
    with entrance(tmp_path) as (port, proxy):
        url = f"amqp://guest:guest@127.0.0.1:{port}/{home.rabbit.vhost}?heartbeat="
        listening, patient = home.worker(broker=f"{url}1"), home.worker(broker=f"{url}0")
        proxy.send_signal(signal.SIGSTOP)
        until(lambda: httpx.get(f"{listening.url}/health/ready").status_code == 503, "noticed")
        assert patient.stop() == 0
        proxy.send_signal(signal.SIGCONT)
        until(lambda: httpx.get(f"{listening.url}/health/ready").status_code == 200, "ready again")
        assert home.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
