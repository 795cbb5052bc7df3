"""Mosec: a Rust server in front of Python workers, with dynamic batches; a batch becomes one array.

JSON is read and written as mosec does by itself (Python's json), or, with BENCH_JSON=orjson, by the fastest library
that a user could put in its place.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import orjson
from mosec import Server, Worker

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import work

FAST = os.environ.get("BENCH_JSON") == "orjson"
BINARY = os.environ.get("BENCH_BODY") == "binary"


class Json(Worker):
    """JSON as BENCH_JSON says."""

    def deserialize(self, data: bytes) -> Any:
        """One request's input."""
        return (orjson.loads(data) if FAST else super().deserialize(data))["input"]

    def serialize(self, data: Any) -> bytes:
        """One answer."""
        return orjson.dumps({"result": data}) if FAST else super().serialize({"result": data})


class Tensor(Json):
    """A tensor model; bodies are JSON, or the bytes of a row."""

    def __init__(self) -> None:
        super().__init__()
        self.work = work.Work()

    def deserialize(self, data: bytes) -> Any:
        """One request."""
        return self.work.of_bytes(data) if BINARY else super().deserialize(data)

    def forward(self, data: list[Any]) -> list[Any]:
        """A batch."""
        rows = self.work.run(self.work.of_numbers(data))
        return list(rows) if BINARY else rows.tolist()

    def serialize(self, data: Any) -> bytes:
        """One answer."""
        return data.tobytes() if BINARY else super().serialize(data)


class Embed(Json):
    """The embed example: texts, tokenised and embedded in one worker, as Cresset's own does."""

    def __init__(self) -> None:
        super().__init__()
        import torch

        root = Path(__file__).resolve().parents[4]
        sys.path[:0] = [str(root / "python" / "cresset" / "src"), str(root / "examples" / "embed")]
        from model import Embed as Example

        torch.set_num_threads(work.THREADS)
        self.torch = torch
        self.model = Example()
        self.model.device = "cpu"
        self.model.load()
        with torch.inference_mode():
            self.model.warmup()

    def forward(self, data: list[Any]) -> list[Any]:
        """A batch."""
        with self.torch.inference_mode():
            outputs = self.model.predict([self.model.preprocess(one) for one in data])
        return [self.model.postprocess(one) for one in outputs]


if __name__ == "__main__":
    sys.argv[1:] = ["--address", "127.0.0.1", "--port", str(work.PORT), "--timeout", "60000", "--log-level", "warning"]
    server = Server()
    worker = Embed if work.MODEL == "embed" else Tensor
    server.append_worker(worker, num=work.WORKERS, max_batch_size=work.BATCH, max_wait_time=work.WAIT_MS, timeout=60)
    server.run()
