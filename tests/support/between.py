"""A broker of a test's own between gateways and workers, whichever it is, and what is asked of a gateway there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import redis

from support.application import Redis, redis_or_skip
from support.rabbit import Rabbit, rabbit_or_skip
from support.wait import until


class Between(ABC):
    """A broker of one test."""

    url: str

    @abstractmethod
    def lose(self) -> None:
        """Nobody is connected to it any more."""

    @abstractmethod
    def found(self) -> None:
        """It can be used again."""

    @abstractmethod
    def waiting(self, queue: str) -> int:
        """How many messages are in a queue, and with nobody."""

    @abstractmethod
    def throw_out(self, queue: str) -> None:
        """Those are no more."""


class ByRedis(Between):
    """Redis on a port of its own."""

    def __init__(self, folder: Path, *, keeps: bool = True) -> None:
        """Starts it. `keeps`: what it has outlives it."""
        folder.mkdir()
        self.redis: Redis = redis_or_skip(folder, keeps=keeps)
        self.url = self.redis.url()

    def lose(self) -> None:
        """Ends it."""
        self.redis.stop()

    def found(self) -> None:
        """Starts it again."""
        self.redis.start()

    @staticmethod
    def _lists(queue: str) -> list[str]:
        """One for each priority."""
        return [queue, *(f"{queue}\u0006\u0016{step}" for step in (3, 6, 9))]

    def waiting(self, queue: str) -> int:
        """The lengths of its lists."""
        with redis.Redis(port=self.redis.port) as bare:
            return sum(bare.llen(name) for name in self._lists(queue))

    def throw_out(self, queue: str) -> None:
        """Its lists are no more."""
        with redis.Redis(port=self.redis.port) as bare:
            bare.delete(*self._lists(queue))


class ByRabbit(Between):
    """A virtual host of RabbitMQ."""

    def __init__(self) -> None:
        """Makes it."""
        self.rabbit: Rabbit = rabbit_or_skip()
        self.url = self.rabbit.url

    def lose(self) -> None:
        """Ends every connection."""
        self.rabbit.close_connections()

    def found(self) -> None:
        """It has never been away."""

    def waiting(self, queue: str) -> int:
        """Those that are ready."""
        (count,) = self.rabbit.queue(queue, "messages_ready")
        return count

    def throw_out(self, queue: str) -> None:
        """As an operator does it."""
        self.rabbit.purge(queue)


@contextmanager
def between_of(kind: str, folder: Path, *, keeps: bool = True) -> Generator[Between, None, None]:
    """A broker of that kind; a Redis in that folder."""
    if kind == "redis":
        by_redis = ByRedis(folder, keeps=keeps)
        yield by_redis
        by_redis.redis.stop()
    else:
        by_rabbit = ByRabbit()
        yield by_rabbit
        by_rabbit.rabbit.drop()


def submitted(client: httpx.Client, value: object, **options: object) -> str:
    """Where a task can be asked for."""
    accepted = client.post("/v1/models/who/tasks", json={"input": value, **options})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["location"]


def ended(client: httpx.Client, place: str) -> dict[str, Any]:
    """A task at its end."""
    return until(
        lambda: (task := client.get(place, params={"wait": "10s"}).json()) and task.get("finished_at") and task, "ended"
    )
