"""What Cresset serves from this folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
from cresset import Model

GATE = Path(os.environ["BENCH_GATE"])
"""While this file is there, nothing goes through."""


class Gated(Model):
    """64 numbers to the first 10 of them."""

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 64] to [batch, 10]."""
        while GATE.exists():
            time.sleep(0.05)
        return batch[:, :10]
