"""One suite for everything that can be between who accepts a task and who runs it: the promises are the same on all.

On SQLite one server is both; elsewhere a gateway and a worker have a database, Redis or RabbitMQ between them. The
stores have a suite of their own below this, in crates/queue; a broker is no store, and is held to the promises here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cresset
import pytest
from support.between import between_of
from support.mariadb import MariaDatabase
from support.models import write_model
from support.postgres import postgres_or_skip
from support.roles import starting
from support.server import LONG, Server
from support.wait import until

BACKENDS = ("sqlite", "postgresql", "mariadb", "redis", "rabbitmq")
#: Notes who begins and who ends in a file that the input names, and does as it says. Waits for a gate, whoever cancels.
MODEL = """
import os
import time
from pathlib import Path

def note(value, what):
    with Path(value["notes"]).open("a") as notes:
        notes.write(f"{what} {value['name']}\\n")

def predict(batch):
    for value in batch:
        note(value, "begins")
        if value.get("do") == "exit":
            os._exit(3)
        if value.get("do") == "raise":
            raise ValueError("no such thing")
        while value.get("gate") and not Path(value["gate"]).exists():
            time.sleep(0.005)
        note(value, "ends")
    return [value["name"] for value in batch]
"""
#: One at a time. A cancelled one is not killed while a test looks.
SETTINGS = """
[batching]
max_batch_size = 1
[limits]
max_attempts = 2
cancel_grace = "1m"
[retry]
on = ["ValueError"]
max_retries = 1
delay = "50ms"
"""


@dataclass
class House:
    """Who accepts and who runs, and what is between them."""

    door: Server
    client: cresset.Client
    sever: Callable[[], None]
    """Ends every connection between them. They find each other again by themselves."""


def nothing() -> None:
    """There is no connection."""


@pytest.fixture(scope="module", params=BACKENDS)
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """On one of them; all tests of this module use it."""
    kind: str = request.param
    home = tmp_path_factory.mktemp(kind)
    models = write_model(home / "models", "trial", MODEL, SETTINGS)
    with ExitStack() as stack:
        sever = nothing
        if kind == "sqlite":
            (home / "data").mkdir()
            door = Server(models, home / "data")
            stack.callback(door.close)
        else:
            if kind in ("redis", "rabbitmq"):
                between = stack.enter_context(between_of(kind, home / "redis"))
                url = between.url

                def sever() -> None:
                    between.lose()
                    between.found()
            else:
                database = postgres_or_skip() if kind == "postgresql" else MariaDatabase()
                stack.callback(database.drop)
                url, sever = database.url, database.end_connections
            start, _ = stack.enter_context(starting(home, url))
            door = start("gateway")
            start("worker", models)
        door.wait(lambda c: c.get("/v1/models/trial").json().get("state") == "ready", "ready")
        client = stack.enter_context(cresset.Client(door.url))
        yield House(door, client, sever)


@dataclass
class Trial:
    """What one test asks, and what came of it."""

    house: House
    folder: Path

    def submit(self, name: str, gate: str = "", do: str = "", **options: object) -> cresset.TaskHandle:
        """A task of this name; a gate holds it once it has begun."""
        asked = {"name": name, "notes": str(self.folder / "notes"), "do": do}
        asked["gate"] = str(self.folder / gate) if gate else ""
        return self.house.client.submit("trial", asked, **options)  # pyright: ignore[reportArgumentType]

    def open(self, gate: str) -> None:
        """Lets go on whatever waits for it."""
        (self.folder / gate).touch()

    def notes(self, what: str) -> list[str]:
        """Whose runs began, or ended, in this order."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [line.split(" ", 1)[1] for line in lines if line.startswith(what)]

    def holds(self, name: str, gate: str) -> cresset.TaskHandle:
        """A task that has begun, and has the only process until its gate is opened."""
        held = self.submit(name, gate)
        until(lambda: name in self.notes("begins"), f"begun: {name}")
        return held


@pytest.fixture
def trial(house: House, tmp_path: Path) -> Trial:
    """One, in its own folder."""
    return Trial(house, tmp_path)


def test_delivery(trial: Trial) -> None:
    """Each task is run once, and its result is its own."""
    handles = [trial.submit(f"t{number}") for number in range(20)]
    assert [handle.result(timeout=LONG) for handle in handles] == [f"t{number}" for number in range(20)]
    assert sorted(trial.notes("ends")) == sorted(f"t{number}" for number in range(20))
    assert {handle.status().attempts for handle in handles} == {1}


def test_an_end_is_for_good(trial: Trial) -> None:
    """Fencing: what a run comes to that does not count any more changes nothing."""
    held = trial.holds("held", "gate")
    assert held.cancel().status == "REVOKED"
    ended = held.status()
    trial.open("gate")
    until(lambda: "held" in trial.notes("ends"), "run to its end")
    assert trial.submit("next").result(timeout=LONG) == "next", "the process has said what came of both"
    after = held.status()
    assert (after.status, after.finished_at, after.result) == ("REVOKED", ended.finished_at, None)


def test_a_delayed_start(trial: Trial) -> None:
    later, now = trial.submit("later", countdown=1.0), trial.submit("now")
    due = later.status().eta
    assert due is not None
    assert now.result(timeout=LONG) == "now"
    assert later.result(timeout=LONG) == "later"
    started = later.status().started_at
    assert started is not None and started >= due
    assert trial.notes("begins") == ["now", "later"]


