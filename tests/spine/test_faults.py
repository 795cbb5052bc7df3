"""Processes killed at bad moments."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.server import LONG


def test_kill_9_of_an_instance_under_load_costs_no_client_an_error(serve: Serve, tmp_path: Path) -> None:
    # A prediction waits for the next instance; on a busy machine importing torch takes its time.
    settings = PLUS_ONE_TOML + '\n[limits]\npredict_timeout = "5m"\n'
    server = serve(write_model(tmp_path / "models", "plus-one", PLUS_ONE, settings)).wait_ready()
    stop = threading.Event()
    with server.http() as client, ThreadPoolExecutor(32) as pool:

        def ask(worker: int) -> int:
            done = 0
            while not stop.is_set():
                value = [worker, done, 0, 0]
                if done % 2:
                    answer = client.post("/v1/models/plus-one/predict", json={"input": value})
                    assert answer.status_code == 200, answer.text
                    result = answer.json()["result"]
                else:
                    accepted = client.post("/v1/models/plus-one/tasks", json={"input": value})
                    assert accepted.status_code == 202, accepted.text
                    task = client.get(accepted.headers["location"], params={"wait": "60s"}).json()
                    assert task["status"] == "SUCCESS", task
                    result = task["result"]
                assert result == [v + 1 for v in value]
                done += 1
            return done

        clients = [pool.submit(ask, i) for i in range(32)]
        for kill in range(1, 4):
            [pid] = server.instance_pids("plus-one")
            os.kill(pid, signal.SIGKILL)
            server.wait(
                lambda _, n=kill: (
                    server.metric("cresset_instance_restarts_total", model="plus-one", reason="signal") == n
                ),
                "aware of the kill",
            )
            server.wait(lambda _, dead=pid: server.instance_pids("plus-one") not in ([], [dead]), "restarting")
            server.wait_ready()
        stop.set()
        counts = [c.result(LONG) for c in clients]
    assert sum(counts) > 0
    server.wait_log(lambda text: "signal" in text and "plus-one" in text, "that an instance was killed")


def test_kill_9_of_the_server_with_1000_tasks_queued_loses_none(serve: Serve, tmp_path: Path) -> None:
    settings = PLUS_ONE_TOML + "\n[batching]\nmax_batch_size = 4\n"
    models = write_model(tmp_path / "models", "plus-one", PLUS_ONE, settings)
    server = serve(models).wait_ready()
    with server.http() as client, ThreadPoolExecutor(16) as pool:
        # The first ones keep the model busy for half a second each, so that the rest is queued when the server dies.
        for _ in range(8):
            client.post("/v1/models/plus-one/tasks", json={"input": [-0.5, 0, 0, 0]}).raise_for_status()

        def submit(i: int) -> tuple[int, str]:
            accepted = client.post("/v1/models/plus-one/tasks", json={"input": [i, 0, 0, 0]})
            assert accepted.status_code == 202
            return i, accepted.headers["location"]

        places = list(pool.map(submit, range(1000)))
    [pid] = server.instance_pids("plus-one")
    server.kill()
    again = serve(models).wait_ready()
    with again.http() as client:
        for i, place in places:
            task = client.get(place, params={"wait": "60s"}).json()
            assert (task["status"], task["result"]) == ("SUCCESS", [i + 1, 1, 1, 1]), task
    assert not Path(f"/proc/{pid}").exists(), "the instance outlived its server"


def test_a_terminated_server_finishes_what_runs_and_keeps_the_rest(serve: Serve, tmp_path: Path) -> None:
    settings = PLUS_ONE_TOML + "\n[batching]\nmax_batch_size = 1\n"
    models = write_model(tmp_path / "models", "plus-one", PLUS_ONE, settings)
    server = serve(models).wait_ready()
    with server.http() as client:
        body = {"input": [-0.2, 0, 0, 0]}
        places = [client.post("/v1/models/plus-one/tasks", json=body).headers["location"] for _ in range(20)]
    assert server.stop() == 0, server.log
    again = serve(models).wait_ready()
    with again.http() as client:
        states = [client.get(place, params={"wait": "60s"}).json()["status"] for place in places]
    assert states == ["SUCCESS"] * 20


def test_two_servers_cannot_share_a_data_folder(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    first = serve(models).wait_ready()
    second = serve(models)
    assert second.ended() != 0
    assert f"in use by another process (pid {first.process.pid})" in second.log, second.log
    assert httpx.get(f"{first.url}/health/live").status_code == 200


def test_kill_9_of_the_server_loses_no_large_payload(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models).wait_ready()
    # Some of these are files of their own beside the database, by the default limit; nobody should be able to tell.
    values = [str(i) * (40_000 * (i + 1)) for i in range(8)]
    with server.http() as client:

        def submit(value: str) -> str:
            accepted = client.post("/v1/models/echo/tasks", json={"input": value})
            assert accepted.status_code == 202, accepted.text
            return accepted.headers["location"]

        def results(client: httpx.Client, places: list[str]) -> list[str]:
            tasks = [client.get(place, params={"wait": "60s"}).json() for place in places]
            assert {task["status"] for task in tasks} == {"SUCCESS"}
            return [task["result"] for task in tasks]

        ended = [submit(value) for value in values]
        assert results(client, ended) == values
        queued = [submit(value) for value in values]
    server.kill()
    payloads = server.data_dir / "tasks.db.payloads"
    assert any(".in." in file.name for file in payloads.glob("*/*"))
    assert any(".out." in file.name for file in payloads.glob("*/*"))
    with serve(models).wait_ready().http() as client:
        assert results(client, ended) == values
        assert results(client, queued) == values
