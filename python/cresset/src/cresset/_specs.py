"""What a model's `model.toml` declares, as its code may see it. Pure values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """One declared input or output of a tensor model."""

    name: str
    """Its name, unique among the inputs or the outputs."""
    dtype: str
    """Its element type as torch calls it: `float32`, `int64`, `bool`, ..."""
    shape: tuple[int, ...]
    """The shape of one item, without the batch dimension; -1 is a free dimension."""
