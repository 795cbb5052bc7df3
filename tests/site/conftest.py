"""The example site, started once for all tests that look at it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import dev_env
import django_site
import pytest
from support.programs import needed
from support.server import program


@pytest.fixture(scope="session")
def python() -> str:
    """The interpreter that the site runs on."""
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
    (folder / "slow").symlink_to(django_site.SITE / "models" / "slow")
    return folder
