"""What comes of a task while it is followed, beside its states: as values. Read-only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from cresset import _times

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from cresset.records import TaskStatus

__all__ = ["Chunk", "Gap", "LogLine", "Progress", "Restart", "TaskEvent"]


@dataclass(frozen=True)
class Progress:
    """How far a task has come, as its model says; the newest only."""

    fraction: float
    """From 0 to 1."""
    message: str | None
    """In the model's words."""
    at: datetime
    """When it said so."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Progress:
        """Read it.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(float(value["fraction"]), value.get("message"), _times.from_text(value["at"]))


@dataclass(frozen=True)
class Chunk:
    """A piece of the result of a streaming model."""

    value: Any
    """What the model yielded."""
    number: int
    """Counted from 0."""
    attempt: int
    """The attempt that it is of."""


@dataclass(frozen=True)
class Restart:
    """The task is run again: the pieces that came before are void, and come anew."""

    attempt: int
    """The attempt that begins."""


@dataclass(frozen=True)
class Gap:
    """Pieces that the server does not keep any more. The result has them."""

    first: int
    """The number of the first."""
    last: int
    """The number of the last."""
    attempt: int
    """The attempt that they are of."""


@dataclass(frozen=True)
class LogLine:
    """A line that the model wrote about the task (`cresset.current().log`); only where they were asked for."""

    text: str
    """The line, or some."""
    level: str
    """`debug`, `info`, `warning` or `error`."""
    at: datetime
    """When the server had it."""
    number: int
    """Counted from 0, and anew where the task was queued once more; what is left out is not kept any more."""
    attempt: int
    """The attempt that wrote it."""


TaskEvent = Union["TaskStatus", Progress, Chunk, Restart, Gap, LogLine]
"""What `TaskHandle.events` gives."""


def read(kind: str, value: Mapping[str, Any]) -> Progress | Chunk | Restart | Gap | LogLine | None:
    """Read what the model says of its work; `None` for what a newer server may send.

    Raises:
        KeyError, TypeError, ValueError: it is not what it says.
    """
    match kind:
        case "progress":
            return Progress.of(value)
        case "chunk":
            return Chunk(value["chunk"], int(value["number"]), int(value["attempt"]))
        case "restart":
            return Restart(int(value["attempt"]))
        case "gap":
            return Gap(int(value["from"]), int(value["to"]), int(value["attempt"]))
        case "log":
            at = _times.from_text(value["at"])
            return LogLine(str(value["text"]), str(value["level"]), at, int(value["number"]), int(value["attempt"]))
        case _:
            return None
