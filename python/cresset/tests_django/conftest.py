"""Fixtures of the tests of `cresset.django`: a site, and a stand-in for the server behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from cresset.testing import MockServer

pytest_plugins = ["cresset.testing.fixtures"]

if TYPE_CHECKING:
    from collections.abc import Iterator


def boom(_value: Any) -> Any:
    raise ZeroDivisionError("it went off")


@pytest.fixture
def server() -> Iterator[MockServer]:
    """A server that runs nothing until it is told to."""
    from cresset.django._clients import made_by

    server = MockServer({"upper": str.upper, "boom": boom, "secret": str.lower}, run_at_submit=False)
    with made_by(server):
        yield server


@pytest.fixture
def ada(db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("ada.lovelace", password="of ada")


@pytest.fixture
def bob(db: None, django_user_model: Any) -> Any:
    return django_user_model.objects.create_user("bob", password="of bob")
