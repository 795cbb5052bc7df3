"""Models that misbehave: each gives operator and caller a clear error, and the others are served on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Serve
from support.models import ECHO, PLUS_ONE_TOML, write_model
from support.server import Server

QUICK = """
[limits]
timeout = "1s"
max_attempts = 2
"""


def outcome(server: Server, model: str, value: Any) -> dict[str, Any]:
    """Submits one task and waits for its end."""
    with server.http() as client:
        accepted = client.post(f"/v1/models/{model}/tasks", json={"input": value})
        assert accepted.status_code == 202, accepted.text
        return client.get(accepted.headers["location"], params={"wait": "60s"}).json()


def others_are_served(server: Server) -> None:
    """The healthy neighbour answers."""
    with server.http() as client:
        assert client.post("/v1/models/healthy/predict", json={"input": "hello"}).json()["result"] == "hello"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder of models, with a healthy one in it."""
    write_model(tmp_path / "models", "healthy", ECHO)
    return tmp_path / "models"


def test_a_model_that_prints_is_quoted_in_the_log_and_breaks_nothing(serve: Serve, models: Path) -> None:
    code = """
    import logging, os, sys

    def predict(batch):
        print("printed by the model")
        sys.stdout.write("no newline")
        logging.getLogger("mine").warning("logged by the model")
        os.write(1, b"raw bytes \\xff on descriptor one\\n")
        return batch
    """
    write_model(models, "prints", code)
    server = serve(models).wait_ready()
    assert outcome(server, "prints", 5)["result"] == 5
    line = server.wait_log(lambda text: "printed by the model" in text, "what the model printed")
    assert "prints" in line and "instance" in line
    server.wait_log(lambda text: "logged by the model" in text, "what the model logged")
    assert outcome(server, "prints", 6)["result"] == 6
    others_are_served(server)


def test_a_model_that_exits_fails_its_task_with_the_status(serve: Serve, models: Path) -> None:
    code = """
    import os

    def predict(batch):
        if "die" in batch:
            os._exit(3)
        return batch
    """
    write_model(models, "exits", code, QUICK)
    server = serve(models).wait_ready()
    task = outcome(server, "exits", "die")
    assert task["status"] == "FAILURE", task
    assert task["error"]["code"] == "instance_died"
    assert "status 3" in task["error"]["message"]
    assert outcome(server, "exits", "live")["result"] == "live"
    assert server.metric("cresset_instance_restarts_total", model="exits", reason="exit") == 2
    others_are_served(server)


def test_a_model_that_sleeps_for_ever_is_killed_at_its_limit(serve: Serve, models: Path) -> None:
    code = """
    import time

    def predict(batch):
        if "sleep" in batch:
            time.sleep(1e6)
        return batch
    """
    write_model(models, "sleeps", code, QUICK)
    server = serve(models).wait_ready()
    task = outcome(server, "sleeps", "sleep")
    assert task["error"]["code"] == "time_limit", task
    assert outcome(server, "sleeps", "wake")["result"] == "wake"
    assert server.metric("cresset_instance_restarts_total", model="sleeps", reason="hung") == 2
    others_are_served(server)


def test_a_model_that_returns_nan_fails_only_that_item(serve: Serve, models: Path) -> None:
    code = """
    def predict(x):
        y = x.clone()
        y[x[:, 0] < 0, 2] = float("nan")
        return y
    """
    write_model(models, "nan", code, PLUS_ONE_TOML)
    server = serve(models).wait_ready()
    task = outcome(server, "nan", [-1, 0, 0, 0])
    assert task["error"]["code"] == "non_finite_output", task
    assert "`y`" in task["error"]["message"] and "[2]" in task["error"]["message"]
    assert outcome(server, "nan", [1, 0, 0, 0])["result"] == [1, 0, 0, 0]
    others_are_served(server)


