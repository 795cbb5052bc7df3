"""The brokers that a fleet can be over, each a server of the run's own: they are killed, stopped and started again.

RabbitMQ keeps what it has. Redis does or does not, as the seed draws: without its log of changes all is lost.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import abstractmethod
from contextlib import suppress
from pathlib import Path

from faults.fleet.between import Between
from faults.fleet.own import LIMIT, Address, OwnServer

#: Which there are, and what each is called in `--store`.
BROKERS = ("redis", "rabbitmq")
#: An answer takes no longer, and an end of its process.
ANSWER_SECONDS = 5.0
#: Where Debian has the programs themselves: those on the path become another user first.
RABBIT_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
#: What queues of models are called, and among them those for results.
OURS = "cresset."
RESULTS = f"{OURS}results."
#: What may stay at Redis without a time to live: who listens to which exchange, as kombu keeps it.
BINDINGS = "_kombu."
#: All other keys without one, each with how much it has.
LASTING = """
local sizes = {list = 'LLEN', hash = 'HLEN', zset = 'ZCARD', string = 'STRLEN', set = 'SCARD'}
local found = {}
for _, name in ipairs(redis.call('KEYS', '*')) do
    if redis.call('TTL', name) == -1 and string.sub(name, 1, #ARGV[1]) ~= ARGV[1] then
        local size = sizes[redis.call('TYPE', name).ok]
        found[#found + 1] = name .. ' ' .. (size and redis.call(size, name) or 1)
    end
end
return found
"""
#: Removes all keys of a type whose names begin so, and says how many.
PURGE = """
local count = 0
for _, name in ipairs(redis.call('KEYS', ARGV[2] .. '*')) do
    if redis.call('TYPE', name).ok == ARGV[1] then count = count + redis.call('DEL', name) end
end
return count
"""


def can_have_broker(kind: str) -> bool:
    """Whether its programs are here."""
    if shutil.which("setpriv") is None:
        return False
    if kind == "redis":
        return bool(shutil.which("redis-server") and shutil.which("redis-cli"))
    return (RABBIT_PROGRAMS / "rabbitmq-server").exists() and shutil.which("erl") is not None


class BrokerServer(OwnServer):
    """What both have."""

    AT_ONCE = signal.SIGKILL
    IN_ORDER = signal.SIGTERM
    ORPHANED = "KILL"
    #: Whether it has after a kill what it had before.
    keeps = True

    def __init__(self, address: Address, log: Path) -> None:
        """Makes and starts it, as whoever we are."""
        super().__init__(address, log, None)

    def _making(self) -> list[str]:
        return ["true"]

    def break_down(self, choice: int) -> None:
        """Whoever looks after it starts it again."""
        self.stop(at_once=True)
        self.start()

    def stand_still(self, seconds: float) -> None:
        """SIGSTOP for so long: it keeps its connections, and says nothing."""
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for pid in self._pids():
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if number == signal.SIGSTOP:
                time.sleep(seconds)

    @abstractmethod
    def starve(self, seconds: float) -> None:
        """For so long it refuses whatever would take memory."""

    @abstractmethod
    def purge(self, what: str) -> int:
        """Throws out all `tasks` that wait, all `results` that nobody has, or `everything`; from how many places."""

    def _pids(self) -> list[int]:
        """The process that we have started, and those that it has."""
        assert self._child is not None
        return [self._child.pid, *descendants(self._child.pid)]


def descendants(pid: int) -> list[int]:
    """All processes below one."""
    below: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has ended
            for child in map(int, children.read_text().split()):
                below += [child, *descendants(child)]
    return below


class RedisServer(BrokerServer):
    """A Redis."""

    def __init__(self, address: Address, log: Path, *, keeps: bool) -> None:
        """`keeps`: each change is on the disk before it is confirmed."""
        self.keeps = keeps
        super().__init__(address, log)

    def _running(self) -> list[str]:
        keeping = ["yes", "--appendfsync", "always"] if self.keeps else ["no"]
        where = ["--bind", self.address[0], "--port", str(self.address[1]), "--dir", str(self._folder)]
        return ["redis-server", *where, "--save", "", "--appendonly", *keeping]

    def ask(self, *words: str) -> str:
        """What `redis-cli` says."""
        command = ["redis-cli", "-h", self.address[0], "-p", str(self.address[1]), "-e", *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"{words[0]}: no answer") from error
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def _ask(self) -> None:
        self.ask("PING")

    def starve(self, seconds: float) -> None:
        """Writes are refused in words."""
        self.ask("CONFIG", "SET", "maxmemory", "1")
        time.sleep(seconds)
        self.ask("CONFIG", "SET", "maxmemory", "0")

    def purge(self, what: str) -> int:
        """Lists of tasks, or keys of results."""
        if what == "everything":
            return int(self.ask("EVAL", "local had = redis.call('DBSIZE') redis.call('FLUSHALL') return had", "0"))
        wanted = ("list", OURS) if what == "tasks" else ("string", "celery-task-meta-")
        return int(self.ask("EVAL", PURGE, "0", *wanted))

    def connections(self) -> int:
        """But for the one that asks."""
        return len(self.ask("CLIENT", "LIST").splitlines()) - 1

    def left(self) -> dict[str, int]:
        """How much of what is there does not go by itself."""
        found = [line.rpartition(" ") for line in self.ask("EVAL", LASTING, "0", BINDINGS).splitlines() if line]
        return {name: int(count) for name, _, count in found}


class RabbitServer(BrokerServer):
    """A RabbitMQ: a node of its own."""

    def _make(self) -> None:
        (self._folder / "plugins").write_text("[].\n")
        for name in ("none", "rabbitmq.conf"):
            (self._folder / name).touch()
        # The node is a child of a shell's, and ends with that.
        program = self._folder / "bin" / "erl"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec setpriv --pdeathsig KILL {shutil.which("erl")} "$@"\n')
        program.chmod(0o755)
        with socket.create_server((self.address[0], 0)) as probe:
            self._tools_port: int = probe.getsockname()[1]

    @property
    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")} | {
            "HOME": str(folder),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "RABBITMQ_NODENAME": f"faults-{folder.name.rpartition('-')[2]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": self.address[0],
            "RABBITMQ_NODE_PORT": str(self.address[1]),
            "RABBITMQ_DIST_PORT": str(self._tools_port),
            "RABBITMQ_MNESIA_BASE": str(self._data),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }

    def _running(self) -> list[str]:
        return [str(RABBIT_PROGRAMS / "rabbitmq-server")]

    def _ask(self) -> None:
        """It listens last of all."""
        try:
            with socket.create_connection(self.address, timeout=ANSWER_SECONDS) as connection:
                connection.sendall(b"AMQP\0\0\x09\x01")
                if not connection.recv(1):
                    raise RuntimeError("it hangs up")
        except OSError as error:
            raise RuntimeError(f"nobody is there: {error}") from error

    def stop(self, *, at_once: bool) -> None:
        """The shell around the node has gone before the node has."""
        pids = self._pids() if self._child is not None else []
        super().stop(at_once=at_once)
        limit = time.monotonic() + LIMIT
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < limit:
            time.sleep(0.02)

    def _listed(self, *words: str) -> list[list[str]]:
        """The rows of a table."""
        said = self._control(words[0], "--no-table-headers", *words[1:])
        return [line.split("\t") for line in said.splitlines() if line]

    def _control(self, *words: str) -> str:
        program = str(RABBIT_PROGRAMS / "rabbitmqctl")
        node = self._environment["RABBITMQ_NODENAME"]
        command = [program, "--quiet", "--node", node, *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=LIMIT, check=False, env=self._environment, cwd="/"
        )
        if done.returncode != 0:
            raise RuntimeError(f"{words[0]}: {done.stdout}{done.stderr}")
        return done.stdout

    def starve(self, seconds: float) -> None:
        """Whoever publishes is blocked. The tool takes a while, too: it is the broker's time that counts."""
        little, much = "{absolute, 1}", "0.6"
        lacks = f"vm_memory_monitor:set_vm_memory_high_watermark({little}), timer:sleep({int(seconds * 1e3)})"
        self._control("eval", f"{lacks}, vm_memory_monitor:set_vm_memory_high_watermark({much}).")

    def purge(self, what: str) -> int:
        """Queues of models, or those of gateways for their results; or all of them are no more."""
        names = [name for (name,) in self._listed("list_queues", "name") if name.startswith(OURS)]
        everything = what == "everything"
        chosen = [name for name in names if everything or name.startswith(RESULTS) == (what == "results")]
        for name in chosen:
            self._control("delete_queue" if everything else "purge_queue", name)
        return len(chosen)

    def connections(self) -> int:
        """All of them."""
        return len(self._listed("list_connections", "pid"))

    def left(self) -> dict[str, int]:
        """Messages, by queue."""
        found = self._listed("list_queues", "name", "messages")
        return {name: int(count) for name, count in found if count != "0"}


class Broker(Between):
    """The run's own broker."""

    def __init__(self, kind: str, address: Address, log: Path, *, keeps: bool) -> None:
        """Makes it, and listens at this address. `keeps`: for a Redis, whether it outlives a kill."""
        self.kind = kind
        is_redis = kind == "redis"
        self.server = RedisServer(address, log, keeps=keeps) if is_redis else RabbitServer(address, log)

    @property
    def at(self) -> Address:
        """Where it listens."""
        return self.server.address

    def url_by(self, way: Address, mark: str) -> str:
        """Nobody is told apart."""
        if self.kind == "redis":
            return f"redis://{way[0]}:{way[1]}/0"
        return f"amqp://guest:guest@{way[0]}:{way[1]}/"

    def close(self) -> None:
        """Ends it."""
        self.server.close()
