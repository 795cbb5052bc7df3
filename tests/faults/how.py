"""What a run is told beside its seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: How long things are broken, unless told otherwise. One server is back in no time; a fleet waits for who is away.
FAULT_SECONDS = 4.0
FLEET_SECONDS = 14.0


@dataclass(frozen=True)
class How:
    """What is run, and where."""

    #: Where the fault library and the server's own cache lie.
    cache: Path
    #: Where the folders of runs that found something are kept.
    keep: Path
    #: Instead of what the seed draws.
    families: list[str] | None = None
    durability: str = "fsync"
    #: Things are broken for so long; none: as long as is usual.
    seconds: float | None = None
    #: Gateways and workers on one store or over a broker, instead of one server with a store of its own.
    is_fleet: bool = False
    #: Which database that store is in, or which broker.
    store: str = "postgresql"

    @property
    def fault_seconds(self) -> float:
        if self.seconds is not None:
            return self.seconds
        return FLEET_SECONDS if self.is_fleet else FAULT_SECONDS

    def replay(self, seed: int) -> str:
        """The command that runs a seed again."""
        fleet = f"FAULT_FLEET={self.store} " if self.is_fleet else ""
        return f"make faults {fleet}FAULT_SEED={seed}"
