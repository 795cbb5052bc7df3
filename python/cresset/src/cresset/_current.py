"""What a model may ask while it runs a batch: does anybody still want the result? Nothing but the standard library."""

from __future__ import annotations


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


class Marks:
    """For each item of a batch, whether it is cancelled. Made by the runner; models see it through `Context`."""

    __slots__ = ("flags",)

    def __init__(self, flags: memoryview | bytes) -> None:
        self.flags = flags
        """A byte for each item; not 0 when it is cancelled. The server sets it while we look."""

    def any(self) -> bool:
        """Tell whether an item is cancelled."""
        return any(self.flags)

    def all(self) -> bool:
        """Tell whether every item is cancelled."""
        return 0 not in self.flags

    def close(self) -> None:
        """Keep what is known: the memory is another batch's from now on."""
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
