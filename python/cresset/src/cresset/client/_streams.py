"""Results that come piece by piece, in the hands of a caller; and a prediction being read so. No connections."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from cresset._file import revived
from cresset.client import _messages as messages
from cresset.client._events import SILENCE_S, Events
from cresset.errors import ApiError, BadAnswer, ConnectionFailed
from cresset.events import Chunk, Gap, LogLine, Progress, Restart, TaskEvent, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from typing_extensions import Self

    from cresset.client._core import Lost
    from cresset.client._messages import Request, Response
    from cresset.client._options import Retries

_OK: Final = 200
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503
_NOT_YET: Final = "the stream has not ended: read it to its end, or call wait()"


class _Reading:
    """What both faces know of a stream so far."""

    def __init__(self) -> None:
        self.restarts = 0
        """How often the work began again: what was given before is void then, and comes anew."""
        self.has_gap = False
        """Pieces were missed, as the server does not keep them for ever; `result` has them."""
        self.progress: Progress | None = None
        """The newest that the model said of how far it has come."""
        self._end: tuple[Any] | None = None

    @property
    def result(self) -> Any:
        """The whole result, once the stream has ended.

        Raises:
            RuntimeError: it has not, or has ended without one.
        """
        if self._end is None:
            raise RuntimeError(_NOT_YET)
        return self._end[0]

    def _take(self, event: TaskEvent | _Result) -> tuple[Any] | None:
        """Take what comes next; gives the piece if it is one."""
        if isinstance(event, Chunk):
            return (event.value,)
        if isinstance(event, Progress):
            self.progress = event
        elif isinstance(event, Restart):
            self.restarts += 1
        elif isinstance(event, Gap):
            self.has_gap = True
        elif isinstance(event, _Result):
            if event.error is not None:
                raise event.error
            self._end = (event.value,)
        elif isinstance(event, LogLine):
            pass  # of those who asked for them
        elif event.is_final:
            messages.raise_unless_succeeded(event)
            self._end = (event.result,)
        return None


class Stream(_Reading):
    """A result that comes piece by piece: iterate over it, then ask for `result`.

    ```python
    with client.stream("talk", "Once upon a time") as stream:
        for piece in stream:
            print(piece, end="", flush=True)
    print(stream.result)
    ```

    Leaving it early hangs up.
    """

    def __init__(self, events: Generator[TaskEvent | _Result, None, None]) -> None:
        super().__init__()
        self._events = events

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Give the next piece, when it comes.

        Raises:
            PredictFailed, PredictTimeout, TaskFailed, TaskRevoked, TaskTimeout: there will be no result.
            ConnectionFailed: the connection broke, and the stream cannot be taken up again.
        """
        for event in self._events:
            piece = self._take(event)
            if piece is not None:
                return piece[0]
        raise StopIteration

    def wait(self) -> Any:
        """Read to the end and give the whole result.

        Raises:
            PredictFailed, PredictTimeout, TaskFailed, TaskRevoked, TaskTimeout, ConnectionFailed: as iterating does.
        """
        for _ in self:
            pass
        return self.result

    def close(self) -> None:
        """Hang up, unless it has ended."""
        self._events.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncStream(_Reading):
    """A result that comes piece by piece: iterate over it with `async for`, then ask for `result`; see `Stream`."""

    def __init__(self, events: AsyncGenerator[TaskEvent | _Result, None]) -> None:
        super().__init__()
        self._events = events

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        """Give the next piece, when it comes; see `Stream`."""
        async for event in self._events:
            piece = self._take(event)
            if piece is not None:
                return piece[0]
        raise StopAsyncIteration

    async def wait(self) -> Any:
        """Read to the end and give the whole result; see `Stream.wait`."""
        async for _ in self:
            pass
        return self.result

    async def close(self) -> None:
        """Hang up, unless it has ended."""
        await self._events.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _Result:
    """The end of a prediction."""

    def __init__(self, value: Any, error: ApiError | None = None) -> None:
        self.value = value
        self.error = error


class Called:
    """A prediction being read: for the same drivers as `Follower`. Nothing of it is kept at the server.

    What is refused before it began is asked for again; what breaks after that has to be begun anew by who called.
    """

    def __init__(self, request: Request, retries: Retries) -> None:
        self._request = request
        self._retries = retries
        self._attempt = 0
        self._has_begun = False
        self._events = Events()
        self.done = False

    def request(self) -> tuple[Request, float]:
        """Give the request, and the seconds of silence to bear."""
        return self._request, SILENCE_S

    def is_stream(self, status: int) -> bool:
        """Tell whether an answer of this status has events."""
        return status == _OK

    def feed(self, piece: bytes) -> list[TaskEvent | _Result]:
        """Take a piece of the stream; gives what is whole with it.

        Raises:
            BadAnswer: it is none of Cresset's.
        """
        self._has_begun = True
        found: list[TaskEvent | _Result] = []
        for _, kind, data in self._events.feed(piece):
            try:
                event = _read(kind, json.loads(data))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise BadAnswer(f"an event of the server cannot be read: {type(error).__name__}: {error}") from error
            self.done = isinstance(event, _Result)
            if event is not None:
                found.append(event)
        return found

    def is_short_of_time(self) -> bool:
        """Tell whether to stop reading: the server keeps the time."""
        return False

    def refused(self, response: Response) -> float:
        """Take an answer that is no stream; gives the pause before asking again.

        Raises:
            ApiError: it would be refused again.
        """
        error = messages.error_of(response)
        if error is None:
            raise BadAnswer(f"the server's answer (HTTP {response.status}) is not a stream of events")
        temporary = response.status == _TOO_MANY or (response.status == _UNAVAILABLE and error.retry_after is not None)
        delay = self._retries.delay(self._attempt, error.retry_after) if temporary else None
        self._attempt += 1
        if delay is None:
            raise error
        return delay

    def lost(self, lost: Lost) -> float:
        """Take a failure of the connection; gives the pause before asking again.

        Raises:
            ConnectionFailed: it failed too often, or in the middle.
        """
        delay = None if self._has_begun else self._retries.delay(self._attempt, None)
        self._attempt += 1
        if delay is None:
            raise ConnectionFailed(str(lost)) from lost.__cause__
        return delay

    def pause(self) -> float:
        """Take the end of the stream in order.

        Raises:
            ConnectionFailed: the prediction has not ended by then.
        """
        if not self.done:
            raise ConnectionFailed("the server stopped before the prediction had ended")
        return 0.0


def _read(kind: str, value: dict[str, Any]) -> TaskEvent | _Result | None:
    if kind == "result":
        return _Result(revived(value["result"]))
    if kind == "error":
        return _Result(None, messages.error_in(value))
    return read(kind, value)
