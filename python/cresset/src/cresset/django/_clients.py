"""The clients of this process: made when first used, one for all its threads, and one for each event loop.

A child makes its own: what its parent had made before the fork is not touched (and `cresset.Client` by itself never
uses a connection of another process).
"""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary

from django.core.signals import setting_changed

from cresset.django import conf

if TYPE_CHECKING:
    from collections.abc import Generator

    from cresset.client import AsyncClient, Client


class Factory(Protocol):
    """What makes clients; `cresset.testing.MockServer` is one."""

    def client(self, **options: Any) -> Client:
        """Make a blocking one."""
        ...

    def async_client(self, **options: Any) -> AsyncClient:
        """Make one for asyncio."""
        ...


class _Network:
    """Makes clients of the server that the settings name."""

    def client(self, **options: Any) -> Client:
        from cresset.client import Client  # httpx is imported with it

        return Client(conf.get().url, **options)

    def async_client(self, **options: Any) -> AsyncClient:
        from cresset.client import AsyncClient

        return AsyncClient(conf.get().url, **options)


class _Made:
    """What one process has made."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocking: Client | None = None
        self.by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncClient] = WeakKeyDictionary()


class _Clients:
    """What has been made, by process: a child finds nothing of its parent's, and a lock that nobody holds.

    By the process's id, as not every server that forks tells Python so (uWSGI does not run `os.register_at_fork`).
    """

    def __init__(self, factory: Factory) -> None:
        self._factory = factory
        self.is_network = isinstance(factory, _Network)
        self._by_process: dict[int, _Made] = {}

    def _here(self) -> _Made:
        process = os.getpid()
        return self._by_process.get(process) or self._by_process.setdefault(process, _Made())

    def blocking(self) -> Client:
        here = self._here()
        made = here.blocking
        if made is None:
            with here.lock:
                made = here.blocking = here.blocking or self._factory.client(**_options())
        return made

    def of_loop(self) -> AsyncClient:
        loop, here = asyncio.get_running_loop(), self._here()
        with here.lock:
            made = here.by_loop.get(loop)
            if made is None:
                made = here.by_loop[loop] = self._factory.async_client(**_options())
        return made

    def close(self) -> None:
        here = self._here()
        with here.lock:
            made, here.blocking = here.blocking, None
            here.by_loop = WeakKeyDictionary()
        if made is not None:
            made.close()


def _options() -> dict[str, Any]:
    read = conf.get()
    headers = dict(read.headers)
    if read.key:
        headers["authorization"] = f"Bearer {read.key}"
    return {"timeout": read.timeout, "retries": read.retries, "headers": headers}


_now = _Clients(_Network())


def is_stand_in() -> bool:
    """Tell whether clients are made by something that stands for the server."""
    return not _now.is_network


def get_client() -> Client:
    """Give the blocking client of this process. Thread-safe.

    Raises:
        ImproperlyConfigured: the setting `CRESSET` is wrong.
    """
    return _now.blocking()


def get_async_client() -> AsyncClient:
    """Give the asyncio client of the event loop that runs.

    Under WSGI each request to an async view has a loop of its own, and so a client and connections of its own;
    `get_client` is the better one there.

    Raises:
        ImproperlyConfigured: the setting `CRESSET` is wrong.
        RuntimeError: no event loop runs.
    """
    return _now.of_loop()


@contextmanager
def made_by(factory: Factory) -> Generator[None, None, None]:
    """Have clients made by something else meanwhile: a test's `MockServer`."""
    global _now  # noqa: PLW0603  # the one piece of state there is
    before, _now = _now, _Clients(factory)
    try:
        yield
    finally:
        _now.close()
        _now = before


def _setting_changed(*, setting: str, **_kwargs: Any) -> None:
    if setting == conf.NAME:
        conf.get.cache_clear()
        _now.close()


setting_changed.connect(_setting_changed, dispatch_uid="cresset.django.clients")
