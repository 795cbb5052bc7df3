"""Connections that carry one request after another, by the standard library: what the blocking client's calls go over.

httpx spends four times as much of the processor's time on a request (measured: 360 us beside 90), and a view that
submits waits for that. It keeps what it is better at: streams, bodies that are made while they are sent, proxies, and
transports that a test has put in its place.

This knows HTTP and nothing of tasks; what is sent again, and when, is the core's.
"""

from __future__ import annotations

import gzip
import http.client
import select
import socket
import threading
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies

import httpx

from cresset.client._core import Lost
from cresset.client._messages import Response
from cresset.client._pools import KEEPALIVE_S, socket_path

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from cresset.client._core import Send
    from cresset.client._messages import Request

_TOGETHER_MAX: Final = 64 * 1024
"""Bytes of a body that go into one packet with the head before it: copied once, for one system call less."""


@dataclass(frozen=True)
class Route:
    """Where a server is, and what every request to it says."""

    base_url: str
    """As its user wrote it, for errors."""
    address: str | tuple[str, int]
    """The path of a socket, or a host and a port."""
    tls: ssl.SSLContext | None
    host: str
    """For TLS: whose certificate it must be."""
    prefix: bytes
    """What comes before each path."""
    head: Mapping[str, bytes]
    """Lines of the head that all requests have, by their names in lower case; a request's own take their places."""


def route(base_url: str, options: Mapping[str, Any]) -> Route | None:
    """Find the way to a server; `None` when it needs httpx: a proxy stands before it, or the URL has a password.

    Args:
        base_url: as its user wrote it.
        options: of `_pools.base_options` for it.

    Raises:
        ValueError: a header cannot be sent.
    """
    url: httpx.URL = options["base_url"]
    if url.userinfo or (options["trust_env"] and not getproxies().keys().isdisjoint(("http", "https", "all"))):
        return None
    headers = httpx.Headers({"host": url.netloc.decode("ascii"), "accept-encoding": "gzip"})
    headers.update(options["headers"])
    for name, value in headers.raw:
        if any(byte in name + value for byte in b"\r\n\0"):
            raise ValueError(f"the header {name.decode('ascii', 'replace')!r} has a line break in it")
    default = 443 if url.scheme == "https" else 80
    return Route(
        base_url,
        socket_path(base_url) or (url.host, url.port or default),
        options["verify"] or None,
        url.host,
        url.raw_path.rstrip(b"/"),
        {name.decode("ascii").lower(): b"%s: %s\r\n" % (name, value) for name, value in headers.raw},
    )


class Line:
    """One connection to a server, made when it is first needed and anew whenever it was lost.

    Thread-safe: who comes second waits. A request that fails in any way, an interrupt among them, ends the connection,
    as nobody can tell whose answer would come next.
    """

    def __init__(self, way: Route) -> None:
        self._way = way
        self._turn = threading.Lock()
        self._socket: socket.socket | None = None
        self._idle_since = 0.0

    def exchange(self, send: Send, connect_timeout: float) -> Response:
        """Send a request and give its answer.

        Raises:
            Lost: there is none.
        """
        if not self._turn.acquire(timeout=-1 if send.queue_timeout is None else max(0.0, send.queue_timeout)):
            raise Lost(f"no connection became free in time ({self._way.base_url})")
        try:
            answered = False
            try:
                response = self._exchange(send, connect_timeout)
                answered = True
                return response
            finally:
                if not answered:
                    self.close()
        finally:
            self._turn.release()

    def close(self) -> None:
        """End the connection, if there is one."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _exchange(self, send: Send, connect_timeout: float) -> Response:
        if self._socket is not None and (time.monotonic() - self._idle_since > KEEPALIVE_S or _has_end(self._socket)):
            self.close()
        if self._socket is None:
            try:
                self._socket = self._connected(connect_timeout)
            except OSError as error:
                raise self._lost("cannot connect", error) from error
        connection = self._socket
        failed: OSError | None = None
        try:
            connection.settimeout(connect_timeout if send.write_timeout is None else send.write_timeout)
            self._write(connection, send.request)
        except TimeoutError as error:
            raise self._lost("the server did not answer in time", error) from error
        except OSError as error:
            failed = error  # it may have refused the request, and not have read all of it
        try:
            connection.settimeout(send.read_timeout)
            response, stays = _read(connection, send.request.method)
        except TimeoutError as error:
            raise self._lost("the server did not answer in time", failed or error) from error
        except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:
            raise self._lost("the connection broke", failed or error) from error
        if stays and failed is None:
            self._idle_since = time.monotonic()
        else:
            self.close()
        return response

    def _connected(self, timeout: float) -> socket.socket:
        way = self._way
        if isinstance(way.address, str):
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            plain = socket.create_connection(way.address, timeout)
        try:
            if isinstance(way.address, str):
                plain.settimeout(timeout)
                plain.connect(way.address)
            else:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain if way.tls is None else way.tls.wrap_socket(plain, server_hostname=way.host)
        except BaseException:
            plain.close()
            raise

    def _write(self, connection: socket.socket, request: Request) -> None:
        body = request.content
        lines = [
            b"%s %s%s HTTP/1.1\r\n" % (request.method.encode("ascii"), self._way.prefix, request.path.encode("ascii")),
            *(line for name, line in self._way.head.items() if name not in request.headers),
        ]
        for name, value in request.headers.items():
            if "\r" in value or "\n" in value:
                raise ValueError(f"the header {name!r} has a line break in it")
            lines.append(b"%s: %s\r\n" % (name.encode("ascii"), value.encode("ascii")))
        if body is not None:
            lines.append(b"content-length: %d\r\n" % len(body))
        lines.append(b"\r\n")
        if body is not None and len(body) <= _TOGETHER_MAX:
            lines.append(body)
            body = None
        _send(connection, b"".join(lines))
        if body is not None:
            _send(connection, body)

    def _lost(self, what: str, error: BaseException) -> Lost:
        text = str(error).strip() or type(error).__name__
        if isinstance(error, http.client.HTTPException) and not isinstance(error, OSError):
            text = f"not an answer of HTTP: {text}"
        return Lost(f"{what}: {text} ({self._way.base_url})")


def _send(connection: socket.socket, content: bytes) -> None:
    """Send all of it; the timeout is for each piece that the other side takes, so a large body may take longer."""
    left = memoryview(content)
    while left:
        left = left[connection.send(left) :]


def _has_end(connection: socket.socket) -> bool:
    """Tell whether a connection that nobody uses has something to be read: its end, as nothing was asked."""
    if hasattr(select, "poll"):  # `select` itself cannot be asked of descriptors from 1024 on
        poll = select.poll()
        poll.register(connection, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([connection], [], [], 0)[0])


def _read(connection: socket.socket, method: str) -> tuple[Response, bool]:
    """Read an answer; the connection may be used again where the second is true."""
    answer = http.client.HTTPResponse(connection, method=method)
    try:
        answer.begin()
        content = answer.read()
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if content and headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        return Response(answer.status, content, headers), not answer.will_close
    finally:
        answer.close()
