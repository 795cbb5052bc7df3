"""How a failed task is tried again, as its submitter says it: checked, sent, and read back."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_RETRIES_MAX: Final = 1000
_DELAY_MAX_S: Final = 86_400.0
_CLASSES_MAX: Final = 64
_CLASS_MAX: Final = 256
"""The server's own limits."""
_CLASS: Final = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?)(ms|s|m|h)")
_UNITS: Final = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class RetryPolicy:
    """How a task that fails is tried again. What is left out, the model's `[retry]` says.

    ```python
    client.submit("embed", page, retry=cresset.RetryPolicy(max_retries=5, delay=2, on=["TimeoutError"]))
    ```

    Not to be taken for `cresset.Retry`, which a model raises, nor for `cresset.Retries` of a client's requests.

    Raises:
        TypeError: a value is of another type.
        ValueError: one is out of range.
    """

    max_retries: int | None = None
    """How often it is tried again at most, 0 to 1000."""
    delay: float | timedelta | None = None
    """The wait before the first retry, in seconds or as a timedelta, at most a day; each further one is twice
    as long."""
    max_delay: float | timedelta | None = None
    """The longest wait, likewise; no shorter than `delay`."""
    on: Iterable[str] | None = None
    """The exceptions that are tried again, at most 64: their classes as `TaskFailure.type` has them, or `"*"` for
    any."""

    def __post_init__(self) -> None:
        if self.max_retries is not None:
            if isinstance(self.max_retries, bool) or not isinstance(self.max_retries, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"max_retries must be an int, not {type(self.max_retries).__name__}")
            if not 0 <= self.max_retries <= _RETRIES_MAX:
                raise ValueError(f"max_retries must be from 0 to {_RETRIES_MAX}, not {self.max_retries}")
        delay, longest = _seconds(self.delay, "delay"), _seconds(self.max_delay, "max_delay")
        if delay is not None and longest is not None and longest < delay:
            raise ValueError(f"max_delay is {self.max_delay}, shorter than delay, which is {self.delay}")
        if self.on is not None:
            object.__setattr__(self, "on", _classes(self.on))

    def to_json(self) -> dict[str, Any]:
        """Give it as `retry` of a submit; empty when it leaves everything to the model."""
        delay, longest = _seconds(self.delay, "delay"), _seconds(self.max_delay, "max_delay")
        said: dict[str, Any] = {
            "max_retries": self.max_retries,
            "delay": None if delay is None else f"{math.ceil(delay * 1000)}ms",
            "max_delay": None if longest is None else f"{math.ceil(longest * 1000)}ms",
            "on": None if self.on is None else list(self.on),
        }
        return {key: value for key, value in said.items() if value is not None}

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> RetryPolicy:
        """Read it from a task's `retry`; its waits are seconds then.

        Raises:
            TypeError, ValueError: it is none.
        """
        return cls(
            max_retries=value.get("max_retries"),
            delay=_read(value.get("delay")),
            max_delay=_read(value.get("max_delay")),
            on=value.get("on"),
        )


def _seconds(value: float | timedelta | None, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{name} must be seconds or a timedelta, not {type(value).__name__}")
    if not 0 <= value <= _DELAY_MAX_S:
        raise ValueError(f"{name} must be from 0 to {_DELAY_MAX_S:.0f} seconds (a day), not {value}")
    return float(value)


def _classes(on: Iterable[str]) -> tuple[str, ...]:
    if isinstance(on, str):
        raise TypeError(f"on must be a list of exceptions' classes, not the text {on!r}; write [{on!r}]")
    classes = tuple(on)
    if len(classes) > _CLASSES_MAX:
        raise ValueError(f"on must have at most {_CLASSES_MAX} classes, not {len(classes)}")
    for one in classes:
        if not isinstance(one, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"on must have the names of exceptions' classes, such as 'TimeoutError', not {one!r}")
        if one != "*" and (len(one) > _CLASS_MAX or not _CLASS.fullmatch(one)):
            raise ValueError(f"on must have exceptions' classes, such as 'TimeoutError', or '*', not {one!r}")
    return classes


def _read(text: Any) -> float | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise ValueError(f"a wait is {text!r}, which is no duration")
    return float(match[1]) * _UNITS[match[2]]
