"""A PostgreSQL of a run's own, which can be killed and started again without hurting anybody else.

Its program does not run as root, so root runs it as the user that the package made for it.
"""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from support.postgres import Address, Database, psql

#: Making a cluster, a start with a recovery, a stop.
LIMIT = 60.0
USER = "postgres"
#: What is written goes to the disk before it is confirmed, as it does by default; the rest keeps it small.
SETTINGS = {
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "16MB",
    "logging_collector": "off",
}


@functools.cache
def programs() -> Path | None:
    """The folder of its programs."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    if found := shutil.which("pg_config"):
        told = subprocess.run([found, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.append(Path(told))
    return next(
        (folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres"))), None
    )


def can_have_one() -> bool:
    """Whether its programs are here, and somebody whom they run as."""
    if programs() is None or shutil.which("setpriv") is None or shutil.which("psql") is None:
        return False
    with suppress(KeyError):
        return os.geteuid() != 0 or pwd.getpwnam(USER).pw_uid != 0
    return False


class Cluster:
    """It lies in a folder of its own, which goes with it.

    The thread that starts it must outlive it: it ends with that, so that a run that is killed leaves none behind.
    """

    def __init__(self, address: Address, log: Path) -> None:
        """Makes and starts it."""
        found = programs()
        assert found is not None
        self._bin = found
        self.address = address
        self._folder = Path(tempfile.mkdtemp(prefix="faults-store-"))
        self._log = log
        self._as = ["setpriv", "--pdeathsig", "QUIT"]
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            self._as += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self._child: subprocess.Popen[bytes] | None = None
        make = [*self._as, str(self._bin / "initdb"), "-D", str(self._data), "-U", USER, "-A", "trust"]
        words = [*make, "-E", "UTF8", "--locale", "C", "--no-sync"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT, check=False, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"initdb: {done.stderr}")
        self.start()

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Starts it, and waits until it can be asked."""
        settings = SETTINGS | {"listen_addresses": self.address[0], "port": str(self.address[1])}
        flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*self._as, str(self._bin / "postgres"), "-D", str(self._data), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        self.wait_open()

    def wait_open(self) -> None:
        """Waits until it can be asked."""
        limit = time.monotonic() + LIMIT
        while True:
            try:
                psql("", at=self.address)
                return
            except RuntimeError:  # noqa: PERF203  (it is asked again)
                if time.monotonic() > limit or self._child is None or self._child.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self, number: int) -> None:
        """SIGINT: at once, and in order (`-m fast`). SIGQUIT: at once, and nothing more is written (`-m immediate`)."""
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait(LIMIT)

    def kill_session(self, choice: int) -> None:
        """kill -9 of one of its processes, which it answers by ending all and recovering."""
        assert self._child is not None
        path = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
        pids = [int(pid) for pid in path.read_text().split()]
        with suppress(ProcessLookupError):
            os.kill(pids[choice % len(pids)], signal.SIGKILL)

    def close(self) -> None:
        """Nothing is left of it but its log."""
        if self._child is not None and self._child.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)


class Store:
    """The run's own database: in a PostgreSQL of its own where that can be had, else in the one of this machine."""

    def __init__(self, address: Address, log: Path) -> None:
        """Makes it; `address` is where a PostgreSQL of its own would listen."""
        self.cluster = Cluster(address, log) if can_have_one() else None
        self.database = Database() if self.cluster is None else Database(self.cluster.address)

    def end_sessions(self, application: str | None = None) -> None:
        """Terminates all sessions, or those of one server; in vain where the store is away."""
        with suppress(RuntimeError):
            self.database.end_connections(application)

    def close(self) -> None:
        """Drops it."""
        if self.cluster is None:
            self.database.drop()
        else:
            self.cluster.close()
