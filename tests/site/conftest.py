"""The example site, started once for all tests that look at it; and the programs that they need."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import dev_env
import django_site
import pytest
from support.server import program

MODELS = django_site.SITE / "models"


def needed(name: str) -> str:
    """A program that is not Cresset's own. Where CI says that it has it (`CI_HAS`), its absence is a failure."""
    found = django_site.program(name)
    if found is None:
        if name in os.environ.get("CI_HAS", "").split():
            pytest.fail(f"{name} is missing; .ci/run installs it", pytrace=False)
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that the site runs on."""
    import sys

    return str(dev_env.build("site", sys.executable))


@pytest.fixture(scope="session")
def site(python: str) -> Iterator[django_site.Running]:
    """Cresset with both models, uWSGI with processes and threads, nginx in front."""
    needed("nginx")
    with django_site.running(python, cresset_program=program()) as site:
        yield site


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Models that need no torch, and are there at once."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "slow").symlink_to(MODELS / "slow")
    return folder


Need = Callable[[str], str]


@pytest.fixture
def need() -> Need:
    """Asks for a program."""
    return needed
