"""A virtual host of RabbitMQ for each application: its queues, its connections, and workers that are Cresset."""

from __future__ import annotations

import gc
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from support.application import MODEL, SETTINGS, WHO, close
from support.models import write_model
from support.server import LONG, Server

# Where Debian has it, which is not on everybody's path.
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"}


def control(*words: str) -> str:
    """What `rabbitmqctl` says."""
    done = subprocess.run(
        ["rabbitmqctl", "--quiet", *words], capture_output=True, text=True, timeout=LONG, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@cache
def is_there() -> bool:
    """Whether a broker runs here that can be told to make virtual hosts."""
    try:
        control("status")
    except (AssertionError, FileNotFoundError, subprocess.TimeoutExpired):
        return False
    return True


class Rabbit:
    """A virtual host of its own."""

    def __init__(self) -> None:
        """Makes it."""
        self.vhost = f"cresset-{os.getpid()}-{next(WHO)}"
        self.make()

    def make(self) -> None:
        """Makes it, empty."""
        control("add_vhost", self.vhost)
        control("set_permissions", "-p", self.vhost, "guest", ".*", ".*", ".*")

    @property
    def url(self) -> str:
        """Its address."""
        return f"amqp://guest:guest@127.0.0.1:5672/{self.vhost}"

    def queue(self, name: str, *columns: str) -> list[int]:
        """Numbers of a queue: `messages` and so on; empty when there is no such queue."""
        lines = control("list_queues", "-p", self.vhost, "--no-table-headers", "name", *columns).splitlines()
        found = [line.split("\t")[1:] for line in lines if line.split("\t")[0] == name]
        return [int(number) for number in found[0]] if found else []

    def close_connections(self) -> None:
        """Ends every connection to it."""
        control("close_all_connections", "--vhost", self.vhost, "a test says so")

    def drop(self) -> None:
        """Removes it, and with it whatever is connected."""
        control("delete_vhost", self.vhost)


def rabbit_or_skip() -> Rabbit:
    """A virtual host; without a broker a failure if CI says that it has one (`CI_HAS`), else a skip that is told."""
    if not is_there():
        if "rabbitmq" in os.environ.get("CI_HAS", "").split():
            pytest.fail("RabbitMQ does not run, and CI says that it has it")
        pytest.skip("RabbitMQ does not run here")
    return Rabbit()


@dataclass
class RabbitHouse:
    """One application, its queue, and the workers that a test starts for it."""

    folder: Path
    rabbit: Rabbit
    queue: str
    backend: str
    app: Any
    """Celery says nothing of its types."""
    stack: ExitStack
    models: Path
    workers: list[Server] = field(default_factory=list[Server])
    node: str = ""
    """The name of the worker that was started last."""

    def worker(self, *flags: str, broker: str | None = None, env: dict[str, str] | None = None) -> Server:
        """Starts `cresset worker` and waits until it is ready."""
        return self.start(*flags, broker=broker, env=env).wait_ready()

    def start(self, *flags: str, broker: str | None = None, env: dict[str, str] | None = None) -> Server:
        """Starts `cresset worker`."""
        data = self.folder / f"data-{len(self.workers)}"
        data.mkdir()
        known = ["--celery", self.queue, "--broker", broker or self.rabbit.url, "--result-backend", self.backend]
        self.node = f"cresset-{next(WHO)}@test"
        named = ["--celery-node", self.node]
        server = Server(self.models, data, *known, *named, *flags, command="worker", env=env)
        self.stack.callback(server.close)
        self.workers.append(server)
        return server


def rabbit_house(folder: Path, backend: str = "rpc://", batch: int = 32, **conf: object) -> RabbitHouse:
    """A virtual host, a model, an application, and no worker yet."""
    rabbit = rabbit_or_skip()
    stack = ExitStack()
    stack.callback(rabbit.drop)
    queue = f"q{next(WHO)}"
    models = folder / "models"
    write_model(models, "echo", MODEL, SETTINGS.format(batch=batch))
    app: Any = Celery("proj", broker=rabbit.url, backend=backend, set_as_current=False)
    app.conf.update(task_default_queue=queue, broker_connection_retry_on_startup=True, **conf)
    stack.callback(gc.collect)
    stack.callback(close, app)
    return RabbitHouse(folder, rabbit, queue, backend, app, stack, models)
