"""The short form for gateways and workers over a broker: a fixed seed on each, held to the promises.

`make faults FAULT_FLEET=redis` and `FAULT_FLEET=rabbitmq` run more. Without the broker's programs it is skipped in
print, and fails where CI says it has it.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from faults.__main__ import one
from faults.families import BROKER_FLEET
from faults.fleet.brokers import BROKERS, can_have_broker
from faults.how import How

#: They draw every family but those that take twenty seconds. This Redis forgets everything when it is killed.
SEEDS = {"redis": 3774, "rabbitmq": 788}
LONG_FAMILIES = {"zombie", "purge"}
#: Shorter than the runs of `make faults`.
SECONDS = 7.0

Verdict = dict[str, Any]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Of those that are here, both at the same time: a run mostly waits."""
    home = tmp_path_factory.mktemp("fleet")
    here = [kind for kind in BROKERS if can_have_broker(kind)]

    def run(kind: str) -> Verdict:
        how = How(cache=home, keep=home / "kept", seconds=SECONDS, is_fleet=True, store=kind)
        return one(SEEDS[kind], how)

    with ThreadPoolExecutor(len(BROKERS)) as pool:
        return dict(zip(here, pool.map(run, here), strict=True))


@pytest.fixture(params=BROKERS)
def verdict(request: pytest.FixtureRequest, verdicts: dict[str, Verdict]) -> Verdict:
    """That of one of them."""
    kind: str = request.param
    if kind in verdicts:
        return verdicts[kind]
    why = f"the programs for a {kind} of the run's own are not here"
    if kind in os.environ.get("CI_HAS", "").split() or (kind == "redis" and os.environ.get("CI")):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def test_a_fleet_over_a_broker_under_faults_keeps_every_promise(verdict: Verdict) -> None:
    assert "broken" not in verdict, verdict
    if verdict["offences"]:
        pytest.fail(verdict["text"], pytrace=False)


def test_the_seed_breaks_every_kind_of_thing(verdict: Verdict) -> None:
    """A run in which nothing broke would say nothing."""
    assert set(verdict["families"]) == set(BROKER_FLEET) - LONG_FAMILIES
    assert verdict["tasks"] > 10 and verdict["faults"] > 3, verdict
