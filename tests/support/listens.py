"""A socket that is listened on, and a thread for each thing that is done about it."""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod

Address = tuple[str, int]
#: A thread whose connections have ended is done by then.
ENDS_WITHIN = 5.0


class Listens(ABC):
    """Whoever has made all that its threads use begins to listen by `_begin`."""

    def __init__(self, address: Address) -> None:
        """Takes the address; port 0 is a free one."""
        self._listener = socket.create_server(address)
        self.address: Address = self._listener.getsockname()[:2]
        self._threads: list[threading.Thread] = []

    @abstractmethod
    def _met(self, caller: socket.socket) -> None:
        """Somebody has connected. The next one waits until this returns."""

    def _begin(self) -> None:
        self._spawn(self._accept)

    def _spawn(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # pyright: ignore[reportArgumentType]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            self._met(caller)

    def _ignore(self) -> None:
        """Nobody is met any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _join(self) -> None:
        """Waits for the threads; what they wait for has ended."""
        for thread in self._threads:
            thread.join(ENDS_WITHIN)
