"""What every black-box test may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.application import Redis, RedisHouse, house, redis_or_skip
from support.between import Between, between_of
from support.mariadb import MariaDatabase
from support.postgres import Database, postgres_or_skip
from support.roles import Start, starting
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


@pytest.fixture(scope="session")
def the_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The Redis that most tests with Celery share."""
    server = redis_or_skip(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture
def database() -> Iterator[Database]:
    """A database for one test."""
    made = postgres_or_skip()
    try:
        yield made
    finally:
        made.drop()


@pytest.fixture(params=["postgresql", "mariadb"])
def either(request: pytest.FixtureRequest) -> Iterator[Database | MariaDatabase]:
    """A database of each kind, for one test."""
    made = postgres_or_skip() if request.param == "postgresql" else MariaDatabase()
    try:
        yield made
    finally:
        made.drop()


@pytest.fixture(params=["redis", "rabbitmq"])
def between(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Between]:
    """A broker of each kind between gateways and workers, for one test."""
    with between_of(request.param, tmp_path / "redis") as made:
        yield made


@pytest.fixture
def start(tmp_path: Path, between: Between) -> Iterator[Start]:
    """Starts gateways and workers there; ends them all."""
    with starting(tmp_path, between.url) as (begin, _):
        yield begin


@pytest.fixture
def home(tmp_path: Path, the_redis: Redis) -> Iterator[RedisHouse]:
    """A Celery application with a queue of its own, for one test."""
    made = house(tmp_path, the_redis)
    with made.stack:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, the_redis: Redis) -> Iterator[RedisHouse]:
    """The same with a running worker, for the tests of a module that leave nothing behind."""
    made = house(tmp_path_factory.mktemp("shared"), the_redis)
    with made.stack:
        made.worker("--celery-track-started")
        yield made
