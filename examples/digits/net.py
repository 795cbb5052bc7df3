"""The network: a small convolutional net for 8x8 grey images, apart from serving so that training needs only torch."""

from __future__ import annotations

import torch
from torch import nn

LARGEST_PIXEL = 16.0
"""The data set counts ink in 4x4 blocks of a scan, so a pixel is a whole number from 0 to 16."""


class Net(nn.Module):
    """Ten class scores for images of one 8x8 digit each; takes pixels as the data set has them, 0 to 16."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, 32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Logits, float32 [batch, 10], for pixels, float32 [batch, 1, 8, 8]."""
        return self.layers(pixels / LARGEST_PIXEL)
