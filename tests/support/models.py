"""Toy model folders, written where a test asks for them."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path


def write_model(parent: Path, name: str, code: str, settings: str = "") -> Path:
    """Writes a model folder that runs on this interpreter, and gives its path.

    Args:
        parent: The folder to put it in.
        name: The model's name, and the folder's.
        code: The text of model.py; indentation common to all lines is taken away.
        settings: More text for model.toml. Top-level keys first, then tables.
    """
    folder = parent / name
    folder.mkdir(parents=True)
    text = textwrap.dedent(settings).strip()
    head = "" if text.startswith("[") else text
    tables = text if text.startswith("[") else ""
    if not text.startswith("[") and "\n[" in text:
        at = text.index("\n[") + 1
        head, tables = text[:at], text[at:]
    toml = f'name = "{name}"\n{head}\n{tables}\n[environment]\npython = "{sys.executable}"\n'
    (folder / "model.toml").write_text(toml)
    (folder / "model.py").write_text(textwrap.dedent(code))
    return folder


ECHO = """
def predict(batch):
    return batch
"""

#: Adds one to a float32 vector of four; sleeps as long as the first element says when it is negative.
PLUS_ONE = """
import time
import torch

def predict(x: torch.Tensor) -> torch.Tensor:
    slowest = -float(x[:, 0].min())
    if slowest > 0:
        time.sleep(slowest)
    return x + 1
"""

PLUS_ONE_TOML = """
[[inputs]]
name = "x"
dtype = "float32"
shape = [4]

[[outputs]]
name = "y"
dtype = "float32"
shape = [4]
"""
