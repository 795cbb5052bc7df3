"""The short form for gateways and workers on one store: two fixed seeds, and what they say of each promise.

`make faults FAULT_FLEET=1` runs more, `FAULT_FLEET=mariadb` on MariaDB. Without the database it is skipped in print,
and fails where CI says it has it.
"""

from __future__ import annotations

from typing import Any

import pytest
from support.mariadb import MariaDatabase
from support.postgres import postgres_or_skip

from faults.__main__ import all_of
from faults.families import FLEET, possible
from faults.fleet.cluster import KINDS, can_have_one
from faults.how import How

#: Together they draw every family but the one that takes a minute and a half.
SEEDS = (11, 13)
LONG_FAMILY = "silent"
#: Shorter than the runs of `make faults`.
SECONDS = 8.0

Verdicts = list[dict[str, Any]]


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest) -> str:
    """Which database."""
    return request.param


@pytest.fixture(scope="module")
def verdicts(store: str, tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    if not can_have_one(store):
        (postgres_or_skip() if store == "postgresql" else MariaDatabase()).drop()
    home = tmp_path_factory.mktemp("fleet")
    how = How(cache=home, keep=home / "kept", seconds=SECONDS, is_fleet=True, store=store)
    return list(all_of(SEEDS, len(SEEDS), how))


def test_a_fleet_under_faults_keeps_every_promise(verdicts: Verdicts) -> None:
    for verdict in verdicts:
        assert "broken" not in verdict, verdict
        if verdict["offences"]:
            pytest.fail(verdict["text"], pytrace=False)


def test_the_seeds_break_every_kind_of_thing(verdicts: Verdicts, store: str) -> None:
    """A run in which nothing broke would say nothing."""
    drawn = {family for verdict in verdicts for family in verdict["families"]}
    assert drawn == set(possible([name for name in FLEET if name != LONG_FAMILY], store))
    assert all(verdict["tasks"] > 10 and verdict["faults"] > 3 for verdict in verdicts), verdicts
