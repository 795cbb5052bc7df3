"""The main job: submit, poll, result; predict; batches; the command line and the Python client."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cresset
import pytest
from conftest import Serve
from support.models import ECHO, PLUS_ONE, PLUS_ONE_TOML, write_model
from support.server import LONG, Server, as_json, run_cli


@pytest.fixture(scope="module")
def plus_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A served tensor model that adds one, for all tests that leave nothing behind but ended tasks."""
    folder = tmp_path_factory.mktemp("main-job")
    models = write_model(folder / "models", "plus-one", PLUS_ONE, PLUS_ONE_TOML)
    (folder / "data").mkdir()
    server = Server(models, folder / "data")
    try:
        yield server.wait_ready()
    finally:
        server.close()


def test_a_task_is_accepted_polled_and_answered(plus_one: Server) -> None:
    with plus_one.http() as client:
        body = {"input": [1, 2, 3, 4], "metadata": {"order": 7}}
        accepted = client.post("/v1/models/plus-one/tasks", json=body)
        assert accepted.status_code == 202, accepted.text
        task_id = accepted.json()["task_id"]
        assert accepted.headers["location"] == f"/v1/tasks/{task_id}"
        task = client.get(f"/v1/tasks/{task_id}", params={"wait": "30s"}).json()
    assert task["status"] == "SUCCESS", task
    assert task["result"] == [2, 3, 4, 5]
    assert task["metadata"] == {"order": 7}
    assert task["attempts"] == 1
    assert task["created_at"] <= task["started_at"] <= task["finished_at"]


def test_predict_answers_at_once(plus_one: Server) -> None:
    with plus_one.http() as client:
        answer = client.post("/v1/models/plus-one/predict", json={"input": {"x": [0, 0.5, 1, -1]}})
    assert answer.status_code == 200, answer.text
    assert answer.json()["result"] == [1, 1.5, 2, 0]


