"""RabbitMQ in trouble: what is lost, refused or sent back costs nobody a task, and the worker finds its way again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import canvas as untyped
from support.rabbit import RabbitHouse, entrance, rabbit_house
from support.server import LONG
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

canvas: Any = untyped
"""Celery says nothing of its types."""


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
