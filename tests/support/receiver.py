"""A receiver of webhooks for the tests: does as it is told, verifies what it hears, and keeps each event once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cresset import webhooks

from support.web import Silent

#: `whsec_` and 24 bytes of zeros.
SECRET = "whsec_" + "A" * 32


class Receiver:
    """An HTTP server on a free port. `behave` says what is answered to the n-th request (from 0) for a path."""

    def __init__(self, behave: Callable[[str, int], int | None]) -> None:
        """Starts it. A status is answered; `None` is no answer until it closes."""
        self._lock = threading.Lock()
        self._closing = threading.Event()
        #: The requests of each path, answered or not.
        self.heard: Counter[str] = Counter()
        #: Each `webhook-id`, and how often it came.
        self.ids: Counter[str] = Counter()
        #: The events that were taken, by their name.
        self.events: dict[str, webhooks.Event] = {}
        self.mistakes: list[str] = []
        #: The headers of the newest request for each path, their names in small letters.
        self.headers: dict[str, dict[str, str]] = {}
        receiver = self

        class Handler(Silent, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._hear(self, behave)

            def do_GET(self) -> None:
                receiver.mistakes.append(f"GET {self.path}")
                self.send_error(405)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def url(self, path: str) -> str:
        """The address of a path here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def _hear(self, request: BaseHTTPRequestHandler, behave: Callable[[str, int], int | None]) -> None:
        body = request.rfile.read(int(request.headers["content-length"]))
        path = request.path.partition("?")[0]
        with self._lock:
            number = self.heard[path]
            self.heard[path] += 1
            self.headers[path] = {name.lower(): text for name, text in request.headers.items()}
            try:
                event = webhooks.verify(body, dict(request.headers), SECRET)
            except webhooks.BadSignature as error:
                self.mistakes.append(str(error))
                request.send_error(400)
                return
            self.ids[event.id] += 1
        status = behave(path, number)
        if status is None:
            self._closing.wait()
            return
        if 200 <= status < 300:
            with self._lock:
                # The same event twice is one event.
                self.events.setdefault(event.id, event)
        request.send_response(status)
        request.send_header("location", self.url("/elsewhere"))
        request.send_header("content-length", "0")
        request.end_headers()

    def close(self) -> None:
        """Ends it, and whatever hangs."""
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