def test_concurrent_requests_share_batches(plus_one: Server) -> None:
    def size(of: str) -> float:
        return plus_one.metric(f"cresset_batch_size_{of}", model="plus-one")

    before = {of: size(of) for of in ("count", "sum")}
    with plus_one.http() as client, ThreadPoolExecutor(64) as pool:

        def ask(i: int) -> list[float]:
            path = "/v1/models/plus-one/predict"
            return client.post(path, json={"input": [i, i, i, i]}).raise_for_status().json()["result"]

        answers = list(pool.map(ask, range(400)))
    assert answers == [[i + 1] * 4 for i in range(400)]
    assert size("count") - before["count"] < 400
    assert size("sum") - before["sum"] == 400


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/v1/tasks/0192f0c1-0000-7000-8000-000000000000", None, 404, "unknown_task"),
        ("POST", "/v1/models/plus-on/tasks", b'{"input":[1,2,3,4]}', 404, "unknown_model"),
        ("POST", "/v1/models/plus-one/tasks", b'{"input":[1,2,3', 400, "malformed_body"),
        ("POST", "/v1/models/plus-one/tasks", b'{"input":[1,2,3]}', 422, "invalid_input"),
        ("POST", "/v1/models/plus-one/tasks", b'{"input":[1,2,3,4],"prioritee":1}', 422, "invalid_input"),
        ("POST", "/v1/models/plus-one/predict", b'{"input":[1,2,"x",4]}', 422, "invalid_input"),
        ("GET", "/v1/nothing", None, 404, "unknown_route"),
        ("DELETE", "/v1/models", None, 405, "method_not_allowed"),
    ],
)
def test_every_error_is_a_problem_with_a_stable_code(
    plus_one: Server, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    headers = {"content-type": "application/json"} if body else {}
    with plus_one.http() as client:
        answer = client.request(method, path, content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_model_is_answered_with_the_nearest_name(plus_one: Server) -> None:
    with plus_one.http() as client:
        detail = client.post("/v1/models/plus_one/predict", json={"input": [1, 2, 3, 4]}).json()["detail"]
    assert "plus-one" in detail


def test_a_body_over_the_limit_is_refused(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, env={"CRESSET_MAX_BODY_BYTES": "2048"}).wait_ready()
    with server.http() as client:
        answer = client.post("/v1/models/echo/tasks", json={"input": "x" * 4000})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_a_full_queue_says_when_to_come_back(serve: Serve, tmp_path: Path) -> None:
    settings = PLUS_ONE_TOML + "\n[batching]\nmax_batch_size = 1\n[limits]\nmax_queue = 2\n"
    server = serve(write_model(tmp_path / "models", "plus-one", PLUS_ONE, settings)).wait_ready()
    with server.http() as client:
        answers = [client.post("/v1/models/plus-one/tasks", json={"input": [-1, 0, 0, 0]}) for _ in range(8)]
    refused = [a for a in answers if a.status_code == 429]
    assert refused, [a.status_code for a in answers]
    assert refused[0].json()["code"] == "queue_full"
    assert int(refused[0].headers["retry-after"]) >= 1


def test_the_command_line_submits_and_reads(plus_one: Server) -> None:
    url = ["--url", plus_one.url]
    done = run_cli("submit", "plus-one", "--json", "[1,2,3,4]", "--wait", *url)
    assert as_json(done.stdout) == [2, 3, 4, 5]
    listing = as_json(run_cli("models", "--json", *url).stdout)
    assert "plus-one" in str(listing)
    missing = run_cli("status", "0192f0c1-0000-7000-8000-000000000000", *url, check=False)
    assert missing.returncode != 0
    assert "no task" in missing.stderr


def test_bulk_writes_results_in_input_order(plus_one: Server, tmp_path: Path) -> None:
    lines = "".join(f"[{i}, 0, 0, 0]\n" for i in range(500))
    done = run_cli("submit", "plus-one", "--jsonl", "-", "--url", plus_one.url, stdin=lines)
    results = [as_json(line)["result"][0] for line in done.stdout.splitlines()]
    assert results == [i + 1 for i in range(500)]


def test_the_python_client_submits_maps_and_raises(plus_one: Server) -> None:
    with cresset.Client(plus_one.url) as client:
        handle = client.submit("plus-one", [1, 2, 3, 4])
        assert handle.result(timeout=LONG) == [2, 3, 4, 5]
        assert handle.status().status == "SUCCESS"
        assert list(client.map("plus-one", [[i, 0, 0, 0] for i in range(100)])) == [
            [i + 1, 1, 1, 1] for i in range(100)
        ]
        with pytest.raises(cresset.InvalidInput):
            client.predict("plus-one", [1, 2])


def test_numpy_and_torch_go_in_and_come_out(plus_one: Server) -> None:
    import numpy as np
    import torch

    with cresset.Client(plus_one.url) as client:
        out = client.predict("plus-one", np.arange(4, dtype=np.float32), as_="numpy")
        assert isinstance(out, np.ndarray)
        np.testing.assert_array_equal(out, [1, 2, 3, 4])
        out = client.predict("plus-one", torch.arange(4, dtype=torch.float32), as_="torch")
        assert isinstance(out, torch.Tensor)
        assert out.tolist() == [1.0, 2.0, 3.0, 4.0]


def test_probes_and_listings_tell_the_truth(plus_one: Server) -> None:
    with plus_one.http() as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200
        model = client.get("/v1/models/plus-one").json()
        assert model["inputs"] == [{"name": "x", "dtype": "float32", "shape": [4]}]
        assert client.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_results_expire_and_their_ids_are_remembered(serve: Serve, tmp_path: Path) -> None:
    models = write_model(tmp_path / "models", "echo", ECHO)
    server = serve(models, env={"CRESSET_RESULT_TTL": "1s"}).wait_ready()
    with server.http() as client:
        task_id = client.post("/v1/models/echo/tasks", json={"input": 1}).json()["task_id"]
        assert client.get(f"/v1/tasks/{task_id}?wait=30s").json()["result"] == 1
        server.wait(lambda c: c.get(f"/v1/tasks/{task_id}").status_code == 410, "rid of the task")
        assert client.get(f"/v1/tasks/{task_id}").json()["code"] == "expired_task"
