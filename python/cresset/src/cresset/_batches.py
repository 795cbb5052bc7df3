"""What the server tells of batches, as values; `cresset.records` has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from cresset import _times
from cresset._failure import TaskFailure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

BatchState = Literal["accepting", "in_progress", "completed", "cancelling", "cancelled"]
"""Where a batch is in its life: `completed` and `cancelled` are final, and every line has ended then."""

_FINAL: Final = frozenset(("completed", "cancelled"))


@dataclass(frozen=True)
class BatchCounts:
    """How many lines of a batch are where."""

    pending: int
    """Queued."""
    started: int
    """Running."""
    retry: int
    """Queued to be tried again."""
    success: int
    """With a result."""
    failure: int
    """Failed."""
    revoked: int
    """Cancelled, or expired before they could run."""
    invalid: int
    """Never a task: the line was wrong."""
    expired: int
    """Ended, and purged since."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> BatchCounts:
        """Read them from a batch's `counts`."""
        return cls(**{name: int(value[name]) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class BatchStatus:
    """A batch as it is now."""

    id: str
    """Its id."""
    model: str
    """The model of its tasks."""
    status: BatchState
    """Where it is in its life."""
    accepted: int
    """Lines that are accepted."""
    total: int | None
    """Lines that there are in all; `None` until the end of the request has come."""
    counts: BatchCounts
    """Where they are."""
    created_at: datetime
    """When it was begun."""
    finished_at: datetime | None
    """When the last of its tasks ended."""
    cancelled_at: datetime | None
    """When it was cancelled."""
    metadata: Mapping[str, Any] | None
    """What was sent with it."""

    @property
    def is_final(self) -> bool:
        """Whether every line has ended."""
        return self.status in _FINAL

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> BatchStatus:
        """Read it from the answer to `GET /v1/batches/{id}`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        finished, cancelled = value.get("finished_at"), value.get("cancelled_at")
        return cls(
            id=value["batch_id"],
            model=value["model"],
            status=value["status"],
            accepted=int(value["accepted"]),
            total=value["total"],
            counts=BatchCounts.of(value["counts"]),
            created_at=_times.from_text(value["created_at"]),
            finished_at=None if finished is None else _times.from_text(finished),
            cancelled_at=None if cancelled is None else _times.from_text(cancelled),
            metadata=value.get("metadata"),
        )


@dataclass(frozen=True)
class BatchLine:
    """What became of one line of a batch."""

    index: int
    """Its number among the lines that were sent, from 0."""
    task_id: str | None
    """The task that it is; `None` when it is none, or has been purged."""
    status: Literal["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "INVALID", "EXPIRED"]
    """As a task's; INVALID when the line was wrong, EXPIRED when its task has been purged."""
    result: Any
    """Only with SUCCESS: what the model gave."""
    error: TaskFailure | None
    """Why there is no result, once there will be none."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> BatchLine:
        """Read it from a line of the answer to `GET /v1/batches/{id}/results`.

        Raises:
            KeyError, TypeError: it is none.
        """
        error = value.get("error")
        return cls(
            index=value["index"],
            task_id=value["task_id"],
            status=value["status"],
            result=value.get("result"),
            error=None if error is None else TaskFailure.of(error),
        )
