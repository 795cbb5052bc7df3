"""Models on a real GPU: the same answers as the CPU gives, and trouble that stays where it began.

Skipped, in print, where torch finds no CUDA device. What needs no device is held to a stand-in by the Python package's
own tests.
"""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Serve
from support.models import write_model
from support.server import LONG


@pytest.fixture(scope="module", autouse=True)
def device() -> None:
    """Skips where there is none. Asked in a process of its own: the one that runs the tests holds no context on it."""
    command = [sys.executable, "-c", "import torch; print(torch.cuda.is_available())"]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False)
    if asked.stdout.strip() != "True":
        pytest.skip("torch finds no CUDA device")


#: Weights from a seed, in double precision, so that the test can compute them again on the CPU.
MODEL = """
import torch
from cresset import Model

def weights():
    torch.manual_seed(7)
    return torch.randn(16, 16, dtype=torch.float64)

class Matrix(Model):
    def load(self):
        self.weight = weights().to(self.device, torch.float32)

    def predict(self, x):
        assert x.is_cuda
        return x @ self.weight
"""
TENSORS = """
[[inputs]]
name = "x"
dtype = "float32"
shape = {shape}

[[outputs]]
name = "y"
dtype = "float32"
shape = {shape}

[batching]
max_batch_size = 32

[instances]
count = {count}
devices = ["cuda:0"]
"""
REFERENCE = """
import json, sys, torch
torch.manual_seed(7)
weight = torch.randn(16, 16, dtype=torch.float64)
rows = torch.tensor(json.load(sys.stdin), dtype=torch.float64)
json.dump((rows @ weight).tolist(), sys.stdout)
"""
OCTETS = {"Content-Type": "application/octet-stream", "Accept": "application/octet-stream"}


def near(got: list[float], want: list[float]) -> bool:
    """Within what float32, or tf32 where torch chooses it, rounds off sixteen products."""
    size = max(map(abs, want))
    return all(abs(a - b) <= 5e-3 * max(size, 1.0) for a, b in zip(got, want, strict=True))


def expected(rows: list[list[float]]) -> list[list[float]]:
    """What the model answers, computed on the CPU in double precision."""
    import json

    done = subprocess.run(
        [sys.executable, "-c", REFERENCE],
        input=json.dumps(rows),
        capture_output=True,
        text=True,
        timeout=LONG,
        check=True,
    )
    answer: list[list[float]] = json.loads(done.stdout)
    return answer


def test_many_callers_each_get_their_own_rows_answer(serve: Serve, tmp_path: Path) -> None:
    settings = TENSORS.format(shape="[16]", count=2)
    server = serve(write_model(tmp_path / "models", "matrix", MODEL, settings)).wait_ready()
    dice = random.Random(3)
    rows = [[float(round(dice.gauss(0, 1) * 64) / 64) for _ in range(16)] for _ in range(4096)]
    want = expected(rows)
    with server.http() as client, ThreadPoolExecutor(64) as pool:

        def ask(number: int) -> list[float]:
            if number % 2:
                answer = client.post("/v1/models/matrix/predict", json={"input": rows[number]})
                assert answer.status_code == 200, answer.text
                result: list[float] = answer.json()["result"]
                return result
            body = struct.pack("<16f", *rows[number])
            answer = client.post("/v1/models/matrix/predict", content=body, headers=OCTETS)
            assert answer.status_code == 200, answer.text
            return list(struct.unpack("<16f", answer.content))

        for got, right in zip(pool.map(ask, range(len(rows))), want, strict=True):
            assert near(got, right)
        # Not each by itself: batches formed.
        assert server.metric("cresset_batch_size_count", model="matrix") < len(rows)
    assert "cannot be pinned" not in server.log


