"""ResNet-18 in plain torch (He and others, 2015), and nothing of any server: every system measured runs this one."""

from __future__ import annotations

import torch
from torch import nn

INPUT = (3, 64, 64)
OUTPUT = (1000,)


def normed(inputs: int, outputs: int, size: int, stride: int) -> nn.Sequential:
    """A convolution that keeps the picture's size but for the stride, and its normalisation."""
    convolution = nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """Two convolutions, and a way around them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = normed(inputs, outputs, 3, stride)
        self.second = normed(outputs, outputs, 3, 1)
        same = inputs == outputs and stride == 1
        self.around = nn.Identity() if same else normed(inputs, outputs, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 [batch, inputs, height, width] to [batch, outputs, height / stride, width / stride]."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.around(x))


def network() -> nn.Module:
    """The whole network, with the same random weights each time."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 1000)]
    return nn.Sequential(*layers).eval()