def test_priorities(trial: Trial) -> None:
    """What is urgent goes before what has waited longer; but for the few that a worker may have at hand."""
    held = trial.holds("held", "gate")
    usual = [trial.submit(f"usual{number}") for number in range(12)]
    urgent = trial.submit("urgent", priority=10)
    trial.open("gate")
    for handle in [held, *usual, urgent]:
        handle.result(timeout=LONG)
    order = trial.notes("begins")
    assert order.index("urgent") < order.index("usual8"), order


def test_cancellation(trial: Trial) -> None:
    """What waits is over at once and never runs; what has been given to a worker may, and its result is thrown away."""
    held = trial.holds("held", "gate")
    waiting = [trial.submit(f"waits{number}") for number in range(40)]
    told = [handle.cancel() for handle in reversed(waiting)]
    assert {one.status for one in told} == {"REVOKED"}
    waited = {handle.id for handle, one in zip(reversed(waiting), told, strict=True) if one.when == "before"}
    assert waited
    trial.open("gate")
    assert held.result(timeout=LONG) == "held"
    assert trial.submit("last").result(timeout=LONG) == "last"
    ran = trial.notes("begins")
    assert not [handle.id for n, handle in enumerate(waiting) if f"waits{n}" in ran and handle.id in waited], ran
    assert {handle.status().status for handle in waiting} == {"REVOKED"}


def test_expiry(trial: Trial) -> None:
    """What has not been given to anybody when it expires is not run."""
    held = trial.holds("held", "gate")
    ahead = [trial.submit(f"ahead{number}") for number in range(8)]
    late = trial.submit("late", expires=0.3)
    until(lambda: late.status().status == "REVOKED", "expired")
    trial.open("gate")
    for handle in [held, *ahead, trial.submit("last")]:
        handle.result(timeout=LONG)
    assert "late" not in trial.notes("begins")


def test_listing(trial: Trial) -> None:
    held = trial.holds("held", "gate")
    waits = trial.submit("waits", metadata={"who": "me"})
    listed = {task.id: task.status for task in trial.house.client.tasks("trial")}
    assert listed[held.id] == "STARTED" and listed[waits.id] in ("PENDING", "STARTED")
    assert held.id in {task.id for task in trial.house.client.tasks("trial", status="STARTED")}
    trial.open("gate")
    assert [held.result(timeout=LONG), waits.result(timeout=LONG)] == ["held", "waits"]
    ended = {task.id for task in trial.house.client.tasks("trial", status="SUCCESS")}
    assert {held.id, waits.id} <= ended
    assert waits.status().metadata == {"who": "me"}


def test_who_waits_is_woken_by_another_process(trial: Trial) -> None:
    held = trial.holds("held", "gate")
    with trial.house.door.http() as client, client.stream("GET", f"/v1/tasks/{held.id}/events") as events:
        lines = events.iter_lines()
        assert any('"STARTED"' in line for line in lines)
        trial.open("gate")
        assert any('"SUCCESS"' in line for line in lines)


def test_reconnect(trial: Trial) -> None:
    """Every connection ends, with a task at its model, some under way and some waiting: each ends, and once."""
    held = trial.holds("held", "gate")
    before = [trial.submit(f"b{number}") for number in range(8)]
    trial.house.sever()
    after = [trial.submit(f"a{number}") for number in range(4)]
    trial.open("gate")
    for handle in [held, *before, *after]:
        handle.result(timeout=LONG)
        assert handle.status().status == "SUCCESS"
    ran = trial.notes("ends")
    assert set(ran) == {"held", *(f"b{number}" for number in range(8)), *(f"a{number}" for number in range(4))}


def test_a_failure_is_tried_again_as_the_model_says_and_counted(trial: Trial) -> None:
    failing = trial.submit("fails", do="raise")
    with pytest.raises(cresset.TaskFailed, match="no such thing"):
        failing.result(timeout=LONG)
    status = failing.status()
    assert (status.status, status.attempts, status.retries) == ("FAILURE", 2, 1)
    assert trial.notes("begins") == ["fails", "fails"]


def test_a_poison_is_counted_and_kept(trial: Trial) -> None:
    """What ends its process is tried as often as it may be, becomes a dead letter, and the others succeed."""
    poison = trial.submit("poison", do="exit")
    others = [trial.submit(f"o{number}") for number in range(4)]
    with pytest.raises(cresset.TaskFailed):
        poison.result(timeout=LONG)
    assert [handle.result(timeout=LONG) for handle in others] == [f"o{number}" for number in range(4)]
    assert 1 <= len(trial.notes("begins")) - 4 <= 2, "as often as max_attempts says"
    letter = trial.house.client.dead.get(poison.id)
    assert (letter.model, letter.cause, letter.tried) == ("trial", "exit", 2)
    assert "status 3" in letter.reason


def test_one_key_is_one_task(trial: Trial) -> None:
    one, same = (trial.submit("keyed", idempotency_key=str(trial.folder)) for _ in range(2))
    assert one.id == same.id
    assert one.result(timeout=LONG) == "keyed"
    assert trial.notes("begins") == ["keyed"]
