"""The soft time limit through the whole program: who is slow fails alone, and a model may give what it has by then."""

from __future__ import annotations

from pathlib import Path

import cresset
import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG

#: An input `slow` never ends, nor would `best`, but for what it has by then. Loads when there is a file `go`.
SLOW = """
import time
from pathlib import Path

import cresset

class Slow(cresset.Model):
    def load(self):
        while not Path("go").exists():
            time.sleep(0.01)

    def predict(self, batch):
        Path("sizes").open("a").write(f"{len(batch)}\\n")
        try:
            while "slow" in batch or "best" in batch:
                time.sleep(0.001)
        except cresset.SoftTimeout:
            if "slow" in batch:
                raise
            return ["so far"] * len(batch)
        return [item * 2 for item in batch]
"""

LIMITS = """
[limits]
soft_timeout = "300ms"
timeout = "30s"
"""


def test_one_slow_item_fails_alone_and_its_31_neighbours_succeed(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "slow", SLOW, LIMITS)
    server = serve(folder)
    with cresset.Client(server.url) as client:
        tasks = [client.submit("slow", "slow" if number == 13 else number) for number in range(32)]
        (folder / "go").touch()
        for number, task in enumerate(tasks):
            if number != 13:
                assert task.result(timeout=LONG) == number * 2
        slow = tasks[13].wait(LONG)
        assert slow.status == "FAILURE"
        assert slow.error is not None
        assert (slow.error.code, slow.error.type) == ("soft_timeout", "SoftTimeout")
        assert "had not ended after 0.3 s" in slow.error.message
        assert "its batch raised SoftTimeout and is run again in parts" in [again.reason for again in slow.history]
    assert server.metric("cresset_instance_restarts_total", model="slow") == 0
    assert server.metric("cresset_dead_letters_total", model="slow") == 0


def test_a_model_may_give_what_it_has(serve: Serve, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "models", "slow", SLOW, LIMITS)
    (folder / "go").touch()
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        assert client.submit("slow", "best").result(timeout=LONG) == "so far"
        assert client.predict("slow", "best") == "so far"
        with pytest.raises(cresset.PredictFailed) as failed:
            client.predict("slow", "slow")
        assert (failed.value.code, failed.value.status) == ("soft_timeout", 504)
        assert client.predict("slow", 4) == 8


def test_a_retry_policy_may_name_it(serve: Serve, tmp_path: Path) -> None:
    retry = '[retry]\non = ["SoftTimeout"]\nmax_retries = 2\ndelay = "10ms"\n'
    folder = write_model(tmp_path / "models", "slow", SLOW, LIMITS + retry)
    (folder / "go").touch()
    server = serve(folder).wait_ready()
    with cresset.Client(server.url) as client:
        task = client.submit("slow", "slow").wait(LONG)
    assert (task.status, task.retries) == ("FAILURE", 2)
    assert (folder / "sizes").read_text() == "1\n1\n1\n"
