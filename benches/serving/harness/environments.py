"""Each peer's packages, in an environment of its own, in the user's cache.

Keyed by the text of the requirements and the Python, built once with uv, torch linked from the cache that the
repository's other environments share: a further one costs seconds.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(REPOSITORY / "scripts"))
import dev_env

KEPT = 2
"""Environments of one peer kept; older ones go."""


def interpreter(name: str, requirements: list[Path]) -> Path:
    """The Python of the environment `name`, built from these files when it is not there."""
    digest = hashlib.sha256(repr((dev_env.UV, sys.executable)).encode())
    for path in requirements:
        digest.update(path.read_bytes())
    home = dev_env.cache() / "bench"
    home.mkdir(parents=True, exist_ok=True)
    target = home / f"{name}-{digest.hexdigest()[:16]}"
    python = target / "bin" / "python"
    if python.exists():
        return python
    if target.exists():  # the Python it was built on has gone
        shutil.rmtree(target)
    started = time.monotonic()
    words = tuple(word for path in requirements for word in ("--requirement", str(path)))
    dev_env.assemble(target, sys.executable, words)
    dev_env.say(f"built the environment of {name} in {time.monotonic() - started:.0f} s: {target}")
    by_age = sorted(home.glob(f"{name}-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in by_age[KEPT:]:
        shutil.rmtree(path)
    return python
