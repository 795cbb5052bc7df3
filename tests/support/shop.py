"""An application whose tasks real Celery workers run, and Cresset in front of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cresset
from celery import Celery

from support.application import WHO, Redis, close
from support.rabbit import Rabbit, rabbit_or_skip
from support.sentinel import Watched
from support.server import LONG, Server
from support.wait import until

TASKS = """
    import os
    import time
    from celery import Celery

    class Busy(Exception):
        pass

    app = Celery("shop", broker={broker!r}, backend={backend!r}, set_as_current=False)
    app.conf.update(
        task_default_queue={queue!r},
        task_track_started=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={transport!r},
        result_backend_transport_options={results!r},
        result_serializer={serializer!r},
    )

    def ran(task):
        with open({runs!r}, "a") as runs:
            runs.write(task.request.id + "\\n")

    @app.task(name="shop.work", bind=True, ignore_result=True)
    def work(self, give=None, sleep=0.0, error=None, tries=0, steps=0):
        ran(self)
        for step in range(steps):
            said = f"step {{step + 1}}"
            self.update_state(state="PROGRESS", meta={{"current": step + 1, "total": steps, "message": said}})
            time.sleep(sleep / steps)
        if not steps:
            time.sleep(sleep)
        if self.request.retries < tries:
            raise self.retry(countdown=0.1, max_retries=tries)
        if error == "own":
            raise Busy("try later")
        if error:
            raise ValueError(error)
        return give

    @app.task(name="shop.add")
    def add(a, b):
        return a + b

    @app.task(name="shop.one")
    def one(value):
        return value

    @app.task(name="shop.context", bind=True)
    def context(self):
        request = self.request
        traceparent = getattr(request, "traceparent", None) or (request.headers or {{}}).get("traceparent")
        return {{"traceparent": traceparent, "limits": list(request.timelimit), "origin": request.origin}}
"""

MODEL = """
    [send]
    task = "shop.{task}"
    queue = "{queue}"
    concurrency = {concurrency}
    {more}
"""


#: What a killed worker had is another one's in seconds. Celery's look as they start, and then after 100 s.
RESTORING = {"visibility_timeout": 1, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


@dataclass(kw_only=True)
class Shop:
    """One application, its workers, and the servers of a test in front of them."""

    folder: Path
    broker: str
    backend: str
    queue: str
    stack: ExitStack
    rabbit: Rabbit | None = None
    redis: Redis | None = None
    watched: Watched | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def app(self) -> Any:
        """The application, as whoever sends tasks without Cresset has it."""
        app: Any = Celery("shop", broker=self.broker, backend=self.backend, set_as_current=False)
        app.conf.update(task_default_queue=self.queue)
        if self.watched is not None:
            options = self.watched.options
            app.conf.update(broker_transport_options=options, result_backend_transport_options=options)
        self.stack.callback(close, app)
        return app

    @property
    def models(self) -> Path:
        """Where the models are."""
        return self.folder / "models"

    def model(self, name: str, *, concurrency: int = 16, more: str = "") -> None:
        """Writes one that is a task of the application."""
        folder = self.models / name
        folder.mkdir(parents=True)
        text = MODEL.format(task=name, queue=self.queue, concurrency=concurrency, more=more)
        (folder / "model.toml").write_text(textwrap.dedent(text))

    def serve(self, *flags: str, data: str = "data", broker: str | None = None) -> Server:
        """Starts a server in front of it."""
        (self.folder / data).mkdir(exist_ok=True)
        ours = None if self.watched is None else self.watched.ours()
        places = ["--broker", broker or ours or self.broker, "--result-backend", ours or self.backend]
        server = Server(self.models, self.folder / data, *places, *flags)
        self.stack.callback(server.close)
        return server

    def client(self, server: Server) -> cresset.Client:
        """A client of it."""
        return self.stack.enter_context(cresset.Client(server.url))

    def worker(self, *, processes: int = 2, pool: str = "prefork") -> subprocess.Popen[bytes]:
        """Starts `celery worker`, in a group of its own, and waits until it answers."""
        node = f"shop-{next(WHO)}"
        words = [
            "-A",
            "shop",
            "worker",
            "--concurrency",
            str(processes),
            "--pool",
            pool,
            "-n",
            f"{node}@test",
            "-l",
            "warning",
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", *words, "--without-mingle", "--without-gossip"],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.stack.callback(kill, process)
        self.workers.append(process)
        app = self.app
        until(lambda: app.control.ping(destination=[f"{node}@test"], timeout=0.5), "up")
        return process

    def waiting(self) -> int:
        """Messages in the queue that no worker has."""
        if self.rabbit is not None:
            return next(iter(self.rabbit.queue(self.queue, "messages_ready")), 0)
        with self.app.connection_for_read() as connection:
            return connection.default_channel.client.llen(self.queue)

    def runs(self) -> Counter[str]:
        """How often each task ran."""
        path = self.folder / "runs"
        return Counter(path.read_text().split()) if path.exists() else Counter()


def kill(process: subprocess.Popen[bytes]) -> None:
    """A worker and its children, at once."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(LONG)


def _shop(
    folder: Path,
    broker: str,
    backend: str,
    transport: dict[str, Any],
    serializer: str = "json",
    results: dict[str, Any] | None = None,
    **more: Any,
) -> Shop:
    queue = f"shop{next(WHO)}"
    places = {"broker": broker, "backend": backend, "queue": queue}
    text = textwrap.dedent(TASKS).format(
        **places, transport=transport, results=results or {}, serializer=serializer, runs=str(folder / "runs")
    )
    (folder / "shop.py").write_text(text)
    return Shop(folder=folder, **places, stack=ExitStack(), **more)


def redis_shop(folder: Path, server: Redis, serializer: str = "json") -> Shop:
    """With Redis for both."""
    url = server.url(next(WHO) % 16)
    return _shop(folder, url, url, dict(RESTORING), serializer, redis=server)


def sentinel_shop(folder: Path, watched: Watched) -> Shop:
    """With Redis for both, as sentinels know it."""
    url = watched.url()
    transport = {**RESTORING, **watched.options}
    return _shop(folder, url, url, transport, results=watched.options, watched=watched)


def rabbit_shop(folder: Path, backend: str = "rpc://") -> Shop:
    """With RabbitMQ, in a virtual host of its own."""
    rabbit = rabbit_or_skip()
    # A worker that does not wait for the broker's word loses the results that it publishes while a connection ends.
    made = _shop(folder, rabbit.url, backend, {"confirm_publish": True}, rabbit=rabbit)
    made.stack.callback(rabbit.drop)
    return made
