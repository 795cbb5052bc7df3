"""Inputs of unequal length share batches: padded by the server, right for each item, and with little waste."""

from __future__ import annotations

from pathlib import Path

from conftest import Serve
from support.models import write_model

#: For each item: how many items its batch had, how wide the batch was, how many elements were no padding, their sum.
CODE = """
import torch

def predict(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    tokens, mask = batch["tokens"], batch["mask"]
    assert tokens.shape == mask.shape and tokens.dtype == torch.int64 and mask.dtype == torch.bool
    assert (tokens[~mask] == -1).all()
    count, width = tokens.shape
    size = torch.tensor([[count, width]]).expand(count, 2)
    return torch.cat([size, mask.sum(1, keepdim=True), (tokens * mask).sum(1, keepdim=True)], dim=1)
"""

SETTINGS = """
[[inputs]]
name = "tokens"
dtype = "int64"
shape = [-1]
pad = -1

[[inputs]]
name = "mask"
dtype = "bool"
shape = [-1]
pad = false

[[outputs]]
name = "seen"
dtype = "int64"
shape = [4]

[batching]
max_padding = 0.25
max_batch_size = 16
"""


def test_items_of_unequal_length_share_batches_and_each_gets_its_own_result(serve: Serve, tmp_path: Path) -> None:
    server = serve(write_model(tmp_path, "count", CODE, SETTINGS))
    lengths = [1, 40, 41, 39, 2, 38, 500, 37, 1, 36, 480, 40] * 8
    with server.http() as client:
        # The model is still loading: they wait together.
        tasks = []
        for n in lengths:
            body = {"input": {"tokens": list(range(n)), "mask": [True] * n}}
            accepted = client.post("/v1/models/count/tasks", json=body)
            assert accepted.status_code == 202, accepted.text
            tasks.append(accepted.json()["task_id"])
        answers = [client.get(f"/v1/tasks/{task}", params={"wait": "60s"}).json() for task in tasks]
    shared, padded = 0, 0
    for n, answer in zip(lengths, answers, strict=True):
        assert answer["status"] == "SUCCESS", answer
        count, width, real, total = answer["result"]
        assert (real, total) == (n, n * (n - 1) // 2)
        shared += count > 1
        padded += width
    assert shared > len(lengths) // 2, f"{shared} of {len(lengths)} were in a batch with others"
    # No batch has more padding, so all of them together have not.
    assert 1 - sum(lengths) / padded <= 0.25
