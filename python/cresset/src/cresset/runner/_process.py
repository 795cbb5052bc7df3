"""What makes this process safe to be a model's: before any code of the author runs, and whatever that code does.

It dies with its parent, keeps the control channel out of reach of the author's code and of anything that code starts,
stops politely on SIGTERM, and writes text to the server's log line by line.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import faulthandler
import fcntl
import io
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Final, NoReturn

from cresset.runner._channel import Channel

if TYPE_CHECKING:
    from types import FrameType

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 64
EXIT_PROTOCOL: Final = 70
EXIT_DEVICE_LOST: Final = 75

_CHANNEL_FD: Final = 3
_SAFE_FD: Final = 64
"""The channel is moved to this descriptor or above, out of the way of code that closes or reuses small numbers."""
_PR_SET_PDEATHSIG: Final = 1


class Stopping(BaseException):
    """SIGTERM came while there was nothing to lose (before READY)."""


def tie_to_parent() -> None:
    """Ask the kernel to kill us when the server dies, then make sure that it has not died already."""
    wanted = os.environ.get("CRESSET_PARENT_PID", "")
    if not wanted.isdecimal():
        sys.stderr.write(
            "cresset.runner: CRESSET_PARENT_PID is not set. The Cresset server starts this program, not you; "
            "run `cresset serve DIR`.\n"
        )
        leave(EXIT_USAGE)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(wanted):
        sys.stderr.write(f"cresset.runner: the server (process {wanted}) has gone; exiting\n")
        leave(EXIT_OK)


def take_channel() -> Channel:
    """Move the control channel from descriptor 3 to where the author's code will not step on it."""
    try:
        fd = fcntl.fcntl(_CHANNEL_FD, fcntl.F_DUPFD_CLOEXEC, _SAFE_FD)
        os.close(_CHANNEL_FD)
        sock = socket.socket(fileno=fd)
    except OSError as error:
        _no_channel(str(error))
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        _no_channel("it is another kind of socket")
    sock.setblocking(True)
    channel = Channel(sock)
    # Programs that the author's code runs do not inherit it (close-on-exec); processes that it forks must not use it.
    os.register_at_fork(after_in_child=channel.close_in_forked_child)
    return channel


def _no_channel(why: str) -> NoReturn:
    sys.stderr.write(f"cresset.runner: descriptor 3 is not the server's control channel: {why}\n")
    leave(EXIT_PROTOCOL)


def tame_streams() -> None:
    """Make stdout and stderr write whole lines at once, and never raise for a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    with contextlib.suppress(io.UnsupportedOperation, AttributeError):
        faulthandler.enable()


def default_logging() -> None:
    """Send log records to stderr from INFO up, unless the author has set up logging."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(name)s: %(message)s")


class StopSignal:
    """SIGTERM, turned into something that a blocking loop notices without losing a batch.

    Before `defer`, it raises `Stopping` in the main thread: import and load are abandoned. After it, it sets
    `requested` and ends a waiting `receive`. The latter is done by a thread that the signal wakes through a pipe,
    because a handler alone can come too late for a read that has just begun.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._deferred = False
        self.requested = False

    def install(self) -> None:
        """Take over SIGTERM and ignore SIGINT: the server alone decides when we stop."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reader,), name="cresset-stop", daemon=True).start()

    def defer(self) -> None:
        """From now on let the batch in hand finish."""
        self._deferred = True

    def _on_term(self, _signal: int, _frame: FrameType | None) -> None:
        self.requested = True
        if not self._deferred:
            raise Stopping

    def _watch(self, reader: int) -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGTERM:
                self._channel.stop_receiving()


def run_exit_handlers() -> None:
    """Run what the author's code registered with `atexit`; the server's deadline bounds it."""
    atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # there is no public way that does not also wait for threads


def leave(status: int) -> NoReturn:
    """Exit at once: no waiting for threads that the author's code left behind."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader of the pipe may have gone, or it was closed
            stream.flush()
    os._exit(status)
