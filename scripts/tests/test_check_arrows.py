"""The dependency arrows: wrong ones are found, right ones are not."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import check_arrows
import pytest

FIXTURE = Path(__file__).parent / "fixtures" / "wrong_arrow.json"


def workspace(*arrows: tuple[str, str, str | None]) -> dict[str, Any]:
    """Metadata of a workspace with these arrows: from, to, kind."""
    names = {name for source, target, _ in arrows for name in (source, target)}
    return {
        "packages": [
            {"name": name, "dependencies": [{"name": t, "kind": kind} for s, t, kind in arrows if s == name]}
            for name in sorted(names)
        ]
    }


def test_an_engine_that_names_a_backend_is_found_and_nothing_else() -> None:
    (found,) = check_arrows.mistakes(json.loads(FIXTURE.read_text()))
    arrow, _, allowed = found.partition(": not allowed; cresset-engine may use ")
    assert arrow == "cresset-engine -> cresset-queue-sql"
    assert allowed == "cresset-batch, cresset-config, cresset-queue, cresset-runner, cresset-task, cresset-webhook"


def test_the_program_fails_on_a_wrong_arrow() -> None:
    with FIXTURE.open() as fixture:
        command = [sys.executable, check_arrows.__file__]
        done = subprocess.run(command, stdin=fixture, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cresset-engine -> cresset-queue-sql" in done.stderr


def test_a_development_dependency_may_point_anywhere_but_at_the_binary() -> None:
    assert check_arrows.mistakes(workspace(("cresset-task", "cresset-engine", "dev"))) == []
    assert check_arrows.mistakes(workspace(("cresset-task", "cresset", "dev"))) == [
        "cresset-task -> cresset: nothing may depend on the binary"
    ]


def test_a_build_dependency_counts_as_any_other() -> None:
    assert len(check_arrows.mistakes(workspace(("cresset-task", "cresset-config", "build")))) == 1


def test_every_queue_crate_may_use_the_port_and_no_other_queue_crate() -> None:
    assert check_arrows.mistakes(workspace(("cresset-queue-redis", "cresset-queue", None))) == []
    assert len(check_arrows.mistakes(workspace(("cresset-queue-redis", "cresset-queue-sql", None)))) == 1


@pytest.mark.parametrize("crate", ["cresset-attic", "somebody-else"])
def test_a_crate_without_a_place_in_the_table_is_found(crate: str) -> None:
    found = check_arrows.mistakes(workspace((crate, "cresset-task", None)))
    assert len(found) == 1 and crate in found[0] and "does not know" in found[0]
