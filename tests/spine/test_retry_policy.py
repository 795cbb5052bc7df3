"""A submit says how its task is tried again, and the real server does so, also after it was killed."""

from __future__ import annotations

from pathlib import Path

import cresset
import httpx
import numpy as np
from conftest import Serve
from support.models import PLUS_ONE_TOML, write_model
from support.server import LONG

#: Fails until the file that its input names is there.
FLAKY = """
from pathlib import Path

def predict(batch):
    for name in batch:
        if not Path(name).exists():
            raise TimeoutError("not there yet")
    return ["there" for _ in batch]
"""

BROKEN = """
def predict(batch):
    raise ValueError("never")
"""


def test_a_task_is_tried_again_as_its_submit_says_and_another_as_its_model_does(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "flaky", FLAKY)).wait_ready()
    missing = str(tmp_path / "missing")
    with cresset.Client(server.url) as client:
        own = client.submit("flaky", missing, retry=cresset.RetryPolicy(max_retries=2, delay=0.01, on=["TimeoutError"]))
        ended = own.wait(timeout=LONG)
        assert (ended.status, ended.retries, ended.attempts) == ("FAILURE", 2, 3)
        assert [entry.reason for entry in ended.history] == ["TimeoutError: not there yet"] * 2
        plain = client.submit("flaky", missing).wait(timeout=LONG)
        assert (plain.status, plain.retries, plain.retry) == ("FAILURE", 0, None)


def test_how_a_task_is_tried_again_outlives_kill_9(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "flaky", FLAKY)
    server = serve(folder).wait_ready()
    there = tmp_path / "there"
    policy = cresset.RetryPolicy(max_retries=1000, delay=0.2, max_delay=0.2, on=["*"])
    with cresset.Client(server.url) as client:
        handle = client.submit("flaky", str(there), retry=policy)
        server.wait(lambda http: http.get(f"/v1/tasks/{handle.id}").json()["retries"] > 0, "trying again")
        server.kill()
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        before = client.task(handle.id).status()
        assert before.retry == policy
        server.wait(lambda http: http.get(f"/v1/tasks/{handle.id}").json()["retries"] > before.retries, "trying again")
        there.touch()
        assert client.task(handle.id).result(timeout=LONG) == "there"


def test_it_goes_with_arrays_too(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "broken", BROKEN, PLUS_ONE_TOML)).wait_ready()
    with cresset.Client(server.url) as client:
        declared = client.model("broken").inputs[0]
        pixels = np.zeros(declared.shape, declared.dtype)
        handle = client.submit("broken", pixels, retry=cresset.RetryPolicy(max_retries=1, delay=0, on=["ValueError"]))
        ended = handle.wait(timeout=LONG)
        assert (ended.status, ended.retries) == ("FAILURE", 1)


def test_what_is_wrong_with_it_is_told(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path / "models", "flaky", FLAKY)).wait_ready()
    body = {"input": "x", "retry": {"max_retries": 5000, "delays": 1}}
    refused = httpx.post(f"{server.url}/v1/models/flaky/tasks", json=body)
    assert refused.status_code == 422
    errors = {error["field"]: error["message"] for error in refused.json()["errors"]}
    assert errors["retry.max_retries"] == "must be a whole number from 0 to 1000, not 5000"
    assert "did you mean `delay`?" in errors["retry.delays"]
