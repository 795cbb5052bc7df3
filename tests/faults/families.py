"""Which kinds of faults a seed draws: once for each run, so that some runs are all kills and others all disk."""

from __future__ import annotations

import os
import random

#: Family, to how likely a run is to draw it.
FAMILIES = {
    "server": 0.75,
    "instance": 0.5,
    "pause": 0.35,
    "drain": 0.5,
    "disk": 0.5,
    "clock": 0.4,
    "power": 0.4,
    "small_disk": 0.25,
}


def drawn(seed: int) -> list[str]:
    """The families of a seed, at least one. A disk that is really full has no room for the journal of power cuts."""
    rng = random.Random(f"{seed} families")
    names = [name for name, chance in FAMILIES.items() if rng.random() < chance]
    if "power" in names and "small_disk" in names:
        names.remove(rng.choice(["power", "small_disk"]))
    return names or ["server"]


def possible(names: list[str]) -> list[str]:
    """Those that can be had here: a mount takes root."""
    can_mount = os.geteuid() == 0
    return [name for name in names if can_mount or name != "small_disk"] or ["server"]
