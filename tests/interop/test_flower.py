"""Flower, the monitor that most sites of Celery run, watches Cresset as it watches any worker."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from served import free_port
from support.application import House, house
from support.rabbit import rabbit_house
from support.server import LONG
from support.wait import until

pytestmark = [
    # Celery leaves sockets and results to the collector, which then says goodbye to a broker that has gone.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def flower(broker: str, folder: Path) -> Generator[httpx.Client, None, None]:
    """Flower on a port of its own, as a client of its API."""
    port = free_port()
    words = [sys.executable, "-W", "ignore", "-m", "celery", "--broker", broker, "flower", f"--port={port}"]
    environ = {"FLOWER_UNAUTHENTICATED_API": "true", "PATH": "/usr/bin:/bin"}
    process = subprocess.Popen([*words, "--address=127.0.0.1"], cwd=folder, env=environ, stdin=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LONG) as client:
            until(lambda: answers(client), "flower answers")
            yield client
    finally:
        process.terminate()
        process.wait(LONG)


def answers(client: httpx.Client) -> bool:
    """Whether it listens yet."""
    try:
        return client.get("/healthcheck").is_success
    except httpx.TransportError:
        return False


def asked(client: httpx.Client, path: str) -> Any:
    """What its API says."""
    answer = client.get(path)
    assert answer.status_code == httpx.codes.OK, answer.text
    return answer.json()


def shown(client: httpx.Client, task: str, state: str) -> dict[str, Any] | None:
    """What Flower knows of a task, once it knows it in this state."""
    known = asked(client, "/api/tasks").get(task)
    return known if known is not None and known["state"] == state else None


def whole(worker: dict[str, Any] | None) -> dict[str, Any] | None:
    """What Flower knows of a worker, once it has every answer."""
    known = worker is not None and {"active_queues", "registered", "stats"} <= worker.keys()
    return worker if known else None


@pytest.mark.parametrize("broker", ["redis", "rabbitmq"])
def test_flower_shows_the_worker_and_its_tasks(request: pytest.FixtureRequest, tmp_path: Path, broker: str) -> None:
    made: House = house(tmp_path, request.getfixturevalue("the_redis")) if broker == "redis" else rabbit_house(tmp_path)
    with made.stack, flower(made.broker, tmp_path) as client:
        made.worker("--celery-events")
        online = until(lambda: asked(client, "/api/workers?status=true").get(made.node), "online")
        assert online is True
        # Flower gives a worker a second to answer, and it may have heard of this one before it listens.
        worker = until(lambda: whole(asked(client, "/api/workers?refresh=1").get(made.node)), "looked at")
        assert [queue["name"] for queue in worker["active_queues"]] == [made.queue]
        assert worker["registered"] == ["proj.echo", "proj.perform_inference"]
        assert worker["stats"]["pool"]["max-concurrency"] == 1
        good = made.app.send_task("proj.echo", ({"sleep": 0.2, "give": 5},))
        bad = made.app.send_task("proj.echo", ({"raise": "value"},))
        assert good.get(timeout=LONG) == 5
        # Results and events come by ways of their own, in no order.
        done = until(lambda: shown(client, good.id, "SUCCESS"), "succeeded")
        failed = until(lambda: shown(client, bad.id, "FAILURE"), "failed")
        assert (done["name"], done["state"], done["result"], done["worker"]) == ("proj.echo", "SUCCESS", "5", made.node)
        assert 0.2 <= done["runtime"] < LONG
        assert done["received"] <= done["started"] <= done["succeeded"]
        assert (failed["exception"], failed["args"]) == ("ValueError('boom')", "({'raise': 'value'},)")
        assert "model.py" in failed["traceback"]
