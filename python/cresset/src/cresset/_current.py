"""What a model may ask while it runs a batch: does anybody want the result, is its time over? And what it may say.

Nothing but the standard library.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cresset.runner._progress import Reporter
    from cresset.runner._wire import Header

_MESSAGE_MAX: Final = 500
"""Characters of a progress's message; a longer one is cut. It is for people, who read it in passing."""
_LINE_MAX: Final = 4000
"""Characters of a log line; a longer one is cut."""
_LEVELS: Final = ("debug", "info", "warning", "error")


class Cancelled(BaseException):  # not an Exception: `except Exception` around a step of the work must not eat it
    """Raise it in `preprocess`, `predict` or `postprocess` to say: I stopped because what I was doing was cancelled.

    `cresset.current().raise_if_cancelled()` does. The items that are cancelled end with it. Those of the same batch
    that are not are run once more, and it does not count against them. Raised when nothing is cancelled, it is a
    failure.

    Args:
        message: for the log; nobody else reads it.
    """

    hint = "raise it only when something is cancelled, as cresset.current().raise_if_cancelled() does"

    def __init__(self, message: str = "the work was cancelled") -> None:
        super().__init__(message)


class SoftTimeout(BaseException):  # as Cancelled
    """Raised in `preprocess`, `predict` or `postprocess` when a batch has run for `limits.soft_timeout` (model.toml).

    Once for each batch, in the main thread, between two steps of Python: a call into C, such as a forward pass, returns
    first. Whoever catches it has until `limits.timeout` to end in order, and may give a result, which counts:

    ```python
    def predict(self, batch):
        found = [None] * len(batch)
        try:
            for step in range(1000):
                found = self.improve(found, batch)
        except cresset.SoftTimeout:
            pass  # what there is by now
        return found
    ```

    Uncaught, the batch is run again in parts, and an item that is alone in running out of time fails with
    `soft_timeout`. `cresset.current().raise_if_timed_out()` raises it where a thread of the model's own asks.

    Args:
        message: for the log; nobody else reads it.
    """

    hint = "raise it only when the time is over, as cresset.current().raise_if_timed_out() does"

    def __init__(self, message: str = "the batch has run past its soft time limit") -> None:
        super().__init__(message)


Traces: TypeAlias = "Sequence[tuple[str, str | None] | None]"


class Marks:
    """Of a batch: which of its items are cancelled, and when its time is over.

    Made by the runner; models see it through `Context`.
    """

    __slots__ = ("_is_late", "flags", "header", "is_open", "reporter", "traces", "until")

    def __init__(
        self,
        flags: memoryview | bytes,
        until: float | None = None,
        header: Header | None = None,
        reporter: Reporter | None = None,
    ) -> None:
        self.header = header
        """Of the batch, for what is said of it."""
        self.reporter = reporter
        """Who takes what is said, if the server wants to hear it."""
        self.is_open = True
        """The batch has not ended."""
        self.flags = flags
        """A byte for each item; not 0 when it is cancelled. The server sets it while we look."""
        self.until = until
        """When the soft time limit is over, by the monotonic clock, if there is one."""
        self.traces: Traces | None = None
        """For each item where its run is in its caller's trace; None when no caller has one."""
        self._is_late: bool | None = None

    def any(self) -> bool:
        """Tell whether an item is cancelled."""
        return any(self.flags)

    def all(self) -> bool:
        """Tell whether every item is cancelled."""
        return 0 not in self.flags

    def timed_out(self) -> bool:
        """Tell whether the soft time limit is over."""
        if self._is_late is not None:
            return self._is_late
        return self.until is not None and time.monotonic() >= self.until

    def close(self) -> None:
        """Keep what is known: the memory is another batch's from now on, and so is the time."""
        self.is_open = False
        self._is_late = self.timed_out()
        self.flags = bytes(self.flags)


