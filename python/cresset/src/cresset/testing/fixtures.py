"""Fixtures for pytest: `pytest_plugins = ["cresset.testing.fixtures"]` in `conftest.py`."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from cresset.testing import MockServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cresset_server() -> Iterator[MockServer]:
    """Give a stand-in server without models: `cresset_server.add("digits", function)`.

    In a Django site, `cresset.django` talks to it meanwhile.
    """
    server = MockServer({})
    with ExitStack() as stack:
        if "django" in sys.modules:
            from cresset.django._clients import made_by  # noqa: PLC0415  # only where Django is

            stack.enter_context(made_by(server))
        yield server
