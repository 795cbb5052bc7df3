"""How a task of the stand-in server is tried again: only as its submit says, for a model here has no `model.toml`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from cresset._policy import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYS: Final = ("max_retries", "delay", "max_delay", "on")
_MAX_RETRIES: Final = 3
_DELAY: Final = timedelta(seconds=1)
_MAX_DELAY: Final = timedelta(minutes=10)
"""What a model has that does not say otherwise; which exceptions are tried again, it does not say at all."""


def read(value: Any) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """Read `retry` of a submit; gives it as it is shown, and each wrong field with what is wrong."""
    if value is None:
        return None, []
    if not isinstance(value, dict):
        return None, [("retry", f"must be an object, not {value!r}")]
    said = cast("dict[str, Any]", value)
    wrong = [(f"retry.{key}", "is not a known key") for key in said if key not in _KEYS]
    try:
        shown = RetryPolicy.of(said).to_json()
    except (TypeError, ValueError) as error:
        wrong.append(("retry", str(error)))
        return None, wrong
    return shown or None, wrong


def wait(said: Mapping[str, Any] | None, retries: int, error: Mapping[str, Any] | None) -> timedelta | None:
    """Give how long a task that ended so waits for its next try, without spread; `None` when this was its end."""
    if said is None or error is None or error["code"] != "model_error":
        return None
    policy = RetryPolicy.of(said)
    listed = tuple(policy.on or ())
    if retries >= (_MAX_RETRIES if policy.max_retries is None else policy.max_retries):
        return None
    if "*" not in listed and error["type"] not in listed:
        return None
    longest = _span(policy.max_delay, _MAX_DELAY)
    return min(longest, _span(policy.delay, _DELAY) * 2.0**retries)


def _span(seconds: float | timedelta | None, default: timedelta) -> timedelta:
    if seconds is None:
        return default
    return seconds if isinstance(seconds, timedelta) else timedelta(seconds=seconds)
