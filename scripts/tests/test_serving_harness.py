"""The serving harness without servers: what it computes from measurements, and that its data fit together."""

from __future__ import annotations

from typing import Any

import pytest
from harness import document
from harness.bars import BARS, Bar
from harness.results import Results
from harness.scenarios import OVERLOAD, SCENARIOS
from harness.tables import tables


class Asked(Results):
    """Remembers every cell that is asked for, and has all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: set[tuple[str, str, int]] = set()

    def rounds(self, scenario: str, system: str, level: int) -> list[dict[str, Any] | None]:
        """One round, whose every figure is missing."""
        self.cells.add((scenario, system, level))
        return []


def test_every_bar_asks_for_cells_that_a_full_run_measures() -> None:
    measured = {
        (scenario.name, f"{system} ({case.system.model})" if scenario.name == OVERLOAD else system, level)
        for scenario in SCENARIOS
        for case in scenario.cases
        for level in case.levels
        for system in (case.system.name,)
    }
    asked = Asked()
    assert all(bar.holds(asked) is None for bar in BARS)
    assert asked.cells <= measured


def test_a_ratio_is_taken_within_each_round_and_the_median_over_them() -> None:
    results = Results()
    for ours, theirs in ((100.0, 50.0), (10.0, 2.0), (30.0, 10.0)):
        results.add("s", "us", 1, {"goodput": ours})
        results.add("s", "them", 1, {"goodput": theirs})
    assert results.ratio("s", ("us", 1), ("them", 1), "goodput") == 3.0
    assert results.median("s", "us", 1, "goodput") == 30.0


def test_a_round_without_a_figure_is_left_out() -> None:
    results = Results()
    results.add("s", "us", 1, {"latency_ms": None})
    results.add("s", "us", 1, {"latency_ms": {"p50": 2.0}})
    assert results.median("s", "us", 1, "latency_ms", "p50") == 2.0
    assert results.median("s", "nobody", 1, "latency_ms", "p50") is None


@pytest.mark.parametrize(("value", "says"), [(9.0, "yes"), (11.0, "no")])
def test_a_bar_says_wanted_measured_and_whether_it_is_reached(value: float, says: str) -> None:
    bar = Bar("latency", at_least=False, wanted=10, measured=lambda _: value, unit=" ms")
    assert bar.row(Results()) == ("latency", "<= 10 ms", f"{value:g} ms", says)


def test_the_page_keeps_the_marks_between_which_tables_are_written() -> None:
    text = document.PAGE.read_text()
    assert text.count(document.BEGIN) == text.count(document.END) == 1
    assert text.index(document.BEGIN) < text.index(document.END)


def test_tables_show_what_was_measured_and_count_what_was_not() -> None:
    results = Results()
    results.add("mlp, submit only", "Cresset", 256, {"goodput": 30_000.0, "latency_ms": {"p50": 1.0, "p99": 12.0}})
    text = "\n".join(tables(results))
    assert "| Cresset                      | 30,000 |" in text
    assert "p99" in text
    assert f"{len(BARS) - 2} further bars were not measured" in text
