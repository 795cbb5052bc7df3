"""A TCP proxy that is a bad network: it cuts, stalls and truncates, by chance drawn from the seed."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass

from support.listens import Listens

CHUNK = 65536


@dataclass
class Weather:
    """What happens to a connection: after so many bytes of a direction it is cut, or stalled for a time."""

    cut_up: int | None = None
    cut_down: int | None = None
    stall_down: tuple[int, float] | None = None

    @staticmethod
    def drawn(rng: random.Random) -> Weather:
        draw = rng.random()
        if draw < 0.5:
            return Weather()
        if draw < 0.65:
            return Weather(cut_up=rng.randrange(1, 2000))
        if draw < 0.9:
            return Weather(cut_down=rng.randrange(0, 3000))
        return Weather(stall_down=(rng.randrange(0, 1000), rng.uniform(0.1, 1.5)))


class Proxy(Listens):
    """Listens beside the server and forwards to it."""

    def __init__(self, target: tuple[str, int], seed: int) -> None:
        super().__init__((target[0], target[1] + 1))
        self._target = target
        self._rng = random.Random(seed)
        self._closing = threading.Event()
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._begin()

    def _met(self, caller: socket.socket) -> None:
        weather = Weather.drawn(self._rng)
        try:
            server = socket.create_connection(self._target, timeout=5)
        except OSError:
            caller.close()
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {caller, server}
        self._spawn(self._carry, caller, server, weather.cut_up, None)
        self._spawn(self._carry, server, caller, weather.cut_down, weather.stall_down)

    def _carry(
        self, source: socket.socket, sink: socket.socket, cut: int | None, stall: tuple[int, float] | None
    ) -> None:
        carried = 0
        try:
            while data := source.recv(CHUNK):
                if cut is not None and carried + len(data) >= cut:
                    sink.sendall(data[: cut - carried])
                    break
                if stall is not None and carried + len(data) >= stall[0]:
                    sink.sendall(data[: max(0, stall[0] - carried)])
                    self._closing.wait(stall[1])
                    data = data[max(0, stall[0] - carried) :]
                    stall = None
                sink.sendall(data)
                carried += len(data)
        except OSError:
            pass  # the other direction, or a killed server, has ended it
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open -= {source, sink}

    def close(self) -> None:
        self._closing.set()
        self._ignore()
        with self._lock:
            opened = list(self._open)
        for end in opened:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._join()
