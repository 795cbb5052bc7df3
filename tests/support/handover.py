"""A server on sockets that the test keeps, as a service manager does: descriptors from 3 on, and names for them."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from support.server import program

FIRST = 3
ASIDE = 64


def start_on(
    sockets: Sequence[socket.socket],
    models: Path,
    data: Path,
    *flags: str,
    names: str | None = None,
    log: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a server that is handed these.

    Args:
        sockets: What it gets; they stay open here.
        models: Its models.
        data: Its data folder.
        flags: More words for its command line.
        names: `LISTEN_FDNAMES`; without it the variable is not there.
        log: Where its stderr goes.
    """
    words = [str(program()), "serve", str(models), "--data-dir", str(data), *flags]
    command = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *words]
    # Away from where they are to be, so that none is put over another.
    moved = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD_CLOEXEC, ASIDE) for one in sockets]

    def hand_over() -> None:
        for at, descriptor in enumerate(moved):
            os.dup2(descriptor, FIRST + at, inheritable=True)

    env = {name: value for name, value in os.environ.items() if name != "CRESSET_BIN"}
    env["LISTEN_FDS"] = str(len(sockets))
    if names is not None:
        env["LISTEN_FDNAMES"] = names
    try:
        with (log or Path(os.devnull)).open("wb") as sink:
            return subprocess.Popen(
                command,
                env=env,
                stderr=sink,
                stdout=subprocess.DEVNULL,
                pass_fds=range(FIRST, FIRST + len(sockets)),
                preexec_fn=hand_over,  # noqa: PLW1509  # this process starts no other meanwhile
            )
    finally:
        for descriptor in moved:
            os.close(descriptor)
