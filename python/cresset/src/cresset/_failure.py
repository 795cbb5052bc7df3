"""Why a task has no result, as a value; `cresset.records` has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class TaskFailure:
    """Why a task failed, or was revoked."""

    code: str
    """The stable code: `model_error`, `bad_output`, `instance_died`, ..."""
    type: str
    """The exception's class as Python names it, or one of Cresset's."""
    message: str
    """What went wrong."""
    stage: str | None = None
    """Which part of the model's code was running: `preprocess`, `predict`, ..."""
    traceback: str | None = None
    """Where in the model's code it went wrong; only from servers that show tracebacks."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> TaskFailure:
        """Read it from a task's `error`."""
        return cls(
            code=str(value.get("code", "")),
            type=str(value.get("type", "")),
            message=str(value.get("message", "")),
            stage=value.get("stage"),
            traceback=value.get("traceback"),
        )
