"""A collector of traces for the tests: takes OTLP over HTTP and reads it with OpenTelemetry's own messages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.web import Silent

#: `UNSET`, `OK`, `ERROR` and the kinds, by their numbers.
STATUS = ("UNSET", "OK", "ERROR")
KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")


class Span:
    """One span, in words."""

    def __init__(self, resource: dict[str, Any], scope: str, span: Any) -> None:
        """Reads it from the message."""
        self.resource, self.scope = resource, scope
        self.name: str = span.name
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.state: str = span.trace_state
        self.kind = KINDS[span.kind]
        self.began, self.ended = span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9
        self.words = words(span.attributes)
        self.links = [(link.trace_id.hex(), link.span_id.hex()) for link in span.links]
        self.status, self.error = STATUS[span.status.code], span.status.message

    def __repr__(self) -> str:
        """For failures."""
        return f"{self.kind} {self.name} {self.trace}/{self.id} of {self.parent or 'nobody'}: {self.words}"


def words(attributes: Any) -> dict[str, Any]:
    """Attributes as a dict."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


class Collector:
    """An HTTP server on a free port. `behave` says what the n-th request is answered; `None` is nothing."""

    def __init__(self, behave: Callable[[int], int | None] = lambda _number: 200) -> None:
        """Starts it."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._spans: list[Span] = []
        #: The path, content type and headers of each request, answered or not.
        self.requests: list[tuple[str, dict[str, str]]] = []
        collector = self

        class Handler(Silent, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector._hear(self, behave)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def spans(self) -> list[Span]:
        """What has come so far."""
        with self._lock:
            return list(self._spans)

    def _hear(self, request: BaseHTTPRequestHandler, behave: Callable[[int], int | None]) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        with self._lock:
            number = len(self.requests)
            self.requests.append((request.path, {name.lower(): text for name, text in request.headers.items()}))
        status = behave(number)
        if status is None:
            self._closing.wait()
            return
        if status == 200:
            message = ExportTraceServiceRequest.FromString(body)
            found = [
                Span(words(of.resource.attributes), scope.scope.name, span)
                for of in message.resource_spans
                for scope in of.scope_spans
                for span in scope.spans
            ]
            with self._lock:
                self._spans += found
        request.send_response(status)
        request.send_header("content-type", "application/x-protobuf")
        request.send_header("content-length", "0")
        request.end_headers()

    def close(self) -> None:
        """Ends it, and whatever hangs."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
