"""Programs that are not Cresset's own: where they are, and what it means when they are not."""

from __future__ import annotations

import os

import django_site
import pytest


def needed(name: str) -> str:
    """A program's path. Where CI says that it has it (`CI_HAS`), its absence is a failure; else the test is skipped."""
    found = django_site.program(name)
    if found is None:
        if name in os.environ.get("CI_HAS", "").split():
            pytest.fail(f"{name} is missing; .ci/run installs it", pytrace=False)
        pytest.skip(f"{name} is not installed")
    return found
