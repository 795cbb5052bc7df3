"""Following a task by server-sent events: what comes, and what to do when nothing does. No connections."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Final

from cresset.client import _messages as messages
from cresset.client._options import Retries, Seconds, seconds
from cresset.errors import ApiError, BadAnswer, ConnectionFailed, TaskTimeout
from cresset.events import TaskEvent, read
from cresset.records import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Generator

    from cresset.client._core import Lost
    from cresset.client._messages import Request, Response

SILENCE_S: Final = 45.0
"""Three of the server's signs of life: after such silence it counts as gone."""
_PAUSE_S: Final = 1.0
"""Before coming back to a server that ended a stream, unless it says otherwise."""
_PAUSE_MAX_S: Final = 60.0
_SHORTEST_S: Final = 0.05
"""With less time left, none is."""
_ROUGHLY: Final = 0.9
_OK: Final = 200
_GONE: Final = 204
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


class Events:
    """Reads a stream of server-sent events from its bytes (WHATWG HTML, section 9.2.6), as Cresset writes it."""

    def __init__(self) -> None:
        self._rest = b""
        self.retry: float | None = None
        """Seconds after which the server would have one come back, if it has said so."""

    def feed(self, piece: bytes) -> Generator[tuple[str | None, str, str], None, None]:
        """Give the id, the type and the data of each event that is whole now."""
        self._rest += piece
        # Not by `str.splitlines`: JSON may have any of Unicode's other line breaks within its texts.
        *blocks, self._rest = self._rest.split(b"\n\n")
        for block in blocks:
            fields: dict[str, str] = {}
            for line in block.split(b"\n"):
                name, _, value = line.decode().partition(":")
                fields[name] = value.removeprefix(" ")
            if fields.get("retry", "").isdecimal():
                self.retry = min(int(fields["retry"]) / 1000, _PAUSE_MAX_S)
            if "data" in fields:
                yield fields.get("id"), fields.get("event", "message"), fields["data"]


class Follower:
    """One task being followed: the request to send next, what came, the pause before coming back.

    A driver sends `request`, gives the answer's bytes to `feed`, an answer without events to `refused`, and a failure
    to `lost`; after each it sleeps for `pause` and begins again, until `done`.
    """

    def __init__(self, task_id: str, timeout: Seconds | None, retries: Retries, *, logs: bool = False) -> None:
        self._task_id = task_id
        self._logs = logs
        self._timeout = timeout
        self._deadline = None if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        self._retries = retries
        self._silence: float | None = None
        self._attempt = 0
        self._last_id: str | None = None
        self._seen: TaskStatus | None = None
        self._events = Events()
        self.done = False

    def request(self) -> tuple[Request, float]:
        """Give the request, and the seconds of silence to bear.

        Raises:
            TaskTimeout: there is no time left.
        """
        left = self._left(is_first=self._silence is None)
        self._silence = SILENCE_S if left is None else min(SILENCE_S, left)
        self._events = Events()
        return messages.events(self._task_id, self._last_id, logs=self._logs), self._silence

    def is_stream(self, status: int) -> bool:
        """Tell whether an answer of this status has events."""
        return status == _OK

    def feed(self, piece: bytes) -> list[TaskEvent]:
        """Take a piece of the stream; gives what is whole with it."""
        self._attempt = 0
        found: list[TaskEvent] = []
        for event_id, kind, data in self._events.feed(piece):
            event = _read(kind, data)
            if event is None:
                continue  # of a newer server
            if event_id is not None:
                self._last_id = event_id
            if isinstance(event, TaskStatus):
                self._seen = event
                self.done = event.is_final
            found.append(event)
        return found

    def is_short_of_time(self) -> bool:
        """Tell whether the silence that was agreed on is too long by now."""
        if self._deadline is None or self._silence is None:
            return False
        return self._deadline - time.monotonic() < self._silence * _ROUGHLY

    def refused(self, response: Response) -> float:
        """Take an answer that is no stream; gives the pause before coming back.

        Raises:
            ApiError: it would be refused again.
        """
        error = messages.error_of(response)
        if error is None and response.status == _GONE:
            self.done = True
            return 0.0
        if error is None:
            raise BadAnswer(f"the server's answer (HTTP {response.status}) is not a stream of events")
        temporary = response.status == _TOO_MANY or (response.status == _UNAVAILABLE and error.retry_after is not None)
        return self._again(error, error.retry_after) if temporary else self._give_up(error)

    def lost(self, lost: Lost) -> float:
        """Take a failure of the connection; gives the pause before coming back.

        Raises:
            ConnectionFailed: it failed too often, one time after another.
            TaskTimeout: there is no time left.
        """
        self._left()
        error = ConnectionFailed(str(lost))
        error.__cause__ = lost.__cause__
        return self._again(error, None)

    def pause(self) -> float:
        """Give the pause before coming back to a server that ended the stream in order."""
        return _PAUSE_S if self._events.retry is None else self._events.retry

    def _again(self, error: ApiError | ConnectionFailed, retry_after: float | None) -> float:
        delay = self._retries.delay(self._attempt, retry_after)
        self._attempt += 1
        return self._give_up(error) if delay is None else delay

    def _give_up(self, error: Exception) -> float:
        raise error

    def _left(self, *, is_first: bool = False) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left < _SHORTEST_S and not is_first:
            state = f"it is {self._seen.status}" if self._seen else "the server has not answered"
            raise TaskTimeout(
                f"task {self._task_id} has not ended within {self._timeout} s; {state}", self._task_id, self._seen
            )
        return max(left, _SHORTEST_S)


def _read(kind: str, data: str) -> TaskEvent | None:
    try:
        value: Any = json.loads(data)
        return TaskStatus.of(value) if kind == "status" else read(kind, value)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = "a task" if kind == "status" else f"a {kind}"
        raise BadAnswer(f"an event of the server is not {what}: {type(error).__name__}: {error}") from error
