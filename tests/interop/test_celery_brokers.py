"""What is the same with every broker: how workers stop, are told what to do, and are watched."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TaskRevokedError
from support.application import House, RedisHouse, hears_all_events, house
from support.rabbit import RabbitHouse, rabbit_house
from support.server import LONG
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(params=["redis", "rabbitmq"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    """An application on each of the brokers, without a worker."""
    if request.param == "redis":
        made: House = house(tmp_path, request.getfixturevalue("the_redis"))
    else:
        made = rabbit_house(tmp_path)
    with made.stack:
        yield made


def scheduled(home: House) -> list[Any]:
    """The tasks that wait for their time at the worker."""
    inspect = home.app.control.inspect([home.node], timeout=LONG)
    return next(iter(inspect.scheduled().values()))


def test_a_worker_that_stops_gives_back_what_waits(home: House) -> None:
    first = home.worker()
    later = [home.app.send_task("proj.echo", (i,), countdown=600) for i in range(20)]
    until(lambda: len(scheduled(home)) == 20, "taken")
    assert home.waiting() == 0
    assert first.stop() == 0
    assert home.waiting() == 20
    home.worker()
    until(lambda: len(scheduled(home)) == 20, "taken again")
    assert {task["request"]["id"] for task in scheduled(home)} == {result.id for result in later}


def test_what_was_given_back_is_run_by_the_next_worker(home: House) -> None:
    first = home.worker()
    later = [home.app.send_task("proj.echo", (i,), countdown=3) for i in range(20)]
    until(lambda: len(scheduled(home)) == 20 or later[0].ready(), "taken")
    assert first.stop() == 0
    home.worker()
    assert [result.get(timeout=LONG) for result in later] == list(range(20))


def test_tasks_are_revoked_before_and_while_they_run(home: House) -> None:
    home.worker()
    later = home.app.send_task("proj.echo", (1,), countdown=600)
    running = home.app.send_task("proj.echo", ({"sleep": 1.5},))
    inspect = home.app.control.inspect([home.node], timeout=LONG)
    until(lambda: any(inspect.active().values()), "active")
    assert [t["request"]["id"] for t in scheduled(home)] == [later.id]
    home.app.control.revoke(later.id)
    home.app.control.revoke(running.id, terminate=True)
    with pytest.raises(TaskRevokedError, match="revoked"):
        later.get(timeout=LONG)
    with pytest.raises(TaskRevokedError, match="terminated"):
        running.get(timeout=LONG)
    assert later.id in next(iter(inspect.revoked().values()))
    assert until(lambda: not any(inspect.active().values()), "idle")
    until(lambda: home.left() == 0, "empty")


def test_celerys_own_commands_show_it_as_a_worker(home: House, tmp_path: Path) -> None:
    home.worker()
    (tmp_path / "appmodule.py").write_text(
        f"from celery import Celery\napp = Celery('proj', broker='{home.broker}', backend='{home.backend}')\n"
    )

    def celery(*words: str) -> str:
        command = [sys.executable, "-m", "celery", "-A", "appmodule", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LONG, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    status = celery("status")
    assert f"{home.node}: OK" in status and "1 node online" in status
    inspect = home.app.control.inspect([home.node], timeout=LONG)
    (node,) = inspect.ping()
    assert node == home.node
    assert home.described.items() <= inspect.stats()[node]["broker"].items()
    assert inspect.registered()[node] == ["proj.echo", "proj.perform_inference"]
    assert inspect.active_queues()[node][0]["name"] == home.queue
    assert inspect.reserved()[node] == []
    assert inspect.query_task("nothing")[node] == {}
    assert home.app.control.ping(destination=["nobody@here"], timeout=0.3) == []
    (answer,) = home.app.control.broadcast("no_such_method", destination=[node], reply=True, timeout=LONG)
    assert "no_such_method" in answer[node]["error"]
    home.app.control.shutdown()
    assert home.workers[0].ended() == 0


def test_figures_tell_of_the_tasks_and_the_broker(home: House) -> None:
    worker = home.worker()
    home.app.send_task("proj.echo", (1,)).get(timeout=LONG)
    home.app.send_task("proj.echo", ({"raise": "value"},)).get(timeout=LONG, propagate=False)
    for name in ("proj.one", "proj.two"):
        home.app.send_task(name, (1,)).get(timeout=LONG, propagate=False)
    later = home.app.send_task("proj.echo", (1,), countdown=300)

    def counted(name: str, **labels: str) -> float:
        return worker.metric(f"cresset_celery_{name}", **labels)

    until(lambda: counted("held", stand="scheduled") == 1, "held")
    assert counted("tasks_total", task="proj.echo", status="SUCCESS") == 1
    # Told before they are counted.
    until(lambda: counted("tasks_total", task="proj.echo", status="FAILURE") == 1, "failed")
    until(lambda: counted("tasks_total", task="other", status="FAILURE") == 2, "names that nobody knows are one")
    assert counted("broker_connected") == 1
    worker.stop()
    second = home.worker()
    until(lambda: second.metric("cresset_celery_held", stand="scheduled") == 1, "held again")
    home.app.control.revoke(later.id)
    until(lambda: second.metric("cresset_celery_tasks_total", task="proj.echo", status="REVOKED") == 1, "revoked")
    assert second.metric("cresset_celery_redelivered_total", task="proj.echo") == 1, "what was given back is marked"


def test_events_tell_of_the_worker_and_its_tasks(home: House) -> None:
    home.worker()
    home.app.control.enable_events(destination=[home.node], reply=True, timeout=LONG)
    assert hears_all_events(home.app)


def deafen(home: House, node: str) -> tuple[str, Callable[[], object]]:
    """An address by which a node can use the broker, but cannot hear its broadcasts; and what mends that."""
    if isinstance(home, RedisHouse):
        client = home.client
        client.execute_command("ACL", "SETUSER", "deaf", "on", ">pw", "~*", "&*", "+@all", "-subscribe")
        address = home.broker.replace("redis://", "redis://deaf:pw@")
        return address, lambda: client.execute_command("ACL", "SETUSER", "deaf", "+subscribe")
    assert isinstance(home, RabbitHouse)
    connection = home.stack.enter_context(home.app.connection_for_write())
    channel = connection.default_channel
    # What it would hear them by is somebody else's.
    queue, _, _ = channel.queue_declare(f"{node}.celery.pidbox", exclusive=True)
    return home.broker, lambda: channel.queue_delete(queue)


def test_a_worker_says_that_it_is_there_when_it_can_be_asked(home: House) -> None:
    node = f"deaf-{home.queue}@test"
    address, mend = deafen(home, node)
    listens, heard = threading.Event(), threading.Event()
    mended = threading.Event()
    early: list[str] = []

    def online(event: dict[str, Any]) -> None:
        if not mended.is_set():
            early.append(event["hostname"])
        heard.set()

    def ready(*_: object, **__: object) -> None:
        listens.set()

    def listen() -> None:
        with home.app.connection_for_read() as connection:
            receiver = home.app.events.Receiver(connection, handlers={"worker-online": online})
            receiver.on_consume_ready = ready
            for _ in receiver.itercapture(limit=None, timeout=LONG, wakeup=False):
                if heard.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    assert listens.wait(LONG)
    worker = home.start("--log-level", "debug", broker=address, node=node)
    worker.wait_log(lambda text: "remote control cannot be heard" in text, "that it is deaf")
    mended.set()
    mend()
    assert heard.wait(LONG)
    # Who hears that it is there asks it at once.
    assert home.app.control.ping(destination=[home.node], timeout=LONG) == [{home.node: {"ok": "pong"}}]
    assert early == []
    thread.join(LONG)
