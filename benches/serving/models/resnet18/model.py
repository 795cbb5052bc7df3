"""What Cresset serves from this folder."""

from __future__ import annotations

import torch
from cresset import Model
from net import network


class Resnet18(Model):
    """A picture to 1000 logits."""

    def load(self) -> None:
        """Makes the network; there are no weights to load."""
        self.net = network().to(self.device)

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, 3, 64, 64] to [batch, 1000]."""
        return self.net(batch)
