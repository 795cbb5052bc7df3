"""Which kinds of faults a seed draws: once for each run, so that some runs are all kills and others all disk."""

from __future__ import annotations

import os
import random

from faults.fleet.cluster import can_have_one

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
#: The same for gateways and workers on one store.
FLEET = {
    "server": 0.6,
    "instance": 0.4,
    "pause": 0.25,
    "zombie": 0.6,
    "drain": 0.5,
    "sessions": 0.5,
    "partition": 0.6,
    "store": 0.5,
    "silent": 0.06,
}


def drawn(seed: int, table: dict[str, float] = FAMILIES) -> list[str]:
    """The families of a seed, at least one. A disk that is really full has no room for the journal of power cuts."""
    rng = random.Random(f"{seed} families")
    names = [name for name, chance in table.items() if rng.random() < chance]
    if "power" in names and "small_disk" in names:
        names.remove(rng.choice(["power", "small_disk"]))
    return names or ["server"]


def possible(names: list[str], store: str = "postgresql") -> list[str]:
    """Those that can be had here: a mount takes root, and a store that is restarted must be nobody else's."""
    cannot = {
        *(() if os.geteuid() == 0 else ("small_disk",)),
        *(() if can_have_one(store) else ("store",)),
    }
    return [name for name in names if name not in cannot] or ["server"]
