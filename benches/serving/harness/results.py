"""What a run measured, and the questions that tables and bars ask of it."""

from __future__ import annotations

import statistics
from typing import Any

from harness.measure import Cell

Rounds = list[Cell | None]
"""One for each round; nothing where a system could not be measured."""


class Results:
    """Scenario, system, level -> a cell for each round."""

    def __init__(self, scenarios: dict[str, dict[str, dict[str, Rounds]]] | None = None) -> None:
        """Empty, or what was read from a file."""
        self.scenarios: dict[str, dict[str, dict[str, Rounds]]] = scenarios or {}

    def add(self, scenario: str, system: str, level: int, cell: Cell | None) -> None:
        """One more round of a cell."""
        self.scenarios.setdefault(scenario, {}).setdefault(system, {}).setdefault(str(level), []).append(cell)

    def rounds(self, scenario: str, system: str, level: int) -> Rounds:
        """Every round of a cell."""
        return self.scenarios.get(scenario, {}).get(system, {}).get(str(level), [])

    def median(self, scenario: str, system: str, level: int, *path: str) -> float | None:
        """The median of a figure over the rounds: `median(..., "latency_ms", "p50")`."""
        values = [value for cell in self.rounds(scenario, system, level) if (value := figure(cell, *path)) is not None]
        return statistics.median(values) if values else None

    def ratio(
        self, scenario: str, one: tuple[str, int], other: tuple[str, int], *path: str, other_scenario: str | None = None
    ) -> float | None:
        """The median of the ratios of two systems' figures in the same round: what both had in common cancels out."""
        pairs = zip(self.rounds(scenario, *one), self.rounds(other_scenario or scenario, *other), strict=False)
        values = [
            above / below for a, b in pairs if (above := figure(a, *path)) is not None and (below := figure(b, *path))
        ]
        return statistics.median(values) if values else None


def figure(cell: Cell | None, *path: str) -> float | None:
    """A number of a cell."""
    found: Any = cell
    for key in path:
        if not isinstance(found, dict):
            return None
        found = found.get(key)
    return found