def test_inputs_that_outgrow_the_shared_memory_get_more_of_it(serve: Serve, tmp_path: Path) -> None:
    model = "import torch\n\ndef predict(x):\n    assert x.is_cuda\n    return x * 2\n"
    settings = TENSORS.format(shape="[-1]", count=1)
    server = serve(write_model(tmp_path / "models", "double", model, settings)).wait_ready()
    with server.http() as client:
        for length in (8, 100_000, 3, 2_000_000, 5):
            values = [float(i % 97) for i in range(length)]
            body = struct.pack(f"<{length}f", *values)
            headers = {**OCTETS, "Cresset-Shape": str(length)}
            answer = client.post("/v1/models/double/predict", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
            assert list(struct.unpack(f"<{length}f", answer.content)) == [2 * v for v in values]
    assert "cannot be pinned" not in server.log


def test_one_item_that_breaks_the_device_fails_alone(serve: Serve, tmp_path: Path) -> None:
    model = """
    import torch

    def predict(x):
        # Outside the table the kernel asserts, and the context is lost for good.
        table = torch.arange(10, device=x.device, dtype=torch.float32)
        return table[x[:, 0].long()].unsqueeze(1).expand(-1, 16) + x * 0
    """
    settings = TENSORS.format(shape="[16]", count=1)
    server = serve(write_model(tmp_path / "models", "table", model, settings)).wait_ready()
    with server.http() as client:
        places: dict[int, str] = {}
        for number in range(24):
            at = 999 if number == 13 else number % 10
            accepted = client.post("/v1/models/table/tasks", json={"input": [at] + [0] * 15})
            assert accepted.status_code == 202, accepted.text
            places[number] = accepted.headers["location"]
        for number, place in places.items():
            task = client.get(place, params={"wait": "60s"}).json()
            if number == 13:
                assert task["status"] == "FAILURE", task
                assert "device-side assert" in task["error"]["message"] or "died" in task["error"]["message"], task
            else:
                assert task["status"] == "SUCCESS", task
                assert task["result"] == [number % 10] * 16
    assert server.metric("cresset_instance_restarts_total", model="table") >= 1


def test_one_item_that_takes_all_the_devices_memory_fails_alone(serve: Serve, tmp_path: Path) -> None:
    model = """
    import torch

    def predict(x):
        if bool((x[:, 0] < 0).any()):
            torch.empty(1 << 42, dtype=torch.uint8, device=x.device)
        return x + 1
    """
    settings = TENSORS.format(shape="[16]", count=1)
    server = serve(write_model(tmp_path / "models", "greedy", model, settings)).wait_ready()
    [pid] = server.instance_pids("greedy")
    with server.http() as client, ThreadPoolExecutor(16) as pool:

        def ask(number: int) -> tuple[int, int]:
            value = -1.0 if number == 5 else float(number)
            answer = client.post("/v1/models/greedy/predict", json={"input": [value] * 16})
            if answer.status_code == 200:
                assert answer.json()["result"] == [value + 1] * 16
            return number, answer.status_code

        answers = dict(pool.map(ask, range(64)))
    assert {number for number, status in answers.items() if status != 200} == {5}
    assert server.instance_pids("greedy") == [pid], "out of memory is no reason to start anew"


def test_kill_9_of_an_instance_on_the_device_loses_no_task(serve: Serve, tmp_path: Path) -> None:
    settings = TENSORS.format(shape="[16]", count=2) + '\n[limits]\npredict_timeout = "5m"\n'
    server = serve(write_model(tmp_path / "models", "matrix", MODEL, settings)).wait_ready()
    rows = [[float((i * j) % 7) for j in range(16)] for i in range(600)]
    want = expected(rows)
    with server.http() as client, ThreadPoolExecutor(32) as pool:

        def ask(number: int) -> list[float]:
            if number == 200:
                os.kill(server.instance_pids("matrix")[0], signal.SIGKILL)
            accepted = client.post("/v1/models/matrix/tasks", json={"input": rows[number]})
            assert accepted.status_code == 202, accepted.text
            task = client.get(accepted.headers["location"], params={"wait": "60s"}).json()
            assert task["status"] == "SUCCESS", task
            result: list[float] = task["result"]
            return result

        for got, right in zip(pool.map(ask, range(len(rows))), want, strict=True):
            assert near(got, right)
