"""Tasks and predictions that nobody wants any more while they run: what the model sees, what it costs the others."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import cresset
import httpx
import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG, Server

#: Loads when there is a file `go`, so that a test decides what is in the first batch. An input `endless` is worked at
#: until it is cancelled, in steps; `begun` and `stopped` are files that say how far it came.
ATTENTIVE = """
import time
from pathlib import Path

import cresset

class Attentive(cresset.Model):
    def load(self):
        while not Path("go").exists():
            time.sleep(0.01)

    def predict(self, batch):
        if "endless" in batch:
            Path("begun").touch()
            at = batch.index("endless")
            until = time.monotonic() + 60
            while time.monotonic() < until:
                if cresset.current().cancelled_items[at]:
                    Path("stopped").touch()
                    raise cresset.Cancelled
                time.sleep(0.005)
        return [len(batch)] * len(batch)
"""

#: The same, but it does not look.
DEAF = ATTENTIVE.replace("cresset.current().cancelled_items[at]", "False")


def begun(server: Server, folder: Path) -> None:
    server.wait(lambda _: (folder / "begun").exists(), "running the endless one")


def reasons(task: cresset.TaskStatus) -> list[str]:
    return [again.reason for again in task.history]


def test_a_model_that_looks_stops_early_and_the_others_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "attentive", ATTENTIVE)
    server = serve(folder)
    with cresset.Client(server.url) as client:
        endless, mate = client.submit("attentive", "endless"), client.submit("attentive", 1)
        (folder / "go").touch()
        begun(server, folder)
        assert endless.cancel() == cresset.Cancellation(endless.id, "REVOKED", "during", timedelta(seconds=30))
        assert mate.result(timeout=LONG) == 1, "it ran again, alone"
        assert (folder / "stopped").exists()
        assert mate.status().attempts == 2
        assert reasons(mate.status()) == ["others of its batch were cancelled, and the model gave the batch up"]
        assert endless.status().status == "REVOKED"
    assert server.metric("cresset_instance_restarts_total", model="attentive") == 0


def test_a_model_that_does_not_look_is_killed_after_its_grace(serve: Serve, tmp_path: Path) -> None:
    settings = '[limits]\ncancel_grace = "300ms"\nmax_attempts = 1\n'
    folder = write_model(tmp_path / "models", "deaf", DEAF, settings)
    server = serve(folder)
    with cresset.Client(server.url) as client:
        endless, mate = client.submit("deaf", "endless"), client.submit("deaf", 1)
        (folder / "go").touch()
        begun(server, folder)
        assert endless.cancel().grace == timedelta(milliseconds=300)
        assert mate.result(timeout=LONG) == 1
        assert reasons(mate.status()) == [
            "the model process did not let go of a cancelled task within 300ms and was killed"
        ]
        assert endless.status().status == "REVOKED"
    assert server.metric("cresset_instance_restarts_total", model="deaf", reason="cancelled") == 1
    assert server.metric("cresset_dead_letters_total", model="deaf") == 0
    server.wait_log(lambda text: "killed for a cancelled task" in text, "why the instance was killed")


def test_a_task_past_its_deadline_is_stopped_and_one_that_waits_is_not_begun(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "attentive", ATTENTIVE, "[batching]\nmax_batch_size = 1\n")
    (folder / "go").touch()
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        endless = client.submit("attentive", "endless", deadline=2)
        begun(server, folder)
        client.submit("attentive", 0)  # stands in the seat behind the endless one
        server.wait(lambda c: c.get("/v1/models/attentive").json()["running"] == 2, "holding both")
        waits = client.submit("attentive", 1, deadline=timedelta(milliseconds=200))
        for handle, attempts, why in ((waits, 0, "it expired"), (endless, 1, "its deadline passed while it ran")):
            task = handle.wait(LONG)
            assert (task.status, task.attempts) == ("REVOKED", attempts)
            assert task.error is not None
            assert why in task.error.message
            assert task.deadline_at == task.expires_at
        server.wait(lambda _: (folder / "stopped").exists(), "told of the deadline")
        assert client.submit("attentive", 2, deadline=LONG).result(LONG) == 1


def test_a_model_sees_that_the_caller_of_a_prediction_has_hung_up(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "attentive", ATTENTIVE)
    (folder / "go").touch()
    server = serve(folder).wait_ready()
    url = f"{server.url}/v1/models/attentive/predict"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json={"input": "endless"}, timeout=httpx.Timeout(LONG, read=0.5))
    server.wait(lambda _: (folder / "stopped").exists(), "stopping for a caller that has gone")
    assert httpx.post(url, json={"input": 1}, timeout=LONG).json()["result"] == 1
    assert server.metric("cresset_instance_restarts_total", model="attentive") == 0
