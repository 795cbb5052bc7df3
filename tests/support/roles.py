"""Gateways and workers, apart, whatever is between them: their model, their callers, and what holds everywhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from support.models import write_model
from support.server import LONG, Server
from support.wait import until

#: Gives its input and whose process it was; an input that names a pipe runs until that is there, or is not wanted.
WHO = """
import os
import time
from pathlib import Path

import cresset

def predict(batch):
    for at, value in enumerate(batch):
        if isinstance(value, str):
            Path(value + ".begun").touch()
            while not Path(value).exists():
                if cresset.current().cancelled_items[at]:
                    Path(value + ".stopped").touch()
                    raise cresset.Cancelled
                time.sleep(0.005)
    time.sleep(0.01)
    return [[value, os.getppid()] for value in batch]
"""
SETTINGS = 'description = "whose it was"\nversion = "{}"\n[batching]\nmax_batch_size = 4\n'
CALLERS = 4

Start = Callable[..., Server]
Fed = list[tuple[list[int], list[Any]]]


@contextmanager
def starting(folder: Path, url: str) -> Generator[tuple[Start, list[Server]], None, None]:
    """Starts gateways and workers with this between them, each on a data folder of its own or a named one; ends all.

    Gives what starts them, and those that it has started.
    """
    started: list[Server] = []
    with ExitStack() as servers:

        def begin(command: str, models: Path | None = None, *flags: str, data: str | None = None) -> Server:
            home = folder / (data or f"data-{len(started)}")
            home.mkdir(exist_ok=True)
            server = Server(models, home, "--broker", url, *flags, command=command)
            started.append(server)
            servers.callback(server.close)
            return server

        yield begin, started


def who(folder: Path, version: int = 1) -> Path:
    """A folder with the model that says whose process it was."""
    return write_model(folder, "who", WHO, SETTINGS.format(version))


def model(client: httpx.Client) -> dict[str, Any]:
    """What a gateway says of it; the status, where it says nothing of it."""
    answer = client.get("/v1/models/who")
    return answer.json() if answer.status_code == 200 else {"state": answer.status_code}


def wait_state(gateway: Server, state: object) -> None:
    """Waits until a gateway says so."""
    gateway.wait(lambda client: model(client)["state"] == state, f"told that the model is {state}")


def ask(client: httpx.Client, value: list[int]) -> list[Any]:
    """A task's result, or a prediction's, by turns."""
    if value[1] % 2:
        answer = client.post("/v1/models/who/predict", json={"input": value})
        assert answer.status_code == 200, answer.text
    else:
        accepted = client.post("/v1/models/who/tasks", json={"input": value})
        assert accepted.status_code == 202, accepted.text
        answer = client.get(accepted.headers["location"], params={"wait": "60s"})
        assert answer.json()["status"] == "SUCCESS", answer.text
    return answer.json()["result"]


class Feeds:
    """Callers that ask again as soon as they are answered."""

    def __init__(self, client: httpx.Client, pool: ThreadPoolExecutor) -> None:
        """Starts them."""
        self._client = client
        self._stop = threading.Event()
        self._done = [0] * CALLERS
        self._feeds = [pool.submit(self._feed, number) for number in range(CALLERS)]

    def _feed(self, caller: int) -> Fed:
        done: Fed = []
        while not self._stop.is_set():
            value = [caller, len(done)]
            done.append((value, ask(self._client, value)))
            self._done[caller] = len(done)
        return done

    def wait_more(self, count: int, why: str) -> None:
        """Waits until so many more have been answered."""
        before = sum(self._done)
        until(lambda: sum(self._done) > before + count, why)

    def end(self, workers: list[Server]) -> Fed:
        """What was asked and answered: each by one of these, and all of these by some."""
        self._stop.set()
        done = [one for fed in self._feeds for one in fed.result(LONG)]
        assert all(result[0] == value for value, result in done)
        assert {result[1] for _, result in done} == {worker.process.pid for worker in workers}
        return done

    def stop(self) -> None:
        """Lets them go, whatever has happened."""
        self._stop.set()


@contextmanager
def feeding(client: httpx.Client) -> Generator[Feeds, None, None]:
    """Such callers, for as long as this lasts."""
    with ThreadPoolExecutor(CALLERS) as pool:
        feeds = Feeds(client, pool)
        try:
            yield feeds
        finally:
            feeds.stop()


def learns_of_a_worker(start: Start, models: Path) -> tuple[Server, Server]:
    """A gateway that knows no model, and then what a worker runs: it describes and answers it. Gives both."""
    gateway = start("gateway")
    with gateway.http() as client:
        assert client.get("/health/ready").json()["ready"], "it can store and answer, whoever runs what"
        unheard_of = client.post("/v1/models/who/predict", json={"input": 1})
        assert (unheard_of.status_code, unheard_of.json()["code"]) == (404, "unknown_model")
        worker = start("worker", models)
        wait_state(gateway, "ready")
        described = model(client)
        assert (described["version"], described["description"], described["instances"]) == ("1", "whose it was", [])
        [runner] = described["workers"]
        assert (runner["pid"], runner["state"], runner["instances_ready"]) == (worker.process.pid, "ready", 1)

        answer = client.post("/v1/models/who/predict", json={"input": [1, 2]})
        assert answer.status_code == 200, answer.text
        assert (answer.json()["result"], answer.json()["version"]) == ([[1, 2], worker.process.pid], "1")
        place = client.post("/v1/models/who/tasks", json={"input": 8}).headers["location"]
        with client.stream("GET", f"{place}/events") as events:
            assert any('"SUCCESS"' in line for line in events.iter_lines())
    return gateway, worker


@contextmanager
def left_by_its_worker(start: Start, models: Path, gate: Path) -> Generator[None, None, None]:
    """A gateway whose only worker stops, with a prediction under way; callers are told. Then there is one again."""
    gateway, worker = start("gateway"), start("worker", models)
    wait_state(gateway, "ready")
    last = worker.process
    with gateway.http() as client, ThreadPoolExecutor(1) as pool:
        held = pool.submit(client.post, "/v1/models/who/predict", json={"input": str(gate)})
        until(Path(f"{gate}.begun").exists, "at work on it")
        last.terminate()
        wait_state(gateway, "down")
        gate.touch()
        assert held.result(LONG).status_code == 200, "a worker that stops finishes what it has"
        assert last.wait(LONG) == 0
        for path in ("predict", "tasks"):
            refused = client.post(f"/v1/models/who/{path}", json={"input": 1})
            assert (refused.status_code, refused.json()["code"]) == (503, "model_unavailable"), refused.text
            assert f"the last was process {last.pid} on " in refused.json()["detail"], refused.text
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        health = client.get("/health/ready")
        assert health.status_code == 200
        assert [(one["name"], one["ready"]) for one in health.json()["models"]] == [("who", False)]
        yield
        start("worker", models)
        wait_state(gateway, "ready")
        assert client.post("/v1/models/who/predict", json={"input": 3}).json()["result"][0] == 3
