"""A virtual host of RabbitMQ for each application: its queues, its connections, and workers that are Cresset."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from served import free_port

from support.application import WHO, House, furnished
from support.programs import needed
from support.server import LONG

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

    def depths(self) -> dict[str, int]:
        """How many messages are in each queue."""
        lines = control("list_queues", "-p", self.vhost, "--no-table-headers", "name", "messages").splitlines()
        return {name: int(number) for name, number in (line.split("\t") for line in lines)}

    def purge(self, name: str) -> None:
        """Throws out what is ready in a queue."""
        control("purge_queue", "--vhost", self.vhost, name)

    def close_connection(self, name: str) -> int:
        """Ends the connections that call themselves so, and says how many they were."""
        lines = control("list_connections", "--no-table-headers", "pid", "vhost", "client_properties").splitlines()
        # Another run may call its own so.
        found = [line.split("\t") for line in lines if f'"{name}"' in line]
        pids = [pid for pid, vhost, *_ in found if vhost == self.vhost]
        for pid in pids:
            control("close_connection", pid, "a test says so")
        return len(pids)

    def close_connections(self) -> None:
        """Ends every connection to it."""
        control("close_all_connections", "--vhost", self.vhost, "a test says so")

    def drop(self) -> None:
        """Removes it, and with it whatever is connected."""
        control("delete_vhost", self.vhost)


@contextmanager
def largest_message(size: int) -> Generator[None]:
    """What connections that are made meanwhile may send at most, whoever makes them. One test at a time may say so."""
    with (Path(tempfile.gettempdir()) / "cresset-largest-message").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        before = control("eval", "application:get_env(rabbit, max_message_size, undefined).").strip()
        control("eval", f"application:set_env(rabbit, max_message_size, {size}).")
        try:
            yield
        finally:
            control("eval", f"application:set_env(rabbit, max_message_size, {before}).")


@contextmanager
def entrance(folder: Path, tls: str = "") -> Generator[tuple[int, subprocess.Popen[bytes]]]:
    """A proxy in front of the broker: its port, and the process."""
    haproxy, conf = needed("haproxy"), folder / "haproxy.cfg"
    port = free_port()
    conf.write_text(
        "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n"
        f"listen broker\n bind 127.0.0.1:{port} {tls}\n server broker 127.0.0.1:5672\n"
    )
    with subprocess.Popen([haproxy, "-q", "-db", "-f", str(conf)], stdin=subprocess.DEVNULL) as process:
        try:
            yield port, process
        finally:
            process.kill()


def rabbit_or_skip() -> Rabbit:
    """A virtual host; without a broker a failure if CI says that it has one (`CI_HAS`), else a skip that is told."""
    if not is_there():
        if "rabbitmq" in os.environ.get("CI_HAS", "").split():
            pytest.fail("RabbitMQ does not run, and CI says that it has it")
        pytest.skip("RabbitMQ does not run here")
    return Rabbit()


@dataclass(kw_only=True)
class RabbitHouse(House):
    """One with RabbitMQ as its broker."""

    rabbit: Rabbit

    def waiting(self) -> int:
        """Those that are ready."""
        (count,) = self.rabbit.queue(self.queue, "messages_ready")
        return count

    def left(self) -> int:
        """All of them."""
        (count,) = self.rabbit.queue(self.queue, "messages")
        return count


def rabbit_house(folder: Path, backend: str = "rpc://", batch: int = 32, **conf: object) -> RabbitHouse:
    """One with a virtual host of its own."""
    rabbit = rabbit_or_skip()
    stack = ExitStack()
    stack.callback(rabbit.drop)
    made = furnished(folder, stack, rabbit.url, backend, batch, next(WHO), **conf)
    return RabbitHouse(**made, rabbit=rabbit, described={"transport": "amqp", "virtual_host": rabbit.vhost})
