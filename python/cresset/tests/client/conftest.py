"""Fixtures of the client's tests."""

from __future__ import annotations

import pytest

from cresset.client import _core
from scripted import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(_core, "time", made)
    return made
