"""An application on real Celery sends tasks through RabbitMQ, and Cresset answers them."""

from __future__ import annotations

import json
import pickle
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from celery import canvas as untyped
from celery.exceptions import NotRegistered, TaskRevokedError, TimeLimitExceeded
from support.application import Redis
from support.rabbit import RabbitHouse, control, entrance, rabbit_house
from support.server import LONG, REPOSITORY, run_cli
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PEM = REPOSITORY / "crates" / "gateway" / "tests" / "it" / "pem"

canvas: Any = untyped
"""Celery says nothing of its types."""


@pytest.fixture(scope="module")
def rpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitHouse]:
    """An application with results by RPC and a worker, for the tests that leave nothing behind."""
    made = rabbit_house(tmp_path_factory.mktemp("rpc"))
    with made.stack:
        made.worker()
        yield made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[RabbitHouse]:
    """The same for one test, without a worker."""
    made = rabbit_house(tmp_path)
    with made.stack:
        yield made


def test_delay_and_get(rpc: RabbitHouse) -> None:
    @rpc.app.task(name="proj.perform_inference", shared=False)
    def perform_inference(input_data: object) -> object: ...

    assert perform_inference.delay([1, 2.5, "é"]).get(timeout=LONG) == [1, 2.5, "é"]
    result = perform_inference.apply_async(kwargs={"input_data": {"a": None}}, task_id=f"any/id é {uuid.uuid4()}")
    assert result.get(timeout=LONG) == {"a": None}
    assert result.state == "SUCCESS"


@pytest.mark.parametrize(
    "options",
    [
        {"serializer": "msgpack"},
        {"compression": "zlib"},
        {"delivery_mode": 1},
        {"priority": 9, "headers": {"mine": {"deep": [1, None, 2.5]}}},
    ],
    ids=str,
)
def test_messages_come_in_every_form(rpc: RabbitHouse, options: dict[str, Any]) -> None:
    assert rpc.app.send_task("proj.echo", ([1, {"k": "x" * 200_000}],), **options).get(timeout=LONG)[0] == 1


def test_exceptions_are_raised_at_the_client(rpc: RabbitHouse) -> None:
    for item, type_, text in [({"raise": "value"}, ValueError, "boom"), ({"raise": "own"}, Exception, "mine")]:
        result = rpc.app.send_task("proj.echo", (item,))
        with pytest.raises(type_, match=text):
            result.get(timeout=LONG)
        assert "model.py" in result.traceback
    with pytest.raises(TypeError, match=r"echo\(\) takes 1 positional argument but 2 were given"):
        rpc.app.send_task("proj.echo", (1, 2)).get(timeout=LONG)
    with pytest.raises(NotRegistered, match=r"proj\.nothing"):
        rpc.app.send_task("proj.nothing").get(timeout=LONG)
    with pytest.raises(TimeLimitExceeded):
        rpc.app.send_task("proj.echo", ({"sleep": 1.0},), time_limit=0.2).get(timeout=LONG)


def test_a_model_may_ask_for_another_try(rpc: RabbitHouse) -> None:
    assert rpc.app.send_task("proj.echo", ({"retry": str(uuid.uuid4())},)).get(timeout=LONG) == 2


def test_expired_and_later_tasks(rpc: RabbitHouse) -> None:
    with pytest.raises(TaskRevokedError, match="expired"):
        rpc.app.send_task("proj.echo", (1,), expires=-5).get(timeout=LONG)
    began = time.monotonic()
    # More than are taken at once, by far: those that wait hold nobody up.
    later = [rpc.app.send_task("proj.echo", (i,), countdown=4) for i in range(400)]
    assert rpc.app.send_task("proj.echo", ("now",)).get(timeout=LONG) == "now"
    assert time.monotonic() - began < 4
    assert [result.get(timeout=LONG) for result in later] == list(range(400))
    assert time.monotonic() - began >= 4


