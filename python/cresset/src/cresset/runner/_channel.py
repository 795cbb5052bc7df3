"""The control channel: whole frames in, whole frames out, over the socket that the server made.

Blocking on purpose: one process runs one batch at a time, and an event loop costs more than it gives here. Reads go
into one buffer that is allocated once, so that an ordinary RUN costs a single system call.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from cresset.runner import _wire as wire

if TYPE_CHECKING:
    from collections.abc import Sequence

_BUFFER_LEN: Final = 64 * 1024
"""Holds any RUN and most RUN_OBJECTS; a larger frame gets a buffer of its own, dropped after it."""
_MAX_FDS: Final = 4
"""Room for descriptors in one read. The protocol sends two at most; more are seen, closed and refused."""
_ANCILLARY_LEN: Final = socket.CMSG_SPACE(_MAX_FDS * array.array("i").itemsize)
_CLOEXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0x40000000)
_MAX_IOVECS: Final = 64
"""Parts handed to one sendmsg; far below the kernel's IOV_MAX (1024)."""


class Frame(NamedTuple):
    """One message. `body` is borrowed: it is valid until the next `receive`."""

    header: wire.Header
    body: memoryview
    fds: tuple[int, ...]
    """The descriptors that came with it, in order; the receiver closes them."""


class Channel:
    """Our end of the socketpair. `receive` is for one thread, `send` and `stop_receiving` for any."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._home = bytearray(_BUFFER_LEN)
        self._buffer = self._home
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._fds: list[int] = []
        self._sending = threading.Lock()

    def receive(self) -> Frame | None:
        """Wait for the next frame; `None` when the server has gone.

        Raises:
            ProtocolError: the bytes are not a frame, or end inside one.
        """
        if self._start == self._end:
            self._go_home()
        if not self._have(wire.HEADER_LEN):
            return None
        header = wire.unpack_header(self._buffer, self._start)
        if not self._have(wire.HEADER_LEN + header.body_len):
            return None
        body_at = self._start + wire.HEADER_LEN
        self._start = body_at + header.body_len
        return Frame(header, self._view[body_at : self._start], self._take_fds(header.kind))

    def send(self, header: bytes, *parts: bytes | bytearray | memoryview) -> None:
        """Send one frame whole.

        Raises:
            BrokenPipeError: the server has gone.
        """
        with self._sending:
            if not parts:
                self._sock.sendall(header)
                return
            rest: Sequence[bytes | bytearray | memoryview] = (header, *parts)
            while rest:
                sent = self._sock.sendmsg(rest[:_MAX_IOVECS])
                rest = _after(rest, sent)

    def stop_receiving(self) -> None:
        """Make a waiting `receive` return `None`. May be called from another thread."""
        with contextlib.suppress(OSError):  # the server may have closed its end already
            self._sock.shutdown(socket.SHUT_RD)

    def close_in_forked_child(self) -> None:
        """Close the descriptor in a process that the model forked: the channel is ours alone."""
        self._sock.close()

    def _have(self, need: int) -> bool:
        """Read until `need` bytes lie at `_start`; false at a clean end."""
        if self._start + need > len(self._buffer):
            self._make_room(need)
        while self._end - self._start < need:
            count, ancillary, flags, _ = self._sock.recvmsg_into([self._view[self._end :]], _ANCILLARY_LEN, _CLOEXEC)
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds = array.array("i")
                    fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
                    self._fds.extend(fds)
            if flags & socket.MSG_CTRUNC or len(self._fds) > _MAX_FDS:
                raise wire.ProtocolError("more file descriptors came than the protocol ever sends")
            if count == 0:
                if self._end == self._start:
                    return False
                raise wire.ProtocolError("the channel ended inside a message")
            self._end += count
        return True

    def _make_room(self, need: int) -> None:
        held = bytes(self._view[self._start : self._end])
        if need > len(self._buffer):
            self._buffer = bytearray(need)
            self._view = memoryview(self._buffer)
        self._view[: len(held)] = held
        self._start, self._end = 0, len(held)

    def _go_home(self) -> None:
        self._start = self._end = 0
        if self._buffer is not self._home:
            self._buffer = self._home
            self._view = memoryview(self._buffer)

    def _take_fds(self, kind: int) -> tuple[int, ...]:
        if not self._fds:
            return ()
        # A descriptor arrives with the first byte of its frame, so one that is here while a frame of another kind is
        # being handed out belongs to a later frame in the buffer.
        if kind not in (wire.HELLO, wire.RESIZE):
            if self._start == self._end:
                self._drop_fds()
                raise wire.ProtocolError(f"{wire.kind_name(kind)} came with a file descriptor")
            return ()
        # HELLO is the first frame, and the server sends no other before it is answered: all that is here is its own.
        count = len(self._fds) if kind == wire.HELLO else 1
        taken = tuple(self._fds[:count])
        del self._fds[:count]
        return taken

    def _drop_fds(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _after(parts: Sequence[bytes | bytearray | memoryview], sent: int) -> Sequence[bytes | bytearray | memoryview]:
    """Give what is left of `parts` after their first `sent` bytes."""
    for index, part in enumerate(parts):
        if sent < len(part):
            return (memoryview(part)[sent:], *parts[index + 1 :])
        sent -= len(part)
    return ()
