"""The network, and nothing of any server: every system measured runs this one."""

from __future__ import annotations

import torch
from torch import nn

INPUT = (64,)
OUTPUT = (10,)


def network() -> nn.Module:
    """64-256-10, with the same random weights each time."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
