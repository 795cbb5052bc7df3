"""What a peer does for a request, in functions: the peers differ in the server around them and in nothing else.

Which model it is comes from BENCH_MODEL. A peer's program puts this folder on its path.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Rows = npt.NDArray[np.float32]

HERE = Path(__file__).resolve().parent
MODEL = os.environ.get("BENCH_MODEL", "mlp")
PORT = int(os.environ.get("BENCH_PORT", "8000"))
WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
THREADS = int(os.environ.get("BENCH_THREADS", "1"))
BATCH = 32
"""Items in a batch at most, for peers that batch."""
WAIT_MS = 2
"""How long such a peer waits for a batch to fill."""


class Work:
    """A tensor model, loaded."""

    def __init__(self) -> None:
        torch.set_num_threads(THREADS)
        sys.path.insert(0, str(HERE.parent / "models" / MODEL))
        net = importlib.import_module("net")
        self.shape: tuple[int, ...] = net.INPUT
        self.net = net.network()
        self.run(np.zeros((BATCH, *self.shape), np.float32))

    def of_bytes(self, body: bytes) -> Rows:
        """A row from a binary body."""
        return np.frombuffer(body, np.float32).reshape(self.shape)

    def of_numbers(self, numbers: Any) -> Rows:
        """A row, or many, from decoded JSON."""
        return np.array(numbers, np.float32)

    def run(self, rows: Rows) -> Rows:
        """Float32 [batch, *shape] to [batch, outputs]."""
        with torch.inference_mode():
            return self.net(torch.from_numpy(rows)).numpy()