def test_a_result_that_nobody_wants_is_not_sent(rpc: RabbitHouse) -> None:
    ignored = rpc.app.send_task("proj.echo", (1,), ignore_result=True)
    assert rpc.app.send_task("proj.echo", (2,)).get(timeout=LONG) == 2
    assert ignored.state == "PENDING"


def test_callbacks_and_chains_are_sent(rpc: RabbitHouse) -> None:
    def echo(*args: object, **options: object) -> Any:
        return canvas.signature("proj.echo", args, app=rpc.app, **options)

    chained = canvas.chain(echo("x"), echo(), echo()).delay()
    assert chained.get(timeout=LONG) == "x"
    linked = echo("l").apply_async(link=echo())
    assert linked.get(timeout=LONG) == "l"
    (child,) = linked.children
    assert child.get(timeout=LONG) == "l"
    # Nobody has declared that queue: whoever sends to it does.
    elsewhere = echo().set(queue="elsewhere")
    assert echo("e").apply_async(link=elsewhere).get(timeout=LONG) == "e"
    assert until(lambda: rpc.rabbit.queue("elsewhere", "messages"), "declared") == [1]


def test_chords_end_with_redis_as_the_backend(tmp_path: Path, the_redis: Redis) -> None:
    house = rabbit_house(tmp_path, backend=the_redis.url(9))
    with house.stack:
        house.worker("--celery-track-started", "--celery-result-extended")

        def echo(*args: object) -> Any:
            return canvas.signature("proj.echo", args, app=house.app)

        result = echo("r").apply_async()
        assert result.get(timeout=LONG) == "r"
        assert (result.name, result.queue) == ("proj.echo", house.queue)
        assert canvas.chord([echo(i) for i in range(7)], app=house.app)(echo()).get(timeout=LONG) == list(range(7))
        failed = canvas.chord([echo(1), echo({"raise": "value"})], app=house.app)(echo())
        with pytest.raises(Exception, match=r"Dependency .* raised ValueError\('boom'\)"):
            house.app.AsyncResult(failed.id).get(timeout=LONG)


def test_quorum_queues(tmp_path: Path) -> None:
    house = rabbit_house(tmp_path, task_default_queue_type="quorum")
    with house.stack:
        # The worker declares the queue, and the application finds it as it would have declared it itself.
        house.worker("--celery-queue-type", "quorum")
        later = [house.app.send_task("proj.echo", (i,), countdown=2) for i in range(200)]
        assert house.app.send_task("proj.echo", ("now",)).get(timeout=LONG) == "now"
        assert [result.get(timeout=LONG) for result in later] == list(range(200))


def test_urgent_tasks_go_first(tmp_path: Path, the_redis: Redis) -> None:
    house = rabbit_house(tmp_path, backend=the_redis.url(10), batch=1, task_queue_max_priority=10)
    with house.stack:
        sent = {
            priority: [house.app.send_task("proj.echo", (priority,), priority=priority) for _ in range(8)]
            for priority in (0, 5, 9)
        }
        # The queue is there already, with priorities: it is taken as it is.
        house.worker()
        ends = {p: [(r.get(timeout=LONG) and r.date_done) or r.date_done for r in rs] for p, rs in sent.items()}
        assert max(ends[9]) <= min(ends[0]), ends
        assert max(ends[9]) <= max(ends[5]) <= max(ends[0]), ends


