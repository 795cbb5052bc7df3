"""What every black-box test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.server import Server

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts servers, each on a port of its own and by default on this test's data folder; ends them all."""
    with ExitStack() as servers:

        def start(models: Path, *flags: str, data: str = "data", env: dict[str, str] | None = None) -> Server:
            folder = tmp_path / data
            folder.mkdir(exist_ok=True)
            server = Server(models, folder, *flags, env=env)
            servers.callback(server.close)
            return server

        yield start
