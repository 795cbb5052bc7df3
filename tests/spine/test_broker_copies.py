"""A task that a broker has in several copies, or in none: what one of them comes to is not taken for another's end."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from support.between import ByRedis, between_of, ended, submitted
from support.models import write_model
from support.roles import Start, starting, wait_state
from support.wait import until

#: Fails at its first try; at each later one says that it has begun, and waits for a gate. Files are named in its input.
FAILS_FIRST = """
import os
import time
from pathlib import Path

def predict(batch):
    for value in batch:
        count = Path(value["count"])
        with count.open("a") as file:
            file.write("x")
        if len(count.read_text()) == 1:
            raise ValueError("the first time")
        Path(f"{value['gate']}.begun.{os.getppid()}").touch()
        while not Path(value["gate"]).exists():
            time.sleep(0.005)
    return [value["number"] for value in batch]
"""
SETTINGS = """
[batching]
max_batch_size = 1
[retry]
on = ["ValueError"]
max_retries = 1
delay = "{delay}"
"""


@pytest.fixture
def by_redis(tmp_path: Path) -> Iterator[ByRedis]:
    """A Redis that keeps nothing."""
    with between_of("redis", tmp_path / "redis", keeps=False) as made:
        assert isinstance(made, ByRedis)
        yield made


def models(folder: Path, delay: str) -> Path:
    """A folder with that model."""
    return write_model(folder, "who", FAILS_FIRST, SETTINGS.format(delay=delay))


def asked(folder: Path, number: int, gate: Path) -> dict[str, object]:
    """An input."""
    return {"number": number, "count": str(folder / f"count-{number}"), "gate": str(gate)}


def test_a_second_try_that_its_worker_lost_is_run_by_the_one_that_ran_the_first(start: Start, tmp_path: Path) -> None:
    """Both are one task, and the broker says of the second that it was delivered before: it has not ended there."""
    folder, gate = models(tmp_path / "models", "1s"), tmp_path / "gate"
    gateway = start("gateway")
    workers = [start("worker", folder) for _ in range(2)]
    gateway.wait(
        lambda c: sum(one["ready"] for one in c.get("/v1/models/who").json().get("workers") or []) == 2, "both"
    )
    with gateway.http() as client:
        places = [submitted(client, asked(tmp_path, number, gate)) for number in range(16)]
        # Each has some by then of which the other one has run the first try.
        begun = [Path(f"{gate}.begun.{worker.process.pid}") for worker in workers]
        until(lambda: all(path.exists() for path in begun), "both are at second tries")
        workers[1].kill()
        gate.touch()
        ends = [ended(client, place) for place in places]
        assert [(end["status"], end.get("result")) for end in ends] == [("SUCCESS", number) for number in range(16)]


def test_what_a_copy_of_an_earlier_try_comes_to_is_not_the_end_of_a_later_one(
    by_redis: ByRedis, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with starting(tmp_path, by_redis.url) as (start, _):
        gateway = start("gateway")
        start("worker", models(tmp_path / "models", "1s"))
        wait_state(gateway, "ready")
        with gateway.http() as client, redis.Redis(port=by_redis.redis.port) as bare:
            place = submitted(client, asked(tmp_path, 1, gate))
            until(lambda: client.get(place).json()["retries"] == 1, "to be tried again")
            identity = place.rpartition("/")[2]
            failure = {"exc_type": "ValueError", "exc_message": ["late"], "exc_module": "builtins"}
            late = {"status": "FAILURE", "result": failure, "traceback": None, "children": [], "task_id": identity}
            bare.set(f"celery-task-meta-{identity}", json.dumps(late))
            task = ended(client, place)
            assert (task["status"], task.get("result"), task["attempts"]) == ("SUCCESS", 1, 2), task


def test_a_redis_that_has_lost_everything_and_is_back_at_once_costs_no_task(by_redis: ByRedis, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with starting(tmp_path, by_redis.url) as (start, _):
        gateway = start("gateway")
        worker = start("worker", models(tmp_path / "models", "10ms"))
        wait_state(gateway, "ready")
        with gateway.http() as client, redis.Redis(port=by_redis.redis.port) as bare:
            # A connection of the one that stands still may take one more.
            worker.process.send_signal(signal.SIGSTOP)
            places = [submitted(client, asked(tmp_path, number, gate)) for number in range(12)]
            until(lambda: bare.llen("cresset.who\u0006\u00163"), "at the broker")
            gate.touch()
            by_redis.lose()
            by_redis.found()
            worker.process.send_signal(signal.SIGCONT)
            ends = [ended(client, place) for place in places]
            assert [end["status"] for end in ends] == ["SUCCESS"] * 12