def test_a_model_that_returns_the_wrong_shape_is_told_both_shapes(serve: Serve, models: Path) -> None:
    write_model(models, "shape", "def predict(x):\n    return x[:, :3].contiguous()\n", PLUS_ONE_TOML)
    server = serve(models).wait_ready()
    task = outcome(server, "shape", [1, 2, 3, 4])
    assert task["error"]["code"] == "bad_output", task
    assert "[3]" in task["error"]["message"] and "[4]" in task["error"]["message"]
    with server.http() as client:
        answer = client.post("/v1/models/shape/predict", json={"input": [1, 2, 3, 4]})
    assert (answer.status_code, answer.json()["code"]) == (500, "bad_output")
    others_are_served(server)


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("import-fails", 'raise RuntimeError("no licence file")\n', "no licence file"),
        ("missing-dependency", "import not_installed_anywhere\n", "not_installed_anywhere"),
        ("syntax-error", "def predict(batch)\n    return batch\n", "SyntaxError"),
        ("no-model", "x = 1\n", "predict"),
        (
            "load-fails",
            """
            import cresset

            class M(cresset.Model):
                def load(self):
                    raise OSError("weights are gone")

                def predict(self, batch):
                    return batch
            """,
            "weights are gone",
        ),
    ],
)
def test_a_model_that_cannot_start_says_why(serve: Serve, models: Path, name: str, code: str, says: str) -> None:
    write_model(models, name, code)
    server = serve(models)
    server.wait_log(lambda text: says in text and name in text, f"why {name} does not start")

    def failed(client: httpx.Client) -> bool:
        models = client.get("/health/ready").json()["models"]
        return any(m["name"] == name and m["state"] == "failed" for m in models)

    server.wait(failed, "truthful about the failed model")
    with server.http() as client:
        assert client.get("/health/ready").status_code == 503
        for route in ("tasks", "predict"):
            answer = client.post(f"/v1/models/{name}/{route}", json={"input": 1})
            assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable"), answer.text
            assert says in answer.json()["detail"]
    server.wait(
        lambda c: c.post("/v1/models/healthy/predict", json={"input": 1}).status_code == 200, "serving the other"
    )
    others_are_served(server)


def test_an_exception_fails_its_item_with_type_and_message(serve: Serve, models: Path) -> None:
    code = """
    import cresset

    class Picky(cresset.Model):
        def preprocess(self, payload):
            return int(payload)

        def predict(self, batch):
            if 13 in batch:
                raise ValueError("thirteen is right out")
            return [n * 2 for n in batch]
    """
    write_model(models, "picky", code)
    server = serve(models, "--show-tracebacks").wait_ready()
    with server.http() as client:
        inputs = ["1", "x", "13", "4"]
        places = [client.post("/v1/models/picky/tasks", json={"input": i}).headers["location"] for i in inputs]
        tasks = [client.get(place, params={"wait": "60s"}).json() for place in places]
    assert [t["status"] for t in tasks] == ["SUCCESS", "FAILURE", "FAILURE", "SUCCESS"]
    assert [t["result"] for t in (tasks[0], tasks[3])] == [2, 8]
    assert tasks[1]["error"]["type"] == "ValueError"
    assert tasks[1]["error"]["stage"] == "preprocess"
    assert tasks[2]["error"]["message"] == "thirteen is right out"
    assert "model.py" in tasks[2]["error"]["traceback"]


def test_a_pickled_module_is_refused_with_what_it_wanted(serve: Serve, models: Path) -> None:
    import torch

    code = """
    import cresset

    class Pickled(cresset.Model):
        def load(self):
            self.net = self.load_weights("net.pt")

        def predict(self, x):
            return self.net(x)
    """
    folder = write_model(models, "pickled", code, PLUS_ONE_TOML)
    torch.save(torch.nn.Linear(4, 4), folder / "net.pt")
    server = serve(models)
    line = server.wait_log(lambda text: "allow_pickle" in text, "how to allow the pickle")
    assert "pickled" in line
    assert "torch.nn.modules.linear.Linear" in server.log
    toml = folder / "model.toml"
    toml.write_text("allow_pickle = true\n" + toml.read_text())
    server.stop()
    trusted = serve(models, data="trusted").wait_ready()
    assert outcome(trusted, "pickled", [1, 2, 3, 4])["status"] == "SUCCESS"
