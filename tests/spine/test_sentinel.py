"""Gateways and workers over a Redis that sentinels watch: another master comes, and every task ends once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.roles import Start, model, starting, wait_state, who
from support.sentinel import Watched, watched_or_skip
from support.server import run_cli
from support.wait import until

MANY = 120


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """A master, a replica, three sentinels, and passwords for both kinds."""
    made = watched_or_skip(tmp_path / "redis", password="p@ss/word", sentinel_password="se;cret")
    yield made
    made.stop()


@pytest.fixture
def start(tmp_path: Path, watched: Watched) -> Iterator[Start]:
    """Starts gateways and workers, each with a data folder of its own; ends them all."""
    with starting(tmp_path, watched.ours(1)) as (begin, _):
        yield begin


def submitted(client: httpx.Client, value: object) -> str:
    accepted = client.post("/v1/models/who/tasks", json={"input": value})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def ended(client: httpx.Client, place: str) -> dict[str, Any]:
    return until(
        lambda: (task := client.get(place, params={"wait": "10s"}).json()) and "finished_at" in task and task, "ended"
    )


def all_succeed(client: httpx.Client, places: list[str]) -> None:
    """Each with its own result."""
    ends = [ended(client, place) for place in places]
    assert [(end["status"], end["result"][0]) for end in ends] == [("SUCCESS", [n]) for n in range(len(places))]


@pytest.mark.parametrize("how", ["kill_master", "failover", "hang_master"])
def test_another_master_costs_no_task(start: Start, tmp_path: Path, watched: Watched, how: str) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    workers = [start("worker", models) for _ in range(2)]
    gateway.wait(lambda c: sum(one["ready"] for one in model(c).get("workers") or []) == 2, "told of both")
    replace: Callable[[], int] = getattr(watched, how)
    with gateway.http() as client:
        places = [submitted(client, [number]) for number in range(MANY)]
        before = replace()
        places += [submitted(client, [number]) for number in range(MANY, 2 * MANY)]
        all_succeed(client, places)
        if how == "kill_master":
            watched.again(before)
        elif how == "hang_master":
            watched.thaw(before)
        watched.follows(before)
        wait_state(gateway, "ready")
        # And back again, with whoever was the master first.
        places = [submitted(client, [number]) for number in range(MANY)]
        watched.failover()
        assert watched.master == before
        all_succeed(client, places)
        until(lambda: client.post("/v1/models/who/predict", json={"input": 3}).status_code == 200, "used again")
    for server in (gateway, *workers):
        assert "another server is the master" in server.log, server.log
        assert server.stop() == 0
        assert "p@ss" not in server.log and "p%40ss" not in server.log and "cret" not in server.log


def test_what_the_master_had_not_passed_on_is_sent_again(start: Start, tmp_path: Path, watched: Watched) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    gate = tmp_path / "gate"
    queue = "cresset.who"

    def sent(port: int) -> int:
        held = watched.client(port, 1)
        return sum(held.llen(name) for name in held.keys(f"{queue}*")) + held.hlen("unacked.cresset")

    with gateway.http() as client:
        held = submitted(client, str(gate))
        until(Path(f"{gate}.begun").exists, "busy")
        master, replica = watched.master, watched.replica
        watched.freeze(replica)
        known = sent(master)
        places = [submitted(client, [number]) for number in range(8)]
        until(lambda: sent(master) == known + 8, "sent to the master")
        watched.servers[master].stop()
        watched.thaw(replica)
        until(lambda: watched.master == replica, "another master")
        gate.touch()
        all_succeed(client, places)
        assert ended(client, held)["status"] == "SUCCESS"


def test_sentinels_that_are_not_there_are_passed_over(start: Start, tmp_path: Path, watched: Watched) -> None:
    models = who(tmp_path / "models")
    gateway = start("gateway")
    start("worker", models)
    wait_state(gateway, "ready")
    first, second, _ = watched.sentinels
    watched.sentinels[first].kill()
    with gateway.http() as client:
        watched.kill_master()
        all_succeed(client, [submitted(client, [number]) for number in range(20)])
        watched.sentinels[second].kill()
        all_succeed(client, [submitted(client, [number]) for number in range(20)])


def doctor(url: str, tmp_path: Path) -> tuple[str, str]:
    """What it says of the broker."""
    words = ("doctor", str(tmp_path / "models"), "--broker", url, "--data-dir", str(tmp_path / "data"), "--json")
    lines = json.loads(run_cli(*words, check=False).stdout)["lines"]
    [(status, text)] = [(line["status"], line["text"]) for line in lines if line["area"] == "broker"]
    return status, text


def test_it_is_said_which_sentinels_were_asked_and_what_each_said(tmp_path: Path, watched: Watched) -> None:
    who(tmp_path / "models")
    assert doctor(watched.ours(), tmp_path)[0] == "ok"
    ports = list(watched.sentinels)
    said = [f"127.0.0.1:{port} watches no master `other`" for port in ports]
    without_own = watched.ours().split("&", maxsplit=1)[0]
    no_sentinel = watched.ours().replace(str(ports[0]), str(watched.replica))
    for url, words in [
        (watched.ours(0, 1, master="other"), ["no master `other`", "127.0.0.1:1 says: ", *said]),
        (without_own, [f"127.0.0.1:{port} says: " for port in ports] + ["NOAUTH"]),
    ]:
        status, text = doctor(url, tmp_path)
        assert status == "fail" and all(word in text for word in words), text
        assert "p@ss" not in text and "cret" not in text, text
    assert doctor(no_sentinel, tmp_path)[0] == "ok", "the next one is asked"
    status, text = doctor(watched.url(), tmp_path)
    assert (status, "which master" in text, "p@ss" in text) == ("fail", True, False), text
