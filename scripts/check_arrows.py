"""Fails when a crate depends on one that it must not know of.

    cargo metadata --no-deps --format-version 1 | python3 scripts/check_arrows.py

The allowed arrows are ARCHITECTURE.md's. A development dependency may point anywhere but at the binary: tests of the
engine run on the real store. Change the table only together with ARCHITECTURE.md and a record in docs/decisions.
"""

from __future__ import annotations

import json
import sys
from typing import Any

BINARY = "cresset"
PREFIX = "cresset-"

ALLOWED: dict[str, set[str]] = {
    "task": set(),
    "config": {"task"},
    "batch": {"task"},
    "celery": {"task"},
    "queue": {"task"},
    "queue-*": {"queue", "task"},
    "keys": {"task"},
    "webhook": {"queue", "task"},
    "telemetry": {"task"},
    "runner": {"config", "task"},
    "engine": {"webhook", "runner", "batch", "queue", "config", "task"},
    "gateway": {"engine", "keys", "config", "task"},
    "celery-worker": {"celery", "engine", "runner", "config", "task"},
    "loadgen": set(),
    "store-bench": {"queue", "queue-mysql", "queue-postgres", "queue-sql", "task"},
    "fuzz-targets": {"gateway", "keys", "runner", "queue-sql", "config", "task"},
}
"""Crate, without the prefix -> the crates of ours that it may use. The binary may use all of them."""


def allowed_for(crate: str) -> set[str] | None:
    """What a crate may use; nothing for one that the table does not know."""
    return ALLOWED.get("queue-*" if crate.startswith("queue-") else crate)


def mistakes(metadata: dict[str, Any]) -> list[str]:
    """One line for each arrow that must not be."""
    packages: list[dict[str, Any]] = metadata["packages"]
    ours = {package["name"] for package in packages}
    found: list[str] = []
    for package in packages:
        name: str = package["name"]
        if name == BINARY:
            continue
        allowed = allowed_for(name.removeprefix(PREFIX))
        if allowed is None:
            found.append(
                f"{name}: a crate that the table in scripts/check_arrows.py does not know; give it a place there"
            )
            continue
        for dependency in package["dependencies"]:
            target: str = dependency["name"]
            if target not in ours:
                continue
            if target == BINARY:
                found.append(f"{name} -> {target}: nothing may depend on the binary")
            elif dependency["kind"] != "dev" and target.removeprefix(PREFIX) not in allowed:
                may = ", ".join(f"{PREFIX}{crate}" for crate in sorted(allowed)) or "none of ours"
                found.append(f"{name} -> {target}: not allowed; {name} may use {may}")
    return sorted(set(found))


def main() -> int:
    """Reads the metadata from stdin, prints each mistake."""
    metadata = json.load(sys.stdin)
    found = mistakes(metadata)
    for line in found:
        print(line, file=sys.stderr)
    if not found:
        print(f"every dependency arrow of {len(metadata['packages'])} crates points the way it should")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
