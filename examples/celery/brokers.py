"""Where the comparison's tasks wait and where their results go: Redis or RabbitMQ, each with nothing else in it.

Redis is one that is started for the run. RabbitMQ is the one that is there: the run has a virtual host of its own where
`rabbitmqctl` may make one, else a queue of its own in the virtual host that was named. Nothing of the run stays.

A broker keeps the messages that were sent once, so that every worker is given the same ones.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import redis
from kombu.connection import Connection

USUAL = "amqp://guest:guest@127.0.0.1:5672//"
"""A RabbitMQ as it is after its installation."""
CONNECT_WITHIN = 5
STARTED_WITHIN = 120.0
LOOK_EVERY = 0.005
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
"""Debian's rabbitmqctl is not on everybody's."""


class MissingError(Exception):
    """A program or a broker that the run needs is not there; the text is for people."""


class Broker(Protocol):
    """Holds the tasks."""

    url: str
    queue: str
    said: str
    """What it is, for people."""

    def keep(self, count: int) -> None:
        """Takes the messages, `count` of them, out of the queue and keeps them."""
        ...

    def refill(self) -> None:
        """Makes the queue hold what was kept, and nothing else."""
        ...


class Results(Protocol):
    """Holds the results of the tasks that were sent by this process."""

    url: str
    said: str

    def clear(self) -> None:
        """Forgets them."""
        ...

    def done(self) -> int:
        """How many there are."""
        ...


def until(fact: Callable[[], bool], what: str) -> None:
    """Waits for it."""
    ends = time.monotonic() + STARTED_WITHIN
    while not fact():
        if time.monotonic() > ends:
            raise MissingError(f"{what}: not within {STARTED_WITHIN:.0f} s")
        time.sleep(LOOK_EVERY)


@contextmanager
def own_redis(folder: Path) -> Generator[int]:
    """The port of a Redis that keeps nothing on disk."""
    if shutil.which("redis-server") is None:
        raise MissingError("redis-server is not installed (Debian: apt install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder)

    def answers() -> bool:
        with suppress(redis.ConnectionError):
            return bool(redis.Redis(port=port).ping())
        return False

    try:
        until(answers, "redis-server answers")
        yield port
    finally:
        process.terminate()
        process.wait()


class RedisBroker:
    """A list."""

    queue = "celery"
    said = "Redis"

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._client: Any = redis.Redis(port=port, db=0)

    def keep(self, count: int) -> None:
        """A list of another name is no queue."""
        assert self._client.llen(self.queue) == count
        self._client.rename(self.queue, "kept")

    def refill(self) -> None:
        """A copy of that list."""
        self._client.copy("kept", self.queue, replace=True)


class RedisResults:
    """A database with nothing else in it."""

    said = "results on Redis"

    def __init__(self, port: int) -> None:
        self.url = f"redis://127.0.0.1:{port}/1"
        self._client: Any = redis.Redis(port=port, db=1)

    def clear(self) -> None:
        """Empties the database."""
        self._client.flushdb()

    def done(self) -> int:
        """Its keys."""
        return int(self._client.dbsize())


def connected(url: str) -> Any:
    """A connection to RabbitMQ."""
    connection: Any = Connection(url, connect_timeout=CONNECT_WITHIN)
    try:
        connection.connect()
    except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
        hint = " (Debian: apt install rabbitmq-server)" if isinstance(error, ConnectionRefusedError) else ""
        raise MissingError(f"RabbitMQ cannot be used at {connection.as_uri()}: {error}{hint}") from None
    return connection


def or_none(url: str) -> Any:
    """The same, or None."""
    with suppress(MissingError):
        return connected(url)
    return None


class RabbitBroker:
    """A queue, declared by whoever sends to it first."""

    def __init__(self, url: str, queue: str, connection: Any) -> None:
        self.url = url
        self.queue = queue
        self.said = "RabbitMQ"
        self.channel = connection.default_channel
        self._kept: list[Any] = []

    def keep(self, count: int) -> None:
        """As they came, with their properties."""
        until(lambda: self.depth(self.queue) == count, f"{count} tasks in the queue {self.queue}")
        self._kept = [self.channel.basic_get(self.queue, no_ack=True) for _ in range(count)]

    def refill(self) -> None:
        """Sends them again, by the exchange that they came from."""
        self.channel.queue_purge(self.queue)
        for message in self._kept:
            info = message.delivery_info
            self.channel.basic_publish(message, exchange=info["exchange"], routing_key=info["routing_key"])
        until(lambda: self.depth(self.queue) == len(self._kept), f"{len(self._kept)} tasks in the queue {self.queue}")

    def depth(self, queue: str) -> int:
        """How many messages are ready."""
        return int(self.channel.queue_declare(queue, passive=True).message_count)

    def remove(self, reply_to: str) -> None:
        """What the run made; only where the virtual host is not its own."""
        for queue in (self.queue, reply_to):
            self.channel.queue_delete(queue)
        self.channel.exchange_delete(self.queue)


class RpcResults:
    """The queue that the sender has its answers sent to; this process never takes them out."""

    url = "rpc://"
    said = "results by rpc://"

    def __init__(self, broker: RabbitBroker, reply_to: str) -> None:
        self._broker = broker
        self._reply_to = reply_to

    def clear(self) -> None:
        """Empties the queue."""
        self._broker.channel.queue_purge(self._reply_to)

    def done(self) -> int:
        """Its messages."""
        return self._broker.depth(self._reply_to)


def rabbitmqctl(*words: str) -> bool:
    """Whether it is there and has done it."""
    program = shutil.which("rabbitmqctl", path=PATH)
    if program is None:
        return False
    done = subprocess.run([program, "--quiet", *words], capture_output=True, timeout=STARTED_WITHIN, check=False)
    return done.returncode == 0


@contextmanager
def rabbit_broker(url: str, reply_to: str) -> Generator[RabbitBroker]:
    """RabbitMQ at `url`. `reply_to` is the queue of this process's results."""
    name = f"cresset-compare-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        shared = stack.enter_context(connected(url))
        if rabbitmqctl("add_vhost", name):
            stack.callback(rabbitmqctl, "delete_vhost", name)
            rabbitmqctl("set_permissions", "-p", name, unquote(urlsplit(url).username or "guest"), ".*", ".*", ".*")
            own = urlsplit(url)._replace(path=f"/{name}").geturl()
            # What rabbitmqctl speaks to need not be the broker at that address.
            if (connection := or_none(own)) is not None:
                broker = RabbitBroker(own, "celery", stack.enter_context(connection))
                broker.said += f", the virtual host {name}"
                yield broker
                return
        broker = RabbitBroker(url, name, shared)
        broker.said += f", the queue {name}"
        stack.callback(broker.remove, reply_to)
        yield broker


@contextmanager
def places(url: str, results: str, reply_to: str, folder: Path) -> Generator[tuple[Broker, Results]]:
    """The broker at `url`, or `redis`; `results` are in `redis` or come by `rpc`."""
    with ExitStack() as stack:
        port = stack.enter_context(own_redis(folder)) if "redis" in (url, results) else 0
        if url == "redis":
            yield RedisBroker(port), RedisResults(port)
            return
        broker = stack.enter_context(rabbit_broker(url, reply_to))
        yield broker, RedisResults(port) if results == "redis" else RpcResults(broker, reply_to)
