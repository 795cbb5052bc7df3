"""What a model raises to say whether its input is to be tried again. Imports nothing but the standard library."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

_MAX_AFTER_S: Final = 366 * 86_400.0


class Retry(Exception):  # it asks for something; it is no error
    """Raise it in `preprocess`, `predict` or `postprocess` to have the task tried again later.

    ```python
    def preprocess(self, payload):
        try:
            return fetch(payload["url"], timeout=2)
        except TimeoutError as error:
            raise cresset.Retry("the picture's server is slow", after=30) from error
    ```

    At most `[retry] max_retries` times (model.toml); after that the task fails with this message. A synchronous
    prediction is not tried again: it fails with it at once.

    Args:
        message: what the caller reads while it waits, and if the last try fails.
        after: seconds (or a timedelta) until the next try, 0 to a year. Default: `[retry] delay`, doubled each time.

    Raises:
        ValueError: `after` is out of range.
    """

    def __init__(
        self, message: str = "the model asked for another try", *, after: float | timedelta | None = None
    ) -> None:
        super().__init__(message)
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if seconds is not None and not 0 <= seconds <= _MAX_AFTER_S:
            raise ValueError(f"after must be 0 to {_MAX_AFTER_S:.0f} seconds, is {after!r}")
        self.after_ms: int | None = None if seconds is None else round(seconds * 1000)
        """Milliseconds until the next try; `None` leaves it to model.toml."""


class Reject(Exception):  # as Retry
    """Raise it to fail a task for good, whatever `[retry] on` in model.toml says of the exception.

    Args:
        message: what the caller reads.
    """

    def __init__(self, message: str = "the model rejected the input") -> None:
        super().__init__(message)
