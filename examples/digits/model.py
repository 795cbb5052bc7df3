"""Handwritten digits: what Cresset serves from this folder."""

from __future__ import annotations

import torch
from cresset import Model
from net import Net


class Digits(Model):
    """Probabilities of the ten digits for 8x8 grey images."""

    def load(self) -> None:
        """Builds the network and fills in the trained weights, on the instance's device."""
        self.net = Net()
        self.net.load_state_dict(self.load_weights("weights.pt"))
        self.net.to(self.device)

    def predict(self, batch: torch.Tensor) -> torch.Tensor:
        """Probabilities, float32 [batch, 10], for pixels, float32 [batch, 1, 8, 8], each 0 to 16."""
        return self.net(batch).softmax(dim=1)

    def warmup(self) -> None:
        """Runs the largest batch once: torch sets up its kernels on first use."""
        self.predict(self.example_batch(self.max_batch_size))
