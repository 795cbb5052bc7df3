"""Timeouts and retries: what callers may say, checked and in seconds."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import timedelta

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""


def seconds(value: Seconds, name: str) -> float:
    """Check a duration and give it in seconds.

    Raises:
        TypeError: it is neither a number nor a timedelta.
        ValueError: it is negative, NaN or infinite.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be seconds or a timedelta, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} must be 0 or more seconds, not {value}; use None for no limit where that is allowed")
    return float(value)


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and how long before each time.

    Sent again is only what cannot be done twice by that: a request that the server refused without accepting anything
    (429, or 503 with Retry-After), one that never left (the connection was not made), and questions and predictions,
    which change nothing. A submit whose connection broke after it was sent is *not* repeated: it may have made a task.
    """

    attempts: int = 6
    """Times that a request is sent again at most. 0 never does."""
    base_delay: float = 0.1
    """Seconds before the first time; doubled before each further one. A longer Retry-After wins."""
    max_delay: float = 30.0
    """Seconds waited before one time at most. A longer Retry-After is not waited for: the error is raised at once."""

    def __post_init__(self) -> None:
        if self.attempts < 0 or self.base_delay < 0 or self.max_delay < 0:
            raise ValueError("retries: attempts and delays must be 0 or more")

    @classmethod
    def of(cls, value: int | Retries) -> Retries:
        """Take a number of attempts as that many with the usual delays."""
        return value if isinstance(value, Retries) else cls(attempts=value)

    def delay(self, attempt: int, retry_after: float | None) -> float | None:
        """Give the seconds to wait before sending again for the `attempt`-th time (from 0); `None` to give up."""
        if attempt >= self.attempts or (retry_after is not None and retry_after > self.max_delay):
            return None
        backoff = min(self.base_delay * 2.0**attempt, self.max_delay)
        # Spread out, so that many callers refused together do not come back together; never before the server's time.
        return max(retry_after or 0.0, backoff) * random.uniform(1.0, 1.25)  # noqa: S311  # not a secret
