"""Streaming models: what `predict` gives piece by piece goes to the server at once; joined it is the result.

`predict` gives one generator for the batch, which yields for several items at each step, as one forward pass of a batch
does; or an iterator for each item, and these are run in turn. In the first form the items share their fate, as in any
batch; in the second each fails and is cancelled alone.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from cresset._current import Cancelled, Context, SoftTimeout, enter
from cresset._model import joined
from cresset.runner import _failure, _wire as wire
from cresset.runner._failure import OutputError
from cresset.runner._items import ItemEnd, attempt
from cresset.runner._jsonable import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cresset._current import Marks
    from cresset.runner._channel import Channel
    from cresset.runner._soft import SoftLimit

_PAIR: Final = 2
_HINT: Final = "yield (item, piece), or a dict from item to piece; items are counted from 0"
_SHAPES: Final = "write `yield` in predict, or return a list with a generator for each item"


class Streams:
    """Drives what `predict` gave. One per process; main thread only."""

    def __init__(self, channel: Channel, soft: SoftLimit, join: Callable[[Any], Any] | None) -> None:
        self._channel = channel
        self._soft = soft
        self._join = join or joined

    def drive(self, header: wire.Header, result: Any, ends: list[ItemEnd], good: list[int], marks: Marks) -> None:
        """Run a batch to its end; `good` says which of `ends` each input of `predict` is.

        Raises:
            OutputError: `predict` gave no pieces, or some that are none.
            SoftTimeout: the batch's time is over.
            BaseException: whatever the model raises for the batch as a whole.
        """
        run = _Run(self._channel, header, good, marks)
        if isinstance(result, Iterator):
            self._together(cast("Iterator[Any]", result), run, ends)
        else:
            self._each(_iterators(result, len(good)), run, ends)
        for index, pieces in zip(good, run.pieces, strict=True):
            if ends[index].is_good:
                # Like postprocess: of one item, and its failure alone.
                ends[index] = attempt(self._soft, "postprocess", self._join, pieces, marks, index)

    def _together(self, steps: Iterator[Any], run: _Run, ends: list[ItemEnd]) -> None:
        with _closing([steps]):
            while not run.marks.all():
                try:
                    step = self._next(steps, run)
                except StopIteration:
                    return
                run.send(_pairs(step, len(run.good)))
        for index in run.good:
            ends[index].is_skipped = True

    def _next(self, iterator: Iterator[Any], run: _Run) -> Any:
        """Let the author's code go on to the next piece.

        Raises:
            StopIteration: there is none.
            SoftTimeout: the batch's time is over, and the code has not caught that.
            BaseException: whatever the code raises.
        """
        try:
            return self._soft.call("predict", next, iterator)
        except SoftTimeout as error:
            # Most of the time is ours, between two pieces: what came then is raised where the code waits.
            if getattr(iterator, "gi_frame", None) is None or not run.marks.timed_out():
                raise
            return self._soft.call("predict", cast("Any", iterator).throw, error)

    def _each(self, iterators: list[Iterator[Any]], run: _Run, ends: list[ItemEnd]) -> None:
        waiting = list(range(len(iterators)))
        with _closing(iterators):
            while waiting:
                # The sooner one ends the shorter are the turns of the others.
                waiting = [at for at in waiting if self._turn(iterators[at], at, run, ends)]

    def _turn(self, iterator: Iterator[Any], at: int, run: _Run, ends: list[ItemEnd]) -> bool:
        """Take the next piece of one item; tell whether there may be more."""
        index, marks = run.good[at], run.marks
        if marks.flags[index]:
            ends[index].is_skipped = True
            _close(iterator)
            return False
        enter(Context(marks, (index,)))
        try:
            run.send([(at, self._next(iterator, run))])
        except StopIteration:
            return False
        except wire.ProtocolError:
            raise
        except BaseException as error:  # exit() in the author's code must not stop the others' items
            if isinstance(error, Cancelled) and marks.flags[index]:
                ends[index].is_skipped = True
            elif (isinstance(error, SoftTimeout) and marks.timed_out()) or _is_of_all(error):
                raise
            else:
                ends[index].failure = _failure.of_exception("predict", error)
            _close(iterator)
            return False
        return True


class _Run:
    """One batch under way: the pieces that each input of `predict` has so far."""

    def __init__(self, channel: Channel, header: wire.Header, good: list[int], marks: Marks) -> None:
        self._channel = channel
        self._header = header
        self.good = good
        self.marks = marks
        self.pieces: list[list[Any]] = [[] for _ in good]
        self._bytes = 0

    def send(self, pairs: Iterable[tuple[int, Any]]) -> None:
        """Send pieces, but those of items that are cancelled.

        Raises:
            OutputError: one is not JSON, or too large.
            BrokenPipeError: the server has gone.
        """
        chunks: list[tuple[int, int, bytes]] = []
        size = 0
        for at, piece in pairs:
            index, pieces = self.good[at], self.pieces[at]
            if self.marks.flags[index]:
                continue
            text = to_json(piece)
            if len(text) > wire.MAX_CHUNK_LEN:
                raise OutputError(
                    f"a piece takes {len(text)} bytes of JSON, at most {wire.MAX_CHUNK_LEN} can be sent",
                    "yield smaller pieces",
                )
            self._bytes += len(text)
            if self._bytes > wire.MAX_BODY_LEN:
                raise OutputError(f"the pieces of this batch take over {wire.MAX_BODY_LEN} bytes of JSON")
            if size + len(text) > wire.MAX_CHUNKS_LEN:
                self._flush(chunks)
                chunks, size = [], 0
            chunks.append((index, len(pieces), text))
            size += len(text) + wire.CHUNK_HEAD_LEN
            pieces.append(piece)
        if chunks:
            self._flush(chunks)

    def _flush(self, chunks: list[tuple[int, int, bytes]]) -> None:
        body = wire.pack_chunks(chunks)
        header = self._header
        head = wire.pack_header(wire.CHUNKS, len(body), seq=header.seq, slot=header.slot, batch=header.batch)
        self._channel.send(head, body)


def _iterators(result: Any, count: int) -> list[Iterator[Any]]:
    if not isinstance(result, (list, tuple)):
        given = "None" if result is None else f"a {type(result).__name__}"
        raise OutputError(f"predict returned {given}, and model.toml says that it gives pieces", _SHAPES)
    found: list[Any] = list(cast("Iterable[Any]", result))
    if len(found) != count:
        raise OutputError(
            f"predict returned {len(found)} generators for a batch of {count}", "return one for each item, in order"
        )
    for at, one in enumerate(found):
        if not isinstance(one, Iterator):
            raise OutputError(f"predict returned a {type(one).__name__} for item {at}, not a generator", _SHAPES)
    return found


def _pairs(step: Any, count: int) -> list[tuple[int, Any]]:
    """Read what the generator of a batch yields."""
    pairs: list[tuple[Any, Any]]
    if isinstance(step, Mapping):
        pairs = list(cast("Mapping[Any, Any]", step).items())
    elif isinstance(step, tuple) and len(cast("tuple[Any, ...]", step)) == _PAIR:
        pairs = [cast("tuple[Any, Any]", step)]
    else:
        raise OutputError(f"predict yielded a {type(cast('object', step)).__name__}", _HINT)
    for item, _ in pairs:
        if not isinstance(item, int) or not 0 <= item < count:
            raise OutputError(f"predict yielded a piece of item {item!r} of a batch of {count}", _HINT)
    return pairs


def _is_of_all(error: BaseException) -> bool:
    """Tell whether it says something of the process rather than of one item."""
    return _failure.is_device_lost(error) or _failure.is_out_of_memory(error) or isinstance(error, BrokenPipeError)


class _closing(contextlib.AbstractContextManager[None]):  # noqa: N801  # as contextlib's
    """Closes iterators at the end, whatever it is; one that has ended does nothing then."""

    def __init__(self, iterators: list[Iterator[Any]]) -> None:
        self._iterators = iterators

    def __exit__(self, *_: object) -> None:
        for iterator in self._iterators:
            _close(iterator)


def _close(iterator: Iterator[Any]) -> None:
    """End a generator early: GeneratorExit is raised in it. What it raises then is for the log: its item has ended."""
    close = getattr(iterator, "close", None)
    if close is None:
        return
    try:
        close()
    except BaseException:  # noqa: BLE001  # exit() in the author's code too
        sys.stderr.write("a generator of predict raised while it was closed:\n")
        traceback.print_exc()
