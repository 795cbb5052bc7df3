"""Headless Chromium, for the programs that drive it in an environment of their own (`scripts/dev_env.py browser`).

Imports nothing but what that environment has; they are started with tests/ on their path.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def launch(playwright: Any) -> Any:
    """The Chromium of this machine, without a window."""
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))


def environment() -> dict[str, str]:
    """For the program that drives it: it finds this module."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
