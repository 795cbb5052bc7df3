"""A canary finds out what no process tells: that a model which is up answers nothing right."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
from conftest import Serve
from support.models import PLUS_ONE_TOML, write_model
from support.server import LONG, program

FRAIL = """
from pathlib import Path

def predict(batch):
    if Path("broken").exists():
        raise RuntimeError("the device computes nonsense")
    return batch
"""
CANARY = """
[health]
canary = "canary.json"
interval = "1s"
"""


def test_a_model_that_fails_its_canary_is_not_ready_until_it_answers_again(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "frail", FRAIL, CANARY)
    (model / "canary.json").write_text('{"text": "hello"}')
    server = serve(model).wait_ready()
    (model / "broken").touch()

    def is_ill(client: httpx.Client) -> bool:
        health = client.get("/health/ready")
        [of_model] = health.json()["models"]
        return health.status_code == 503 and "the device computes nonsense" in (of_model["reason"] or "")

    server.wait(is_ill, "told by its canary")
    with server.http() as client:
        health = client.get("/health/ready").json()
        assert (health["state"], health["models"][0]["state"]) == ("degraded", "degraded")
    server.wait_log(lambda text: "does not answer its canary" in text, "what the canary found")
    (model / "broken").unlink()
    server.wait_ready()


def test_a_canary_that_is_no_input_of_its_model_ends_the_start_with_words(serve: Serve, tmp_path: Path) -> None:
    model = write_model(tmp_path / "models", "plus", "def predict(x):\n    return x\n", PLUS_ONE_TOML + CANARY)
    (model / "canary.json").write_text("[1, 2, 3]")
    for command in (["check", str(model)], ["serve", str(model), "--data-dir", str(tmp_path / "data")]):
        done = subprocess.run(
            [str(program()), *command], capture_output=True, text=True, timeout=LONG, check=False, cwd=tmp_path
        )
        assert done.returncode == 65, done.stderr
        assert "the canary of `plus`" in done.stderr
        assert "canary.json" in done.stderr
