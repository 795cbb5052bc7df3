"""A master, a replica and the sentinels that watch them, of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from served import free_port

from support.application import Redis, answering, told_once
from support.server import LONG
from support.wait import until

MASTER = "mymaster"
SENTINELS = 3

#: A master is missed after half a second, and replaced in about two.
SETTINGS = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor {master} 127.0.0.1 {at} 2
sentinel down-after-milliseconds {master} 500
sentinel failover-timeout {master} 5000
sentinel parallel-syncs {master} 1
{more}
"""


class Watched:
    """Two servers of Redis and three sentinels."""

    def __init__(self, folder: Path, *, password: str = "", sentinel_password: str = "") -> None:
        """Starts all, and waits until they know each other. The passwords are the servers' and the sentinels'."""
        self.password = password
        self.sentinel_password = sentinel_password
        self.folder = folder
        self.sentinels: dict[int, subprocess.Popen[bytes]] = {}
        self.servers: dict[int, Redis] = {}
        self._clients: dict[tuple[int, int], Any] = {}
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        folder, password = self.folder, self.password
        words = ["--repl-diskless-sync-delay", "0"]
        words += ["--requirepass", password, "--masterauth", password] if password else []
        for name in ("one", "two"):
            (folder / name).mkdir(parents=True)
            server = Redis(folder / name, *words)
            self.servers[server.port] = server
        first, second = self.servers
        self.client(second).replicaof("127.0.0.1", first)
        until(lambda: self.client(second).info("replication")["master_link_status"] == "up", "a replica")
        for number in range(SENTINELS):
            self._sentinel(folder / f"sentinel-{number}", first)
        until(self._is_settled, "sentinels that know each other")

    def _sentinel(self, folder: Path, master: int) -> None:
        folder.mkdir()
        port = free_port()
        more = f"sentinel auth-pass {MASTER} {self.password}\n" if self.password else ""
        if self.sentinel_password:
            more += f"requirepass {self.sentinel_password}\nsentinel sentinel-pass {self.sentinel_password}\n"
        path = folder / "sentinel.conf"
        path.write_text(SETTINGS.format(port=port, folder=folder, master=MASTER, at=master, more=more))
        self.sentinels[port] = answering(["redis-server", str(path), "--sentinel"], port)

    def _is_settled(self) -> bool:
        for port in self.sentinels:
            said = self.sentinel(port).sentinel_master(MASTER)
            if (said["num-slaves"], said["num-other-sentinels"]) != (1, SENTINELS - 1):
                return False
            if not said["is_master"] or self.sentinel(port).sentinel_slaves(MASTER)[0]["flags"] != "slave":
                return False
        return True

    def client(self, port: int, db: int = 0) -> Any:
        """A server, bare."""
        made = self._clients.get((port, db)) or told_once(port, db=db, password=self.password or None)
        return self._clients.setdefault((port, db), made)

    def sentinel(self, port: int) -> Any:
        """A sentinel, bare."""
        words = {"password": self.sentinel_password or None, "decode_responses": True}
        made = self._clients.get((port, 0)) or told_once(port, **words)
        return self._clients.setdefault((port, 0), made)

    @property
    def master(self) -> int:
        """The port of the master, as the first sentinel that is there knows it."""
        for port in self.sentinels:
            with suppress(redis.ConnectionError):
                return int(self.sentinel(port).sentinel_get_master_addr_by_name(MASTER)[1])
        raise AssertionError("no sentinel answers")

    @property
    def replica(self) -> int:
        """The port of the other one."""
        [other] = [port for port in self.servers if port != self.master]
        return other

    def url(self, db: int = 0, *more: int) -> str:
        """The address as Celery has it, these ports before the real ones: the name of the master is not in it."""
        login = f":{quote(self.password, safe='')}@" if self.password else ""
        return ";".join(f"sentinel://{login}127.0.0.1:{port}/{db}" for port in [*more, *self.sentinels])

    def ours(self, db: int = 0, *more: int, master: str = MASTER) -> str:
        """The same with what Celery has in its options."""
        own = f"&sentinel_password={quote(self.sentinel_password)}" if self.sentinel_password else ""
        return f"{self.url(db, *more)}?master_name={master}{own}"

    @property
    def options(self) -> dict[str, Any]:
        """What Celery has in its options."""
        own = {"sentinel_kwargs": {"password": self.sentinel_password}} if self.sentinel_password else {}
        return {"master_name": MASTER, **own}

    def _is_another(self, before: int) -> bool:
        """Whether all sentinels that are there take another one for the master, and it is one."""
        masters: set[int] = set()
        for port in self.sentinels:
            with suppress(redis.ConnectionError):
                said = self.sentinel(port).sentinel_master(MASTER)
                # One that follows a failover names the new master before it has it as its own.
                masters.add(said["port"] if said["flags"] == "master" else before)
        if len(masters) != 1 or before in masters:
            return False
        with suppress(redis.ConnectionError):
            return self.client(*masters).role()[0] == b"master"
        return False

    def _another(self, before: int) -> None:
        until(lambda: self._is_another(before), "another master")

    def kill_master(self) -> int:
        """Ends the master at once, and waits until another one has its place; gives the port of the one that was."""
        before = self.master
        self.servers[before].stop()
        self._another(before)
        return before

    def failover(self) -> int:
        """Has the sentinels swap master and replica."""
        before = self.master
        first = next(iter(self.sentinels))

        def swapped() -> bool:
            # One that takes too long, on a busy machine, is given up, and nobody but who wants it begins another.
            if self.master == before:
                with suppress(redis.ResponseError):  # one is under way, or cannot begin yet
                    self.sentinel(first).execute_command("SENTINEL", "FAILOVER", MASTER)
            return self._is_another(before)

        until(swapped, "another master")
        return before

    def freeze(self, port: int) -> None:
        """A server says nothing any more, and is there."""
        os.kill(self.servers[port].process.pid, signal.SIGSTOP)

    def hang_master(self) -> int:
        """The master hangs until another one has its place."""
        before = self.master
        self.freeze(before)
        self._another(before)
        return before

    def thaw(self, port: int) -> None:
        """It goes on."""
        os.kill(self.servers[port].process.pid, signal.SIGCONT)

    def again(self, port: int) -> None:
        """Starts a server that was ended, and waits until it follows the master."""
        self.servers[port].start()
        self.follows(port)

    def follows(self, port: int) -> None:
        """Waits until the sentinels have made a replica of what was the master."""

        def is_replica() -> bool:
            with suppress(redis.ConnectionError):  # who becomes one hangs up on everybody
                said = self.client(port).info("replication")
                return said["role"] == "slave" and said["master_link_status"] == "up"
            return False

        until(is_replica, "a replica again")
        # Until they know it they would not have it take the master's place.
        until(self._is_settled, "sentinels that know the replica")

    def stop(self) -> None:
        """Ends all."""
        for client in self._clients.values():
            client.close()
        for process in self.sentinels.values():
            process.kill()
            process.wait(LONG)
        for server in self.servers.values():
            server.stop()


def watched_or_skip(folder: Path, *, password: str = "", sentinel_password: str = "") -> Watched:
    """Such servers; where the program is missing a failure in CI, and a skip that is told elsewhere."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    return Watched(folder, password=password, sentinel_password=sentinel_password)
