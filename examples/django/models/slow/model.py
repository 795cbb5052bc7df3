"""A model that takes half a second an item. Cresset serves it, and the site's inline view imports the same code."""

from __future__ import annotations

import time
from typing import Any

SECONDS = 0.5


def infer(value: Any) -> Any:
    """What the model makes of one item. It waits, as a web process waits for a GPU, and leaves the cores to others."""
    time.sleep(SECONDS)
    return value


def predict(batch: list[Any]) -> list[Any]:
    """One after the other: batching brings nothing here, so that the comparison is about the site alone."""
    return [infer(value) for value in batch]
