"""The way of one server to its store or broker: a TCP proxy that can be cut, held up, made a partition, and mended."""

from __future__ import annotations

import math
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from support.listens import Address, Listens

#: open: all passes.
#: cut: every connection ends, and none can be had.
#: stalled: nothing passes for a time; both ends keep their connections, and nothing is lost.
#: silent: the store sees the connections end; the server sees nothing at all, as when its machine is cut off.
#: mute: what the server says reaches the store, and the answers are lost.
Mode = Literal["open", "cut", "stalled", "silent", "mute"]
CHUNK = 65536
CONNECT_LIMIT = 5.0


@dataclass(eq=False)
class _Pair:
    """A connection of the server's, and the one to the store that stands for it."""

    server: socket.socket
    store: socket.socket | None
    #: Something of it was lost, so it ends when the way is mended.
    is_spoilt: bool = False
    #: How many threads carry what comes by it, still.
    carriers: int = 0

    def end(self) -> None:
        for side in (self.server, self.store):
            if side is not None:
                with suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)


class Link(Listens):
    """Carries what comes to the store."""

    def __init__(self, address: Address, store: Address) -> None:
        super().__init__(address)
        self._store = store
        self._mode: Mode = "open"
        self._changed = threading.Condition()
        self._pairs: set[_Pair] = set()
        self._begin()

    def set(self, mode: Mode) -> None:
        """From now on the way is so. Whatever was lost on it before is not caught up with: those connections end."""
        with self._changed:
            self._mode = mode
            for pair in self._pairs:
                if mode == "cut" or (mode == "open" and pair.is_spoilt):
                    pair.end()
                elif mode == "silent" and pair.store is not None:
                    with suppress(OSError):
                        pair.store.shutdown(socket.SHUT_RDWR)
                pair.is_spoilt |= mode in ("silent", "mute")
            self._changed.notify_all()

    def lose(self, share: float) -> int:
        """Some of the connections end; how many."""
        with self._changed:
            some = list(self._pairs)[: math.ceil(len(self._pairs) * share)]
            for pair in some:
                pair.end()
        return len(some)

    def _met(self, caller: socket.socket) -> None:
        with self._changed:
            mode = self._mode
        store = None
        if mode not in ("cut", "silent"):
            with suppress(OSError):
                store = socket.create_connection(self._store, timeout=CONNECT_LIMIT)
                store.settimeout(None)
        pair = _Pair(caller, store, is_spoilt=mode in ("silent", "mute"))
        with self._changed:
            # What was drawn meanwhile holds for it too: it is as if it had come a moment later.
            usable = self._mode == mode and (store is not None or mode == "silent")
            if usable:
                self._pairs.add(pair)
        if not usable:
            pair.end()
            self._close(pair)
            return
        pair.carriers = 1 if store is None else 2
        self._spawn(self._carry, pair, "up")
        if store is not None:
            self._spawn(self._carry, pair, "down")

    def _carry(self, pair: _Pair, way: Literal["up", "down"]) -> None:
        source, sink = (pair.server, pair.store) if way == "up" else (pair.store, pair.server)
        assert source is not None
        with suppress(OSError):
            while data := source.recv(CHUNK):
                with self._changed:
                    self._changed.wait_for(lambda: self._mode != "stalled")
                    passes = not pair.is_spoilt or (way == "up" and self._mode == "mute")
                if passes and sink is not None:
                    sink.sendall(data)
        # The end of one side is told to the other, unless it is to hear nothing before the way is mended.
        with self._changed:
            self._changed.wait_for(lambda: self._mode in ("open", "cut"))
            pair.end()
            self._pairs.discard(pair)
            pair.carriers -= 1
            is_last = pair.carriers == 0
        if is_last:
            self._close(pair)

    @staticmethod
    def _close(pair: _Pair) -> None:
        for side in (pair.server, pair.store):
            if side is not None:
                side.close()

    def close(self) -> None:
        """Ends all connections."""
        self.set("cut")
        self._ignore()
        self._join()