def test_tasks_for_much_later_are_kept_by_the_broker(home: RabbitHouse) -> None:
    home.worker()
    aside = f"{home.queue}.cresset-3600s"
    # An hour in two seconds: it comes back again and again.
    rule = ["set_policy", "-p", home.rabbit.vhost, "--apply-to", "queues", "soon", "cresset-3600s$"]
    control(*rule, '{"message-ttl": 2000}')
    later = home.app.send_task("proj.echo", ("later",), countdown=7200, priority=3, headers={"mine": 1})
    inspect = home.app.control.inspect([home.node], timeout=LONG)

    def scheduled() -> Any:
        (shown,) = inspect.scheduled().values()
        return shown

    (shown,) = until(scheduled, "shown")
    assert (shown["request"]["id"], shown["request"]["name"]) == (later.id, "proj.echo")
    # It may be back at that very moment.
    until(lambda: inspect.query_task(later.id)[home.node].get(later.id, [""])[0] == "scheduled", "found")
    until(lambda: inspect.stats()[home.node]["scheduled_at_broker"] == {"shown": 1, "more": 0}, "counted")
    with home.app.connection_for_write() as connection:
        channel = connection.default_channel
        for _ in range(2):
            assert until(lambda: home.rabbit.queue(aside, "messages_ready"), "put aside") == [1]
            message = until(lambda: channel.basic_get(aside), "there")
            headers = message.headers
            assert (headers["id"], headers["mine"], message.properties["priority"]) == (later.id, 1, 3)
            assert "x-death" not in headers
            # By now it is older than it may be, and goes to its own queue.
            channel.basic_reject(message.delivery_tag, requeue=True)
    home.app.control.revoke(later.id)
    until(lambda: scheduled() == [], "known to be revoked")
    with pytest.raises(TaskRevokedError, match="revoked"):
        later.get(timeout=LONG)
    assert (home.rabbit.queue(aside, "messages"), home.rabbit.queue(home.queue, "messages_ready")) == ([0], [0])


def test_bad_messages_leave_the_queue_and_the_worker_lives(tmp_path: Path, the_redis: Redis) -> None:
    house = rabbit_house(tmp_path, backend=the_redis.url(11))
    with house.stack:
        house.worker()
        ids = [str(uuid.uuid4()) for _ in range(5)]
        nested: list[Any] = []
        for _ in range(200):
            nested = [nested]
        bad = [
            (ids[0], b"[]", "application/json", {}),
            (ids[1], b"not json", "application/json", {}),
            (ids[2], pickle.dumps(([1], {}, {})), "application/x-python-serialize", {}),
            (ids[3], b"[[1], {}, {}]", "application/json", {"eta": "soon"}),
            (ids[4], b"\x00\x01", "application/json", {"compression": "application/x-gzip"}),
        ]
        with house.app.connection_for_write() as connection:
            producer = connection.Producer(auto_declare=False)

            def send(body: bytes, content_type: str | None, headers: dict[str, Any]) -> None:
                producer.publish(
                    body, routing_key=house.queue, headers=headers, content_type=content_type, content_encoding="utf-8"
                )

            send(b"junk", "text/plain", {})
            send(b"", None, {"task": 5, "id": [1]})
            send(b"\xff\xfe", "application/json", {"deep": nested, "bytes": b"\xff"})
            for task_id, body, content_type, headers in bad:
                send(body, content_type, {"task": "proj.echo", "id": task_id, **headers})
        for task_id in ids:
            with pytest.raises(Exception, match=r".+") as raised:
                house.app.AsyncResult(task_id).get(timeout=LONG)
            assert type(raised.value).__name__ == "InvalidTaskError", task_id
        assert house.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
        until(lambda: house.rabbit.queue(house.queue, "messages") == [0], "empty")
        assert house.workers[0].process.poll() is None


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_what_a_killed_worker_had_is_done_by_another(tmp_path: Path, kind: str) -> None:
    house = rabbit_house(tmp_path, task_default_queue_type=kind)
    with house.stack:
        first = house.worker("--celery-queue-type", kind)
        slow = house.app.send_task("proj.echo", ({"sleep": 1.0, "give": "slow"},))
        others = [house.app.send_task("proj.echo", (i,)) for i in range(50)]
        inspect = house.app.control.inspect([house.node], timeout=LONG)
        until(lambda: any(inspect.active().values()), "active")
        first.kill()
        house.worker("--celery-queue-type", kind)
        assert slow.get(timeout=LONG) == "slow"
        assert [result.get(timeout=LONG) for result in others] == list(range(50))
        until(lambda: house.rabbit.queue(house.queue, "messages") == [0], "empty")


