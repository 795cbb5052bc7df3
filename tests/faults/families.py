"""Which kinds of faults a seed draws: once for each run, so that some runs are all kills and others all disk."""

from __future__ import annotations

import os
import random

from faults.fleet.brokers import BROKERS, can_have_broker
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
    "failover": 0.25,
}
#: And for those over a broker, which is always the run's own.
BROKER_FLEET = {
    "server": 0.6,
    "instance": 0.4,
    "pause": 0.25,
    "zombie": 0.35,
    "drain": 0.5,
    "sessions": 0.5,
    "partition": 0.6,
    "broker": 0.6,
    "starved": 0.3,
    "purge": 0.3,
}


def table_of(store: str, *, is_fleet: bool) -> dict[str, float]:
    """What a run of this kind draws from."""
    if not is_fleet:
        return FAMILIES
    return BROKER_FLEET if store in BROKERS else FLEET


def drawn(seed: int, table: dict[str, float] = FAMILIES) -> list[str]:
    """The families of a seed, at least one. A disk that is really full has no room for the journal of power cuts."""
    rng = random.Random(f"{seed} families")
    names = [name for name, chance in table.items() if rng.random() < chance]
    if "power" in names and "small_disk" in names:
        names.remove(rng.choice(["power", "small_disk"]))
    return names or ["server"]


def possible(names: list[str], store: str = "postgresql") -> list[str]:
    """Those that can be had here: a mount takes root, and a store that is restarted must be nobody else's."""
    can_have = can_have_broker if store in BROKERS else can_have_one
    cannot = {
        *(() if os.geteuid() == 0 else ("small_disk",)),
        *(() if can_have(store) else ("store",)),
        *(() if store == "postgresql" and can_have(store) else ("failover",)),
    }
    return [name for name in names if name not in cannot] or ["server"]
