"""Batches: many tasks sent in one request, followed as one, their results read in order. Calls are in `_core`.

Whatever is sent is kept in a file of its own until it is accepted whole (a file of the caller's is read again instead):
when the connection breaks, all of it is sent again under the same key, and the server goes on behind the lines that it
has.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Union, cast

from cresset._json import NotJsonError, encode
from cresset.client import _messages as messages
from cresset.errors import ApiError, BadAnswer, ConnectionFailed, Unavailable
from cresset.records import BatchLine, BatchStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator

    from cresset.client._core import Core, Flow, Lost
    from cresset.client._messages import Request, Response
    from cresset.client._options import Retries, Seconds

_PIECE: Final = 64 << 10
"""Bytes sent at once, about."""
_IN_MEMORY_MAX: Final = 8 << 20
"""What is kept to be sent again is in memory up to this, then in a file."""
_OK: Final = 200

Items = Union[str, "os.PathLike[str]", Iterable[Mapping[str, Any]]]
"""Lines of a batch: the path of a file of JSON Lines, or a dict for each, as the file would have it."""


class _Gathered:
    """Lines on their way into a piece: one line at a time would be a chunk of HTTP for each."""

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._size = 0

    def add(self, line: bytes) -> bytes:
        """Take a line; give a piece that is large enough, or nothing."""
        self._lines.append(line)
        self._size += len(line)
        return self.rest() if self._size >= _PIECE else b""

    def rest(self) -> bytes:
        """Give what is here."""
        piece = b"".join(self._lines)
        self._lines, self._size = [], 0
        return piece


class Kept:
    """The lines of a batch, to be sent from the first on as often as it takes."""

    def __init__(self, lines: Iterator[bytes] | AsyncIterator[bytes] | Path) -> None:
        self._file: BinaryIO = (
            lines.open("rb")
            if isinstance(lines, Path)
            else cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY_MAX))  # noqa: SIM115  # closed by `close`
        )
        self._rest: Any = None if isinstance(lines, Path) else lines

    def pieces(self) -> Generator[bytes, None, None]:
        """Give all of it: what has been read before, then what comes."""
        yield from self._again()
        gathered = _Gathered()
        for line in self._rest or ():
            self._file.write(line)
            if piece := gathered.add(line):
                yield piece
        self._rest = None
        yield gathered.rest()

    async def pieces_async(self) -> AsyncGenerator[bytes, None]:
        """Give all of it, from an asynchronous source."""
        for piece in self._again():
            yield piece
        gathered = _Gathered()
        if self._rest is not None:
            async for line in self._rest:
                self._file.write(line)
                if piece := gathered.add(line):
                    yield piece
        self._rest = None
        yield gathered.rest()

    def _again(self) -> Generator[bytes, None, None]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece

    def close(self) -> None:
        """Forget them."""
        self._file.close()


def kept(items: Items) -> Kept:
    """Keep the lines of a batch.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(items, (str, os.PathLike)):
        return Kept(Path(items))
    return Kept(_line(item, number) for number, item in enumerate(items))


def kept_async(items: Items | AsyncIterable[Mapping[str, Any]]) -> Kept:
    """Keep the lines of a batch for asyncio; they may come asynchronously."""
    if isinstance(items, (str, os.PathLike)):
        return Kept(Path(items))
    return Kept(_lines_async(items))