def test_connections_that_are_closed_are_made_again(home: RabbitHouse) -> None:
    worker = home.worker()
    running = home.app.send_task("proj.echo", ({"sleep": 2.0, "give": "run"},))
    later = [home.app.send_task("proj.echo", (i,), countdown=4) for i in range(10)]
    inspect = home.app.control.inspect([home.node], timeout=LONG)
    until(lambda: any(inspect.active().values()), "active")
    until(lambda: len(next(iter(inspect.scheduled().values()))) == 10, "scheduled")
    home.rabbit.close_connections()
    worker.wait_log(lambda line: "broker is back" in line, "that the broker is back")
    until(lambda: httpx.get(f"{worker.url}/health/ready").status_code == 200, "ready")
    # Redelivered while it runs: computed once, answered once.
    assert running.get(timeout=LONG) == "run"
    assert [result.get(timeout=LONG) for result in later] == list(range(10))
    assert home.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
    until(lambda: home.rabbit.queue(home.queue, "messages") == [0], "empty")
    assert worker.metric("cresset_batch_items_count", model="echo") >= 0
    assert home.app.control.ping(destination=[home.node], timeout=5.0)


def test_a_broker_that_cannot_be_used_makes_the_server_not_ready(home: RabbitHouse) -> None:
    worker = home.worker()
    assert httpx.get(f"{worker.url}/health/ready").json()["broker"] is None
    home.rabbit.drop()
    until(lambda: httpx.get(f"{worker.url}/health/ready").status_code == 503, "not ready")
    assert "broker" in httpx.get(f"{worker.url}/health/ready").json()["broker"]
    home.rabbit.make()
    until(lambda: httpx.get(f"{worker.url}/health/ready").status_code == 200, "ready again")
    assert home.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1


def test_tls_checks_the_brokers_certificate(home: RabbitHouse, tmp_path: Path) -> None:
    pem = tmp_path / "both.pem"
    pem.write_text((PEM / "one.pem").read_text() + (PEM / "one.key.pem").read_text())
    with entrance(tmp_path, f"ssl crt {pem}") as (port, _):
        url = f"amqps://guest:guest@localhost:{port}/{home.rabbit.vhost}"
        trusting = home.worker(broker=url, env={"SSL_CERT_FILE": str(PEM / "ca.pem")})
        assert home.app.send_task("proj.echo", (1,)).get(timeout=LONG) == 1
        assert trusting.stop() == 0
        wary = home.start(broker=url)
        line = wary.wait_log(lambda line: "broker cannot be used" in line, "that nobody here trusts who signed it")
        assert "certificate" in line, line


def test_a_worker_says_what_is_wrong_with_an_address(home: RabbitHouse) -> None:
    for url, what in [("amqp://u:secret@h/v?ssl=1", "`heartbeat`"), ("amqp://u:secret@h:port", "no URL")]:
        done = run_cli("worker", str(home.models), "--celery", "q", "--broker", url, check=False)
        assert done.returncode == 65, done.stderr
        assert "celery.broker" in done.stderr and what in done.stderr and "secret" not in done.stderr


def test_json_is_what_a_capture_shows(home: RabbitHouse) -> None:
    """A result by RPC is what Celery's own worker sends."""
    home.worker()
    with home.app.connection_for_write() as connection:
        reply = connection.SimpleQueue(f"replies-{uuid.uuid4()}")
        task_id = str(uuid.uuid4())
        producer = connection.Producer(auto_declare=False)
        producer.publish(
            b"[[7], {}, {}]",
            routing_key=home.queue,
            headers={"task": "proj.echo", "id": task_id},
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=reply.queue.name,
            correlation_id=task_id,
        )
        message = reply.get(timeout=LONG)
        properties = message.properties
        assert (properties["correlation_id"], properties["delivery_mode"]) == (task_id, 1)
        assert (message.content_type, message.headers) == ("application/json", {})
        body = json.loads(message.body)
        assert (body["status"], body["result"], body["task_id"]) == ("SUCCESS", 7, task_id)
        message.ack()
