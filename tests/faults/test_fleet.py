"""The short form for gateways and workers on one store or over a broker: two fixed seeds, held to the promises.

`make faults FAULT_FLEET=1` runs more, `FAULT_FLEET=mariadb`, `redis` or `rabbitmq` on those. Without the database or
the broker it is skipped in print, and fails where CI says it has it.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from support.mariadb import MariaDatabase
from support.postgres import postgres_or_skip

from faults.__main__ import all_of
from faults.families import possible, table_of
from faults.fleet.brokers import BROKERS, can_have_broker
from faults.fleet.cluster import KINDS, can_have_one
from faults.how import How

#: Together they draw every family but one. Over a broker, in one each gateway has its own store, and Redis keeps what
#: it has; in the other both share one, where PostgreSQL is, and Redis forgets.
SEEDS = {"postgresql": (11, 13), "mariadb": (11, 13), "redis": (11, 27), "rabbitmq": (11, 27)}
#: It takes a minute and a half; over a broker twenty seconds.
LONG_FAMILY = {"postgresql": "silent", "mariadb": "silent", "redis": "zombie", "rabbitmq": "zombie"}
#: Shorter than the runs of `make faults`.
SECONDS = 8.0

Verdicts = list[dict[str, Any]]


def broker_or_skip(kind: str) -> None:
    """Its programs are here; else a failure where CI says that it has it, and a skip that is told elsewhere."""
    if can_have_broker(kind):
        return
    why = f"the programs of a {kind} of the run's own are not here"
    is_promised = kind in os.environ.get("CI_HAS", "").split() or (kind == "redis" and os.environ.get("CI"))
    if is_promised:
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


@pytest.fixture(scope="module", params=[*KINDS, *BROKERS])
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Verdicts:
    store: str = request.param
    if store in BROKERS:
        broker_or_skip(store)
    elif not can_have_one(store):
        (postgres_or_skip() if store == "postgresql" else MariaDatabase()).drop()
    home = tmp_path_factory.mktemp("fleet")
    how = How(cache=home, keep=home / "kept", seconds=SECONDS, is_fleet=True, store=store)
    seeds = SEEDS[store]
    return [{**verdict, "store": store} for verdict in all_of(seeds, len(seeds), how)]


def test_a_fleet_under_faults_keeps_every_promise(verdicts: Verdicts) -> None:
    for verdict in verdicts:
        assert "broken" not in verdict, verdict
        if verdict["offences"]:
            pytest.fail(verdict["text"], pytrace=False)


def test_the_seeds_break_every_kind_of_thing(verdicts: Verdicts) -> None:
    """A run in which nothing broke would say nothing."""
    store = verdicts[0]["store"]
    drawn = {family for verdict in verdicts for family in verdict["families"]}
    table = table_of(store, is_fleet=True)
    assert drawn == set(possible([name for name in table if name != LONG_FAMILY[store]], store))
    assert all(verdict["tasks"] > 10 and verdict["faults"] > 3 for verdict in verdicts), verdicts
