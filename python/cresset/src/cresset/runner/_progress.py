"""PROGRESS and LOGS: what the model says of its work, on its way to the server.

However often the model says how far it has come, the server hears of it a few times a second: the newest for each item.
What is held back meanwhile goes when its time comes, by a thread that is started when something is held back for the
first time. Log lines go at once, within a rate; what exceeds it is counted, and the next line that goes says how many.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from cresset.runner import _wire as wire

if TYPE_CHECKING:
    from cresset._current import Marks
    from cresset.runner._channel import Channel
    from cresset.runner._soft import SoftLimit

_MAX_REPORTS: Final = 64
"""In one frame, so that it stays far below the protocol's bound; the rest goes with the next."""

_LINES_BURST: Final = 200.0
"""Log lines at once ..."""
_LINES_PER_SECOND: Final = 50.0
"""... and in the long run."""

_Said = tuple[float, "str | None"]


class Reporter:
    """Of this process. `report` may be called from any thread, the rest from the main thread only."""

    def __init__(self, channel: Channel, soft: SoftLimit, interval: float, *, logs: bool = False) -> None:
        self._channel = channel
        self._soft = soft
        self._interval = interval
        self._lock = threading.Condition()
        self._marks: Marks | None = None
        self._pending: dict[int, _Said] = {}
        self._due = 0.0
        self._thread: threading.Thread | None = None
        self._takes_lines = logs
        self._room = _LINES_BURST
        self._room_at = time.monotonic()
        self._dropped = 0

    def report(self, marks: Marks, items: tuple[int, ...], fraction: float, message: str | None) -> None:
        """Take what the model says of some items of its batch; of a batch that has ended nothing."""
        # A soft time limit must not interrupt us in the middle of a frame.
        self._soft.quietly(self._report, marks, items, fraction, message)

    def _report(self, marks: Marks, items: tuple[int, ...], fraction: float, message: str | None) -> None:
        with self._lock:
            if not marks.is_open:
                return
            self._marks = marks
            self._pending.update(dict.fromkeys(items, (fraction, message)))
            if time.monotonic() >= self._due:
                self._flush()
            elif self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="cresset-progress", daemon=True)
                self._thread.start()
            else:
                self._lock.notify()

    def log(self, marks: Marks, items: tuple[int, ...], level: str, text: str) -> None:
        """Take a line about some items of its batch; of a batch that has ended nothing."""
        if self._takes_lines:
            self._soft.quietly(self._log, marks, items, level, text)

    def _log(self, marks: Marks, items: tuple[int, ...], level: str, text: str) -> None:
        with self._lock:
            if not marks.is_open:
                return
            now = time.monotonic()
            self._room = min(self._room + (now - self._room_at) * _LINES_PER_SECOND, _LINES_BURST)
            self._room_at = now
            if self._room < 1:
                self._dropped += 1
                return
            self._room -= 1
            self._send_lines(marks, [{"items": items, "level": level, "text": text}])

    def end(self, marks: Marks) -> None:
        """The batch has ended: nothing is sent of it any more."""
        with self._lock:
            if self._dropped:
                self._send_lines(marks, [])
            marks.close()
            self._marks = None
            self._pending.clear()

    def _flush(self) -> None:
        assert self._marks is not None  # pending is of a batch
        groups: dict[_Said, list[int]] = {}
        for item, said in self._pending.items():
            groups.setdefault(said, []).append(item)
        reports: list[dict[str, object]] = []
        for (fraction, message), items in list(groups.items())[:_MAX_REPORTS]:
            reports.append({"items": items, "fraction": fraction, "message": message})
            for item in items:
                del self._pending[item]
        self._send(self._marks, wire.PROGRESS, {"reports": reports})
        self._due = time.monotonic() + self._interval

    def _send_lines(self, marks: Marks, lines: list[dict[str, object]]) -> None:
        if self._dropped:
            text = f"{self._dropped} lines were left out: a process may write {_LINES_PER_SECOND:g} a second"
            lines.insert(0, {"items": None, "level": "warning", "text": text})
            self._dropped = 0
        self._send(marks, wire.LOGS, {"lines": lines})

    def _send(self, marks: Marks, kind: int, message: dict[str, object]) -> None:
        body = wire.pack_json(message)
        header = marks.header
        assert header is not None  # the board gives every batch its own
        self._channel.send(
            wire.pack_header(kind, len(body), seq=header.seq, slot=header.slot, batch=header.batch), body
        )

    def _watch(self) -> None:
        while True:
            with self._lock:
                while not self._pending:
                    self._lock.wait()
                left = self._due - time.monotonic()
                if left <= 0:
                    try:
                        self._flush()
                    except OSError:
                        return  # the server has gone; the main thread finds out by itself
                    continue
            time.sleep(left)
