"""Named tensors as bytes, from this client and from the format's own library, through a real model and back."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import cresset
import numpy as np
import pytest
import torch
from conftest import Serve
from safetensors.torch import load, save
from support.models import write_model
from support.server import Server

MEDIA = {"content-type": "application/x-safetensors", "accept": "application/vnd.safetensors"}

CODE = """
def predict(batch):
    weights, count = batch["weights"], batch["count"]
    if int(count.min()) < 0:
        raise ValueError("a count below zero")
    return {"scaled": weights * count.view(-1, 1), "more": count + 1}
"""

TOML = """
[[inputs]]
name = "weights"
dtype = "bfloat16"
shape = [-1]

[[inputs]]
name = "count"
dtype = "int64"
shape = []

[[outputs]]
name = "scaled"
dtype = "bfloat16"
shape = [-1]
allow_non_finite = true

[[outputs]]
name = "more"
dtype = "int64"
shape = []
"""


@pytest.fixture
def scale(serve: Serve, tmp_path: Path) -> Server:
    """A served model of two inputs and two outputs."""
    return serve(write_model(tmp_path / "models", "scale", CODE, TOML)).wait_ready()


def weights() -> torch.Tensor:
    """JSON could carry neither the NaN nor, exactly, the type."""
    return torch.tensor([0.5, math.nan, -3.0], dtype=torch.bfloat16)


def test_files_of_the_formats_own_library_go_in_and_come_out(scale: Server) -> None:
    content = save({"count": torch.tensor(2), "weights": weights()}, metadata={"by": "test"})
    with scale.http() as client:
        answer = client.post("/v1/models/scale/predict", content=content, headers=MEDIA)
        assert answer.status_code == 200, answer.text
        accepted = client.post("/v1/models/scale/tasks?priority=2", content=content, headers=MEDIA).json()
        kept = client.get(f"/v1/tasks/{accepted['task_id']}/result?wait=30s", headers=MEDIA)
        wrong = save({"cuont": torch.tensor(2), "weights": weights().float()})
        problem = client.post("/v1/models/scale/predict", content=wrong, headers=MEDIA).json()
    for content in (answer.content, kept.content):
        result = load(content)
        assert list(result) == ["scaled", "more"] or set(result) == {"scaled", "more"}
        torch.testing.assert_close(result["scaled"], weights() * 2, equal_nan=True, rtol=0, atol=0)
        assert (result["more"].dtype, result["more"].item()) == (torch.int64, 3)
    assert answer.headers["cresset-model"] == kept.headers["cresset-model"] == "scale"
    assert [one["field"] for one in problem["errors"]] == ["input.cuont", "input.weights", "input.count"]


def test_the_client_sends_and_takes_several_arrays(scale: Server) -> None:
    with cresset.Client(scale.url) as client:
        out = client.predict("scale", {"weights": weights(), "count": 2}, as_="torch")
        torch.testing.assert_close(out["scaled"], weights() * 2, equal_nan=True, rtol=0, atol=0)
        handle = client.submit("scale", {"weights": weights(), "count": torch.tensor(4)}, metadata={"k": "größe"})
        out = handle.result(timeout=30, as_="numpy")
        np.testing.assert_array_equal(out["scaled"], np.array([2, np.nan, -12], np.float32))
        assert out["more"].dtype == np.int64
        assert handle.status().metadata == {"k": "größe"}
        bad = client.submit("scale", {"weights": weights(), "count": -1})
        with pytest.raises(cresset.TaskFailed, match="a count below zero") as failed:
            bad.result(timeout=30, as_="torch")
        assert failed.value.task.id == bad.id
        with pytest.raises(cresset.InvalidInput) as invalid:
            client.predict("scale", {"weights": weights().view(1, 3), "count": 2})
        assert [one.field for one in invalid.value.errors] == ["input.weights"]


def test_many_arrays_go_through_map_and_asyncio(scale: Server) -> None:
    inputs = [{"weights": torch.full((n % 3 + 1,), float(n)).bfloat16(), "count": n} for n in range(60)]
    wanted = [[float(n * n)] * (n % 3 + 1) for n in range(60)]
    exact = [torch.tensor(one).bfloat16().tolist() for one in wanted]
    with cresset.Client(scale.url) as client:
        assert [one["scaled"].tolist() for one in client.map("scale", inputs, as_="torch", timeout=60)] == exact

    async def run() -> list[list[float]]:
        async with cresset.AsyncClient(scale.url) as client:
            answers = [client.predict("scale", one, as_="numpy") for one in inputs]
            return [one["scaled"].tolist() for one in await asyncio.gather(*answers)]

    assert asyncio.run(run()) == exact