async def _lines_async(items: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[bytes, None]:
    number = 0
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield _line(item, number)
            number += 1
    else:
        for item in items:
            yield _line(item, number)
            number += 1


def _line(item: Any, number: int) -> bytes:
    if not isinstance(item, Mapping):
        raise TypeError(f'line {number} must be a dict such as {{"input": ...}}, not {type(item).__name__}')
    try:
        return encode(item, f"line {number}") + b"\n"
    except NotJsonError as error:
        raise (ValueError if error.non_finite else TypeError)(str(error)) from None


def wrapped(inputs: Iterable[Any], options: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
    """Make a line of each input."""
    for value in inputs:
        yield {"input": value, **options}


async def wrapped_async(
    inputs: Iterable[Any] | AsyncIterable[Any], options: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any], None]:
    """Make a line of each input, which may come asynchronously."""
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield {"input": value, **options}
    else:
        for value in inputs:
            yield {"input": value, **options}


class Reader:
    """The results of a batch being read; comes back behind the last whole line when the connection breaks."""

    def __init__(self, batch_id: str, start: int, retries: Retries, silence: float) -> None:
        self._id = batch_id
        self._next = start
        self._retries = retries
        self._silence = silence
        self._attempt = 0
        self._part = b""
        self.done = False

    def request(self) -> tuple[Request, float]:
        """Give what is to be asked, and after how much silence the server counts as gone."""
        self._part = b""
        return messages.batch_results(self._id, self._next), self._silence

    def is_stream(self, status: int) -> bool:
        """Whether lines follow."""
        return status == _OK

    def feed(self, piece: bytes) -> list[BatchLine]:
        """Take what has come; gives the lines that are whole."""
        *whole, self._part = (self._part + piece).split(b"\n")
        try:
            lines = [BatchLine.of(json.loads(line)) for line in whole]
        except (ValueError, KeyError, TypeError) as error:
            raise BadAnswer(f"a line of the results of batch {self._id} cannot be read: {error}") from error
        if lines:
            self._next = lines[-1].index + 1
            self._attempt = 0
        return lines

    def is_short_of_time(self) -> bool:
        """It has no limit."""
        return False

    def pause(self) -> float:
        """The answer has come to its end."""
        self.done = True
        return 0.0

    def refused(self, response: Response) -> float:
        """Say how long to wait after an error answer."""
        error = messages.error_of(response)
        if error is None:
            raise BadAnswer(f"the results of batch {self._id} were answered {response.status}")
        return self._again(error, error.retry_after)

    def lost(self, lost: Lost) -> float:
        """Say how long to wait after a connection that broke."""
        error = ConnectionFailed(str(lost))
        error.__cause__ = lost.__cause__
        return self._again(error, None)

    def _again(self, error: Exception, retry_after: float | None) -> float:
        passes = not isinstance(error, ApiError) or isinstance(error, Unavailable)
        delay = self._retries.delay(self._attempt, retry_after) if passes else None
        if delay is None:
            raise error
        self._attempt += 1
        return delay


class BatchHandle:
    """Many tasks at the server that came in one request. Cheap: it holds the id and the client. Thread-safe."""

    def __init__(
        self,
        run: Callable[[Flow[Any]], Any],
        read: Callable[[Any], Generator[Any, None, None]],
        core: Core,
        batch_id: str,
    ) -> None:
        self._run = run
        self._read = read
        self._core = core
        self.id: Final = batch_id
        """The batch's id; it can be stored and given to `Client.batch_of` in another process."""

    def status(self) -> BatchStatus:
        """Ask how the batch stands: how many of its lines are where.

        Raises:
            UnknownBatch: there is no such batch, or it has expired with its tasks.
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._core.batch_status(self.id))

    def wait(self, timeout: Seconds | None = None) -> BatchStatus:
        """Wait until every line has ended, one way or another. Asks again and again, each time a little later.

        Args:
            timeout: how long, in seconds or as a timedelta; 0 asks once. Default no limit.

        Returns:
            The batch, `completed` or `cancelled`.

        Raises:
            TimeoutError: it has not ended in that time; it goes on.
            UnknownBatch, ConnectionFailed: as in `status`.
        """
        return self._run(self._core.batch_wait(self.id, timeout))

    def results(self, *, start: int = 0) -> Generator[BatchLine, None, None]:
        """Read what became of each line, in the order of the input, as it is now; `wait` first to have all ended.

        Args:
            start: the first line to give, from 0.

        Yields:
            One `BatchLine` for each line. A line that failed is given, not raised.

        Raises:
            UnknownBatch, ConnectionFailed: as in `status`.
        """
        return self._read(self._core.batch_reader(self.id, start))

    def cancel(self) -> BatchStatus:
        """Cancel every task of it that has not ended, and take no more lines. Cancelling again does no harm.

        Returns:
            The batch, `cancelled`; or `completed`, where it was too late.

        Raises:
            UnknownBatch, ConnectionFailed: as in `status`.
        """
        return self._run(self._core.batch_cancel(self.id))

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r})"


class AsyncBatchHandle:
    """A batch at the server. Cheap: it holds the id and the client."""

    def __init__(
        self,
        run: Callable[[Flow[Any]], Awaitable[Any]],
        read: Callable[[Any], AsyncGenerator[Any, None]],
        core: Core,
        batch_id: str,
    ) -> None:
        self._run = run
        self._read = read
        self._core = core
        self.id: Final = batch_id
        """The batch's id; it can be stored and given to `batch_of` of either client later."""

    async def status(self) -> BatchStatus:
        """Ask how the batch stands; see `BatchHandle.status`."""
        return await self._run(self._core.batch_status(self.id))

    async def wait(self, timeout: Seconds | None = None) -> BatchStatus:  # raises TimeoutError
        """Wait until every line has ended; see `BatchHandle.wait`."""
        return await self._run(self._core.batch_wait(self.id, timeout))

    def results(self, *, start: int = 0) -> AsyncGenerator[BatchLine, None]:
        """Read what became of each line, in order; see `BatchHandle.results`."""
        return self._read(self._core.batch_reader(self.id, start))

    async def cancel(self) -> BatchStatus:
        """Cancel the batch; see `BatchHandle.cancel`."""
        return await self._run(self._core.batch_cancel(self.id))

    def __repr__(self) -> str:
        return f"AsyncBatchHandle({self.id!r})"
