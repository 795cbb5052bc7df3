"""What Cresset serves from this folder."""

from __future__ import annotations

import torch
from cresset import Model
from net import network


class Mlp(Model):
    """64 numbers to 10."""

    def load(self) -> None:
        """Makes the network; there are no weights to load."""
        self.net = network().to(self.device)

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 64] to [batch, 10]."""
        return self.net(batch)
