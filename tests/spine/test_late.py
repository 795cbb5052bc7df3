"""A prediction that runs past its limit is answered with its task, goes on as that, and is not run twice."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cresset
import httpx
import pytest
from conftest import Serve
from support.models import write_model
from support.postgres import Database
from support.server import LONG, Server

#: Counts its runs, input by input, and ends them once there is a file `go`.
GATE = """
import time
from pathlib import Path

def predict(batch):
    with Path("runs").open("a") as runs:
        runs.writelines(f"{item}\\n" for item in batch)
    while not Path("go").exists():
        time.sleep(0.005)
    return [item * 2 for item in batch]
"""

ONE_BY_ONE = "[batching]\nmax_batch_size = 1\n"
PATH = "/v1/models/gate/predict"


def runs(folder: Path) -> list[int]:
    """The inputs that were run, in their order."""
    return [int(line) for line in (folder / "runs").read_text().split()]


def ask(http: httpx.Client, value: int, timeout: str | None = "100ms") -> httpx.Response:
    """Predicts within so long; `None` is as long as the model has."""
    limit = {} if timeout is None else {"timeout": timeout}
    return http.post(PATH, json={"input": value, **limit})


def ended(http: httpx.Client, location: str) -> dict[str, object]:
    """The task at its end."""
    task = http.get(location, params={"wait": f"{LONG:.0f}s"}).json()
    assert task["status"] == "SUCCESS", task
    return task


def test_one_that_runs_is_answered_with_its_task_and_is_run_once(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "gate", GATE)
    server = serve(folder).wait_ready()
    with server.http() as http:
        late = ask(http, 7)
        assert late.status_code == 202, late.text
        body = late.json()
        assert (body["status"], body["model"], body["durable"]) == ("STARTED", "gate", True)
        assert late.headers["location"] == f"/v1/tasks/{body['task_id']}"
        (folder / "go").touch()
        task = ended(http, late.headers["location"])
        assert (task["result"], task["attempts"]) == (14, 1)
        assert runs(folder) == [7]
        in_time = ask(http, 8, None)
        assert (in_time.status_code, in_time.json()["result"]) == (200, 16)
        assert "location" not in in_time.headers
        assert len(http.get("/v1/tasks").json()["tasks"]) == 1, "what was in time is stored nowhere"
    assert server.metric("cresset_predictions_total", model="gate", status="TASK") == 1


def test_the_client_says_which_task_it_is(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "gate", GATE)
    server = serve(folder).wait_ready()

    async def predict() -> str:
        async with cresset.AsyncClient(server.url) as client:
            with pytest.raises(cresset.TaskTimeout) as late:
                await client.predict("gate", 2, timeout=0.1)
            return late.value.task_id

    with cresset.Client(server.url) as client:
        with pytest.raises(cresset.TaskTimeout, match="goes on as task") as late:
            client.predict("gate", 1, timeout=0.1)
        tasks = [late.value.task_id, asyncio.run(predict())]
        (folder / "go").touch()
        assert [client.task(task).result(timeout=LONG) for task in tasks] == [2, 4]
    assert sorted(runs(folder)) == [1, 2]


def test_a_full_queue_refuses_those_that_wait(serve: Serve, tmp_path: Path) -> None:
    limits = ONE_BY_ONE + "[limits]\nmax_queue = 1\n"
    folder = write_model(tmp_path / "models", "gate", GATE, limits)
    server = serve(folder).wait_ready()
    with server.http() as http, ThreadPoolExecutor(8) as pool:
        delayed = http.post("/v1/models/gate/tasks", json={"input": 99, "countdown": "1h"})
        assert delayed.status_code == 202, delayed.text
        first = ask(http, 0)
        late = list(pool.map(ask, [http] * 6, range(1, 7)))
        # One may have been given to the process, to be run next: that takes no room in the queue.
        accepted = [first, *(answer for answer in late if answer.status_code == 202)]
        refused = [answer for answer in late if answer.status_code != 202]
        assert [answer.json()["status"] for answer in accepted] == ["STARTED"] * len(accepted)
        assert len(refused) >= 5
        for answer in refused:
            problem = answer.json()
            assert (answer.status_code, problem["code"]) == (504, "predict_timeout")
            assert "could not become a task" in problem["detail"]
            assert "limits.max_queue" in problem["detail"]
        (folder / "go").touch()
        for answer in accepted:
            assert ended(http, answer.headers["location"])["attempts"] == 1
    assert len(runs(folder)) == len(accepted), "each that was accepted, once, and no other"


def killed_and_back(server: Server, again: Server, folder: Path, late: list[httpx.Response]) -> None:
    """What was answered before a kill has its result after it."""
    (folder / "go").touch()
    again.wait_ready()
    with again.http() as http:
        for number, answer in enumerate(late):
            task = ended(http, answer.headers["location"])
            assert task["result"] == number * 2
    assert server.process.poll() is not None


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_after_the_answer_loses_nothing(
    serve: Serve, tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    flags: list[str] = []
    if kind == "postgresql":
        database: Database = request.getfixturevalue("database")
        flags = ["--store", database.url]
    folder = write_model(tmp_path / "models", "gate", GATE, ONE_BY_ONE)
    server = serve(folder, *flags).wait_ready()
    with server.http() as http:
        late = [ask(http, value) for value in range(3)]
        assert [answer.status_code for answer in late] == [202] * 3
        assert late[0].json()["status"] == "STARTED"
        assert late[2].json()["status"] == "PENDING"
    server.kill()
    killed_and_back(server, serve(folder, *flags), folder, late)


def test_a_model_may_refuse_late_predictions_or_store_them_from_the_start(serve: Serve, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for mode in ("refused", "stored"):
        write_model(models, mode, GATE, f'[limits]\nlate_predictions = "{mode}"\n')
    server = serve(models).wait_ready()
    with server.http() as http:
        refused = http.post("/v1/models/refused/predict", json={"input": 1, "timeout": "100ms"})
        assert (refused.status_code, refused.json()["code"]) == (504, "predict_timeout")
        stored = http.post("/v1/models/stored/predict", json={"input": 1, "timeout": "100ms"})
        assert stored.status_code == 202
        assert [task["model"] for task in http.get("/v1/tasks").json()["tasks"]] == ["stored"]
        for mode in ("refused", "stored"):
            (models / mode / "go").touch()
        ended(http, stored.headers["location"])


def test_a_key_makes_it_safe_to_ask_again(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "gate", GATE)
    server = serve(folder).wait_ready()
    body = {"input": 5, "timeout": "100ms"}
    with server.http() as http:
        places = set()
        for replayed in (None, "true"):
            late = http.post(PATH, json=body, headers={"idempotency-key": "k"})
            assert (late.status_code, late.headers.get("idempotency-replayed")) == (202, replayed)
            places.add(late.headers["location"])
        (folder / "go").touch()
        (place,) = places
        ended(http, place)
        done = http.post(PATH, json={**body, "timeout": "20s"}, headers={"idempotency-key": "k"})
        assert (done.status_code, done.json()["result"]) == (200, 10)
    assert runs(folder) == [5]


def test_callers_who_hang_up_before_the_limit_are_dropped(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "gate", GATE, ONE_BY_ONE)
    server = serve(folder).wait_ready()
    with server.http() as http:
        first = ask(http, 0)
        gone = threading.Event()

        def hang_up() -> None:
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(server.url + PATH, json={"input": 9}, timeout=0.2)
            gone.set()

        thread = threading.Thread(target=hang_up)
        thread.start()
        thread.join(LONG)
        assert gone.is_set()
        (folder / "go").touch()
        ended(http, first.headers["location"])
        assert len(http.get("/v1/tasks").json()["tasks"]) == 1
