"""A Redis of the tests' own, an application on real Celery, and workers that are Cresset."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from redis.backoff import NoBackoff
from redis.retry import Retry
from served import free_port

from support.models import write_model
from support.server import LONG, Server

WHO = itertools.count(1)
"""Numbers queues and nodes: no test sees another's."""

MODEL = """
    import time
    import cresset

    tries = {}

    class OwnError(Exception):
        pass

    class Echo(cresset.Model):
        def predict(self, batch):
            return [self.one(item) for item in batch]

        def one(self, item):
            if not isinstance(item, dict):
                return item
            if "sleep" in item:
                time.sleep(item["sleep"])
            if "retry" in item:
                tries[item["retry"]] = tries.get(item["retry"], 0) + 1
                if tries[item["retry"]] < 2:
                    raise cresset.Retry("not yet", after=0.05)
                return tries[item["retry"]]
            if item.get("raise") == "own":
                raise OwnError("mine")
            if "raise" in item:
                raise {"value": ValueError, "key": KeyError}[item["raise"]]("boom")
            return item.get("give", item)
"""

SETTINGS = """
    [batching]
    max_batch_size = {batch}
    [celery]
    tasks = ["proj.echo", "proj.perform_inference"]
"""


def told_once(port: int, **more: Any) -> Any:
    """A client of Redis that says at once what is wrong, where one of redis-py tries again for seconds."""
    return redis.Redis(port=port, retry=Retry(NoBackoff(), 0), **more)


def answering(words: list[str], port: int) -> subprocess.Popen[bytes]:
    """A program that answers as Redis does, started."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    pause = threading.Event()
    client = told_once(port)
    for _ in range(int(LONG / 0.01)):
        if process.poll() is not None:
            break
        with suppress(redis.ConnectionError):
            with suppress(redis.AuthenticationError):
                client.ping()
            client.close()
            return process
        pause.wait(0.01)
    raise AssertionError("redis-server does not answer")


class Redis:
    """`redis-server` on a port of its own, in memory."""

    def __init__(self, folder: Path, *more: str, keeps: bool = False) -> None:
        """Starts it and waits until it answers. `keeps`: what it has is there again when it is started again."""
        self.port: int = free_port()
        self._folder = folder
        self._keeping = ["yes", "--appendfsync", "always"] if keeps else ["no"]
        self._more = more
        self.start()

    def start(self) -> None:
        """Starts it, empty unless it keeps what it has."""
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        words += ["--appendonly", *self._keeping]
        self.process = answering([*words, "--dir", str(self._folder), *self._more], self.port)

    def stop(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait(LONG)

    def url(self, db: int = 0) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/{db}"


def redis_or_skip(folder: Path, *, keeps: bool = False) -> Redis:
    """A Redis; where the program is missing a failure in CI, and a skip that is told elsewhere."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    return Redis(folder, keeps=keeps)


@dataclass(kw_only=True)
class House:
    """One application, its queue, and the workers that a test starts for it, whatever its broker is."""

    folder: Path
    queue: str
    broker: str
    backend: str
    app: Any
    """Celery says nothing of its types."""
    stack: ExitStack
    models: Path
    described: dict[str, str]
    """What `inspect stats` has of the broker, among other things."""
    workers: list[Server] = field(default_factory=list[Server])
    node: str = ""
    """The name of the worker that was started last."""

    def worker(self, *flags: str, **more: Any) -> Server:
        """Starts `cresset worker` and waits until it is ready."""
        return self.start(*flags, **more).wait_ready()

    def start(
        self,
        *flags: str,
        broker: str | None = None,
        backend: str | None = None,
        env: dict[str, str] | None = None,
        node: str | None = None,
    ) -> Server:
        """Starts `cresset worker`."""
        data = self.folder / f"data-{len(self.workers)}"
        data.mkdir()
        places = ["--broker", broker or self.broker, "--result-backend", backend or self.backend]
        self.node = node or f"cresset-{next(WHO)}@test"
        known = ["--celery", self.queue, *places, "--celery-node", self.node]
        server = Server(self.models, data, *known, *flags, command="worker", env=env)
        self.stack.callback(server.close)
        self.workers.append(server)
        return server

    def waiting(self) -> int:
        """How many messages are in the queue that no worker has."""
        raise NotImplementedError

    def left(self) -> int:
        """The same, and with them those that a worker has, where the broker knows."""
        return self.waiting()


@dataclass(kw_only=True)
class RedisHouse(House):
    """One with Redis as its broker."""

    redis: Redis
    db: int

    @property
    def client(self) -> Any:
        """The broker, bare."""
        return self.stack.enter_context(redis.Redis(port=self.redis.port, db=self.db))

    def waiting(self) -> int:
        """The length of its list."""
        return self.client.llen(self.queue)


def close(app: Any) -> None:
    """Ends an application's connections: it leaves them to the collector otherwise."""
    with suppress(AttributeError):  # not every backend has each of them
        app.backend.result_consumer.stop()
        app.backend.client.connection_pool.disconnect()
    app.close()


def furnished(
    folder: Path, stack: ExitStack, broker: str, backend: str, batch: int, number: int, **conf: object
) -> dict[str, Any]:
    """What every house has: a model, an application, and no worker yet."""
    models = folder / "models"
    write_model(models, "echo", MODEL, SETTINGS.format(batch=batch))
    queue = f"q{number}"
    app: Any = Celery("proj", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(task_default_queue=queue, broker_connection_retry_on_startup=True, **conf)
    stack.callback(gc.collect)
    stack.callback(close, app)
    places = {"broker": broker, "backend": backend}
    return {"folder": folder, "queue": queue, "app": app, "stack": stack, "models": models, **places}


def house(folder: Path, server: Redis, batch: int = 32, backend: str | None = None) -> RedisHouse:
    """One with Redis as its broker."""
    number = next(WHO)
    url = server.url(number % 16)
    made = furnished(folder, ExitStack(), url, backend or url, batch, number)
    return RedisHouse(**made, redis=server, db=number % 16, described={"transport": "redis"})


def hears_all_events(app: Any) -> bool:
    """Sends tasks until the events of a worker, of good tasks and of bad ones were heard; False if they never are."""
    wanted = {"worker-heartbeat", "task-received", "task-started", "task-succeeded", "task-failed"}
    seen: set[str] = set()
    heard = threading.Event()

    def hear(event: dict[str, Any]) -> None:
        seen.add(event["type"])
        if wanted <= seen:
            heard.set()

    def listen() -> None:
        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": hear})
            for _ in receiver.itercapture(limit=None, timeout=LONG, wakeup=False):
                if heard.is_set():
                    return

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    until = time.monotonic() + LONG
    while not heard.is_set() and time.monotonic() < until:
        app.send_task("proj.echo", (1,)).get(timeout=LONG)
        app.send_task("proj.echo", ({"raise": "value"},)).get(timeout=LONG, propagate=False)
        heard.wait(0.2)
    thread.join(LONG)
    return heard.is_set()
