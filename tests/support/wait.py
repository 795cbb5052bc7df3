"""Waiting for a fact."""

from __future__ import annotations

import threading
import time
from typing import Any

from support.server import LONG


def until(fact: Any, what: str) -> Any:
    """Asks until `fact` gives something; the pause only keeps the asking civil."""
    pause = threading.Event()
    latest = time.monotonic() + LONG
    while time.monotonic() < latest:
        if found := fact():
            return found
        pause.wait(0.01)
    raise AssertionError(f"never {what}")