class Context:
    """The work that this process is doing: an item in `preprocess` and `postprocess`, a batch in `predict`.

    `cresset.current()` gives it. Asking costs some hundred nanoseconds and no system call, so a loop may ask in every
    turn. May be used from any thread. One that is kept after the batch has ended goes on saying what was so at its end.
    """

    __slots__ = ("_items", "_marks")

    def __init__(self, marks: Marks, items: tuple[int, ...] | None = None) -> None:
        self._marks = marks
        self._items = items  # which of the batch; None: all

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: that of the item, or of every item in the batch.

        An item is cancelled when its task is, or when the caller of its prediction has hung up.
        """
        flags = self._marks.flags
        if self._items is None:
            return 0 not in flags
        for item in self._items:  # noqa: SIM110  # a generator costs more than the loop
            if not flags[item]:
                return False
        return True

    @property
    def cancelled_items(self) -> tuple[bool, ...]:
        """For each input of `predict`, in order, whether it is cancelled; one in `preprocess` and `postprocess`."""
        flags = self._marks.flags
        if self._items is None:
            return tuple(map(bool, flags))
        return tuple(flags[item] != 0 for item in self._items)

    def raise_if_cancelled(self) -> None:
        """Stop here if nobody wants the result any more.

        Raises:
            Cancelled: `cancelled` is true.
        """
        if self.cancelled:
            raise Cancelled

    @property
    def timed_out(self) -> bool:
        """Whether the batch has run for `limits.soft_timeout` (model.toml); never without one."""
        return self._marks.timed_out()

    def raise_if_timed_out(self) -> None:
        """Stop here if the batch has run for `limits.soft_timeout`.

        Raises:
            SoftTimeout: `timed_out` is true.
        """
        if self.timed_out:
            raise SoftTimeout

    @property
    def traceparent(self) -> str | None:
        """Where this run is in its caller's trace (W3C Trace Context), for what the model asks of others.

        None when the caller has no trace. In `predict`, of several inputs, that of the first that has one;
        `traceparents` has all. With OpenTelemetry:

        ```python
        here = cresset.current()
        carrier = {"traceparent": here.traceparent or "", "tracestate": here.tracestate or ""}
        with tracer.start_as_current_span("embed", context=TraceContextTextMapPropagator().extract(carrier)): ...
        ```
        """
        trace = self._trace()
        return None if trace is None else trace[0]

    @property
    def tracestate(self) -> str | None:
        """What goes with `traceparent`, if the caller sent any."""
        trace = self._trace()
        return None if trace is None else trace[1]

    @property
    def traceparents(self) -> tuple[str | None, ...]:
        """For each input of `predict`, in order, its `traceparent`; one in `preprocess` and `postprocess`."""
        items = self._of()
        traces = self._marks.traces
        if traces is None:
            return (None,) * len(items)
        return tuple(None if (trace := traces[item]) is None else trace[0] for item in items)

    def _trace(self) -> tuple[str, str | None] | None:
        traces = self._marks.traces
        if traces is None:
            return None
        return next((trace for item in self._of() if (trace := traces[item]) is not None), None)

    def _of(self) -> Sequence[int]:
        return range(len(self._marks.flags)) if self._items is None else self._items

    def progress(self, fraction: float, message: str | None = None, *, item: int | None = None) -> None:
        """Say how far the work has come. Whoever looks at the task is shown the newest; nothing is stored.

        Costs some microseconds, and may be said as often as one likes: the server hears of it ten times a second at
        most. After the batch has ended it does nothing.

        Args:
            fraction: from 0 to 1.
            message: for people; cut after 500 characters.
            item: in `predict`, which of its inputs this is about, from 0. Without it, all of them. In `preprocess`,
                `postprocess` and the generator of one item it is known, and must not be given.

        Raises:
            TypeError: `fraction` is not a number, `message` no text, or `item` no int.
            ValueError: `fraction` is not from 0 to 1.
            IndexError: there is no such item.
        """
        if isinstance(fraction, bool) or not hasattr(fraction, "__float__") or isinstance(fraction, str):
            raise TypeError(f"progress(fraction): must be a number from 0 to 1, not {type(fraction).__name__}")
        value = float(fraction)
        if not math.isfinite(value) or not 0 <= value <= 1:
            raise ValueError(f"progress(fraction): must be from 0 to 1, is {value!r}")
        if message is not None and not isinstance(message, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"progress(message): must be text, not {type(message).__name__}")
        items = self._among("progress", item)
        if self._marks.reporter is not None:
            text = None if message is None else _cut(message, _MESSAGE_MAX)
            self._marks.reporter.report(self._marks, items, value, text)

    def log(self, text: str, *, level: str = "info", item: int | None = None) -> None:
        """Write a line about the work: to those who follow the task and may read its log.

        Operators may (a key with the scope `admin`, or a server without keys), and who may read the task where
        `[logs] callers = true` in model.toml says so. `cresset.TaskLogHandler` does it for records of `logging`. The
        newest lines of a task are kept while it runs and ten seconds longer; none are stored. A process has 200 lines
        at once and 50 a second; more are dropped and counted. After the batch has ended it does nothing.

        Args:
            text: the line; cut after 4,000 characters. Line breaks are kept.
            level: `debug`, `info`, `warning` or `error`.
            item: as in `progress`. Without it, in `predict`, the line is of all tasks of the batch: say nothing of one
                caller that the others must not read.

        Raises:
            TypeError: `text` is no text, or `item` no int.
            ValueError: there is no such level.
            IndexError: there is no such item.
        """
        if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"log(text): must be text, not {type(text).__name__}")
        if level not in _LEVELS:
            raise ValueError(f"log(level): must be one of {', '.join(_LEVELS)}, is {level!r}")
        items = self._among("log", item)
        if self._marks.reporter is not None:
            self._marks.reporter.log(self._marks, items, level, _cut(text, _LINE_MAX))

    def _among(self, what: str, item: int | None) -> tuple[int, ...]:
        """Give the items of the batch that something is said of."""
        items = tuple(range(len(self._marks.flags))) if self._items is None else self._items
        if item is None:
            return items
        if isinstance(item, bool) or not isinstance(item, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"{what}(item): must be an int, not {type(item).__name__}")
        if not 0 <= item < len(items):
            raise IndexError(f"{what}(item): there is no item {item} among {len(items)}, counted from 0")
        return (items[item],)


def _cut(text: str, most: int) -> str:
    """Bound a text that is sent, and replace what has no UTF-8 (lone surrogates)."""
    text = text if len(text) <= most else text[: most - 3] + "..."
    return text.encode(errors="replace").decode()


_context: Context | None = None


def current() -> Context:
    """Give the work that this process is doing, from any of its threads.

    ```python
    def predict(self, batch):
        for step in range(1000):
            cresset.current().raise_if_cancelled()
            batch = self.step(batch)
        return batch
    ```

    Raises:
        RuntimeError: no batch is running, or this is no process of a model.
    """
    if _context is None:
        raise RuntimeError(
            "cresset.current(): no batch is running. It can be asked in preprocess, predict and postprocess, and in "
            "what they call, in a process that the server started"
        )
    return _context


def enter(context: Context | None) -> None:
    """Change what `current` gives. For the runner."""
    global _context  # noqa: PLW0603  # one process runs one batch at a time, and all of its threads see that one
    _context = context
