"""The connections behind our two clients: made when first used, made anew after a fork, kept apart by what they carry.

Long polls have connections of their own. A caller that waits for a thousand slow tasks would otherwise hold every
connection, and the next submit would wait behind them.

Each connection of httpx has its own client. At every request, httpx looks at all the connections and all the waiting
requests of its pool, so one pool of hundreds costs more than everything else together (measured, 599 tasks at once:
16 s of CPU with one pool, 3.3 s with pools of 16 connections, 1.7 s with pools of one).
"""

from __future__ import annotations

import os
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Generic, TypeVar, Union
from urllib.parse import unquote

import httpx

from cresset.client._core import Lost, Send
from cresset.client._messages import Response

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

_COMMANDS_MAX: Final = 100
_WAITS_MAX: Final = 512
"""Connections at most. Together they stay below the 1,024 open files that many systems allow a process."""
KEEPALIVE_S: Final = 60.0
"""Below the server's own limit of 75 s, so that it is we who close an idle connection."""
_KEY_VARIABLE: Final = "CRESSET_KEY"
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

Verify = Union[str, "os.PathLike[str]", ssl.SSLContext]
"""Who signed a server's certificate: a PEM file, or all that TLS needs."""

AnyHttp = TypeVar("AnyHttp")
"""An httpx client, or a `Line`."""


class _Lane(Generic[AnyHttp]):
    """One connection, and how many requests are with it: one that uses its connection, and others behind that."""

    def __init__(self, http: AnyHttp) -> None:
        self.http = http
        self.busy = 0


class Pools(Generic[AnyHttp]):
    """The connections of one client. Thread-safe and fork-safe.

    Args:
        make: makes an httpx client for so many connections, or a `Line`.
        spread: whether there may be more than one of each kind; not when they would share one transport.
    """

    def __init__(self, make: Callable[[httpx.Limits], AnyHttp], *, spread: bool = True) -> None:
        self._make = make
        self._spread = spread
        self._closed = False
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._lanes: dict[bool, list[_Lane[AnyHttp]]] = {True: [], False: []}

    @contextmanager
    def turn(self, *, is_wait: bool) -> Generator[AnyHttp, None, None]:
        """Give the connection for one request, for as long as the request takes.

        Raises:
            RuntimeError: the client has been closed.
        """
        if self._closed:
            raise RuntimeError("the client has been closed")
        if self._pid != os.getpid():
            # The parent's connections are the parent's: two processes on one would get each other's answers. The lock
            # may have been held by a thread that does not exist here.
            self._begin()
        lock = self._lock
        with lock:
            lane = self._least_busy(is_wait=is_wait)
            lane.busy += 1
        try:
            yield lane.http
        finally:
            with lock:
                lane.busy -= 1

    def _least_busy(self, *, is_wait: bool) -> _Lane[AnyHttp]:
        """Give the first one with a free connection; a new one when none has; the least busy one when all are there."""
        lanes = self._lanes[is_wait]
        most = _WAITS_MAX if is_wait else _COMMANDS_MAX
        each = 1 if self._spread else most
        for lane in lanes:
            if lane.busy < each:
                return lane
        if len(lanes) * each < most:
            limits = httpx.Limits(max_connections=each, max_keepalive_connections=each, keepalive_expiry=KEEPALIVE_S)
            lanes.append(_Lane(self._make(limits)))
            return lanes[-1]
        return min(lanes, key=lambda lane: lane.busy)

    def take_all(self) -> list[AnyHttp]:
        """Give what is to be closed, and refuse to make more."""
        self._closed = True
        if self._pid != os.getpid():
            return []
        with self._lock:
            return [lane.http for lanes in self._lanes.values() for lane in lanes]


def socket_path(base_url: str) -> str | None:
    """Give the path of the socket that a URL names, `unix:/run/cresset.sock` or `http+unix://%2Frun%2Fcresset.sock`.

    Raises:
        ValueError: it names one, and not by an absolute path.
    """
    scheme, colon, rest = base_url.partition(":")
    if not colon or scheme not in ("unix", "http+unix"):
        return None
    path = unquote(rest) if scheme == "http+unix" else rest
    path = path.removeprefix("//")
    if not path.startswith("/"):
        raise ValueError(f"base_url must have an absolute path, like unix:/run/cresset.sock, not {base_url!r}")
    return path


def base_options(
    base_url: str,
    key: str | None,
    headers: Mapping[str, str] | None,
    user_agent: str,
    verify: Verify | None = None,
) -> dict[str, object]:
    """Give what both kinds of httpx client are made with.

    Raises:
        TypeError: the key is not text.
        ValueError: the URL is not one of http or https, nor the path of a socket; or the key has characters that no key
            has.
    """
    if socket_path(base_url) is not None:
        base_url = "http://localhost"
    try:
        url = httpx.URL(base_url)
    except (httpx.InvalidURL, TypeError) as error:
        raise ValueError(f"base_url {base_url!r} is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"base_url must be like http://127.0.0.1:8700, not {base_url!r}")
    return {
        "base_url": url,
        "headers": {"user-agent": user_agent, "accept": "application/json", **_bearer(key), **(headers or {})},
        # Loading certificates takes time: once for all, and not for plain HTTP. A proxy has no way to this machine.
        "verify": _trust(verify) if url.scheme == "https" else False,
        "trust_env": url.host not in _LOOPBACK,
    }


def _bearer(key: str | None) -> dict[str, str]:
    """Give the header that carries the key, or what the environment has for one. No message shows it."""
    value = os.environ.get(_KEY_VARIABLE) if key is None else key
    if not value:
        return {}
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"key must be text, not {type(value).__name__}")
    if not all("!" <= character <= "~" for character in value.strip()):
        raise ValueError("key has characters that no key has; give it as `cresset keys create` printed it")
    return {"authorization": f"Bearer {value.strip()}"}


def _trust(verify: Verify | None) -> ssl.SSLContext:
    if verify is None:
        return httpx.create_ssl_context()
    return verify if isinstance(verify, ssl.SSLContext) else ssl.create_default_context(cafile=verify)


def timeouts(send: Send, connect: float) -> httpx.Timeout:
    """Give httpx's timeouts for a request."""
    write = connect if send.write_timeout is None else send.write_timeout
    return httpx.Timeout(connect=connect, write=write, read=send.read_timeout, pool=send.queue_timeout)


def lost(error: httpx.HTTPError, base_url: str) -> Lost:
    """Say what httpx's failure means for us."""
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
        what = "cannot connect"
    elif isinstance(error, httpx.PoolTimeout):
        what = "no connection became free in time"
    elif isinstance(error, httpx.TimeoutException):
        what = "the server did not answer in time"
    else:
        what = "the connection broke"
    text = str(error) or type(error).__name__
    made = Lost(f"{what}: {text} ({base_url})")
    made.__cause__ = error
    return made


def received(response: httpx.Response) -> Response:
    """Take what we need of an answer."""
    return Response(
        response.status_code, response.content, {name.lower(): value for name, value in response.headers.items()}
    )
