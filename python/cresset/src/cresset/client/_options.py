"""Timeouts, times and retries: what callers may say, checked, in seconds or as the text that is sent."""

from __future__ import annotations

import math
import os
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, get_args

from cresset import _times

if TYPE_CHECKING:
    from collections.abc import Collection

Seconds = float | timedelta
"""A duration: seconds, or a timedelta."""
CallbackEvent = Literal["started", "retried", "succeeded", "failed", "revoked"]
"""What can be told of a task: that it started, failed and will be tried again, or how it ended."""
CacheUse = Literal["no-cache", "no-store"]
"""What the model's result cache may not do: answer with a kept result, or keep one either. The words of RFC 9111."""
_FURTHEST_S: Final = 5 * 366 * 24 * 3600.0
"""The longest countdown, and the longest time to expire; the server's own limit."""
_KEY_MAX: Final = 255
"""Characters of an idempotency key; the server's own limit."""


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


def milliseconds(duration: float) -> str:
    """Give seconds as the server reads them; never shorter than they are."""
    return f"{math.ceil(duration * 1000)}ms"


def start(eta: datetime | None, countdown: Seconds | None) -> tuple[str, str] | None:
    """Check when a task may start; gives the option's name and its text, `None` for at once.

    Raises:
        TypeError: one is of another type.
        ValueError: both are given, the datetime is naive, or the countdown is negative or too long.
    """
    if eta is not None and countdown is not None:
        raise ValueError("eta and countdown are both given; a start is the one or the other")
    if eta is not None:
        return "eta", _instant(eta, "eta")
    return None if countdown is None else ("countdown", _span(countdown, "countdown"))


def end(value: datetime | Seconds | None, name: str) -> tuple[str, str] | None:
    """Check when a task may start no more, or must have ended; gives the option's name and its text, `None` for never.

    Raises:
        TypeError: it is of another type.
        ValueError: the datetime is naive, or the duration is not more than 0 or too long.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return name, _instant(value, name)
    text = _span(value, name)
    if text == "0ms":
        raise ValueError(f"{name} must be more than 0")
    return name, text


def past(before: datetime | Seconds) -> str:
    """Check an instant, or an age; gives its text.

    Raises:
        TypeError: it is of another type.
        ValueError: the datetime is naive, or the age is negative or too long.
    """
    return _instant(before, "before") if isinstance(before, datetime) else _span(before, "before")


def idempotency_key(value: str | None) -> str:
    """Check the caller's key, or make one; gives the header's value, in the quotes that its standard asks for.

    Raises:
        TypeError: it is not text.
        ValueError: it is empty, too long, or has other characters than the visible ones of ASCII.
    """
    if value is None:
        # Beginning with the time, so that the server adds keys at one end of its index: random ones cost it 16 us of
        # CPU a submit, these 5 (measured). 80 random bits: no two clients make the same.
        return f'"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"'
    if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"idempotency_key must be text, not {type(value).__name__}")
    if not 1 <= len(value) <= _KEY_MAX or not all("!" <= character <= "~" for character in value):
        raise ValueError(f"idempotency_key must be 1 to {_KEY_MAX} visible ASCII characters, not {value[:_KEY_MAX]!r}")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def callback(url: str | None, events: Collection[CallbackEvent] | None) -> tuple[str, list[str]] | None:
    """Check whom to tell of a task, and of what; no events are the server's own.

    Raises:
        TypeError: one is of another type.
        ValueError: events are given and no address, or one is none of them. The server judges the address.
    """
    if url is None:
        if events is not None:
            raise ValueError("callback_events are given without callback_url: there is nobody to tell")
        return None
    if not isinstance(url, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"callback_url must be text, not {type(url).__name__}")
    if isinstance(events, str):
        raise TypeError("callback_events must be a list of events, not one text")
    names = [] if events is None else [str(event) for event in events]
    known = get_args(CallbackEvent)
    for name in names:
        if name not in known:
            raise ValueError(f"callback_events must be of {', '.join(known)}, not {name!r}")
    if events is not None and not names:
        raise ValueError("callback_events must name at least one event")
    return url, names


def cache_control(value: CacheUse | None) -> dict[str, str]:
    """Check what the result cache may not do; gives the header, if there is one.

    Raises:
        ValueError: it is neither of the words.
    """
    if value is None:
        return {}
    if value not in get_args(CacheUse):
        raise ValueError(f"cache must be 'no-cache', 'no-store' or None, not {value!r}")
    return {"cache-control": value}


def _span(value: Seconds, name: str) -> str:
    duration = seconds(value, name)
    if duration > _FURTHEST_S:
        raise ValueError(f"{name} must be at most five years, not {value}")
    return milliseconds(duration)


def _instant(value: datetime, name: str) -> str:
    if not isinstance(value, datetime):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(
            f"{name} is the naive datetime {value.isoformat()}, which is another instant on another machine; use an "
            "aware one: datetime.now(timezone.utc), value.astimezone(), django.utils.timezone.now(), ..."
        )
    try:
        return _times.to_text(value)
    except OverflowError:
        raise ValueError(f"{name} must be within the years 1 to 9999 in UTC, not {value.isoformat()}") from None


@dataclass(frozen=True)
class Retries:
    """How often a request is sent again, and how long before each time.

    Sent again is what the server refused without accepting anything (429, or 503 with Retry-After), and what got no
    answer: the connection was not made, broke, or stayed silent for the client's timeout. Nothing is done twice by
    that: a submit carries an idempotency key, by which the server knows it again, and everything else does no harm
    twice.
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
