"""The short form: a few fixed seeds, and for each promise what they say of it. `make faults` runs hundreds.

The seeds are chosen so that together they draw every family of faults. All run once, at the same time.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faults.__main__ import all_of
from faults.families import FAMILIES, possible
from faults.how import How

#: Together they draw every family: test_the_seeds_break_every_kind_of_thing says so when one is changed.
SEEDS = (3, 5, 10, 18)
WEAK_SEED = 7
#: Shorter than the runs of `make faults`, which have the night.
SECONDS = 3.0

Verdicts = list[dict[str, Any]]


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Verdicts, Verdicts]:
    home = tmp_path_factory.mktemp("faults")
    how = How(cache=home, keep=home / "kept", seconds=SECONDS)
    weak = How(cache=home, keep=home / "weak", seconds=SECONDS, families=["power"], durability="os")
    with ThreadPoolExecutor(2) as pool:
        strong = pool.submit(lambda: list(all_of(SEEDS, len(SEEDS), how)))
        weaker = pool.submit(lambda: list(all_of([WEAK_SEED], 1, weak)))
        return strong.result(), weaker.result()


@pytest.fixture(scope="session")
def verdicts(runs: tuple[Verdicts, Verdicts]) -> Verdicts:
    return runs[0]


def assert_kept(verdicts: Verdicts, promise: int) -> None:
    """No run has an offence against this promise; else all that is known of it."""
    for verdict in verdicts:
        assert "broken" not in verdict, verdict
        if any(offence["promise"] == promise for offence in verdict["offences"]):
            pytest.fail(verdict["text"], pytrace=False)


def test_promise_1_accepted_means_durable_and_nothing_appears_or_doubles(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 1)


def test_promise_2_one_terminal_state_once_for_every_accepted_task(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 2)


def test_promise_3_at_least_once_execution_with_attempts_that_only_grow(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 3)


def test_promise_4_cancel_expiry_delay_and_retry_are_durable(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 4)


def test_promise_5_one_bad_input_costs_one_task_and_results_are_of_their_input(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 5)


def test_promise_8_a_stop_loses_nothing_and_leaves_nothing_behind(verdicts: Verdicts) -> None:
    assert_kept(verdicts, 8)


def test_the_seeds_break_every_kind_of_thing(verdicts: Verdicts) -> None:
    """A run in which nothing broke would say nothing."""
    drawn = {family for verdict in verdicts for family in verdict["families"]}
    assert drawn == set(possible(list(FAMILIES)))
    assert all(verdict["tasks"] > 10 and verdict["faults"] > 3 for verdict in verdicts), verdicts
    hits = [verdict["hits"] for verdict in verdicts]
    assert sum(hit["clock"] for hit in hits) > 0, (
        "no process asked the moved clock: the fault library does not work here"
    )
    disk = sum(hit[name] for hit in hits for name in ("full", "broken", "unflushed", "short", "slow"))
    assert disk > 0, "no call was given a fault of the disk: the fault library does not work here"


def test_a_power_cut_with_a_weaker_durability_is_noticed(runs: tuple[Verdicts, Verdicts]) -> None:
    """That the runs above find nothing lost is worth something: where nothing is flushed they find it."""
    [verdict] = runs[1]
    assert "broken" not in verdict, verdict
    assert any(offence["rule"] == "accepted_is_known" for offence in verdict["offences"]), verdict
