"""What the server tells, as values: tasks, models, health. Read-only; times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from cresset import _times
from cresset._batches import BatchCounts, BatchLine, BatchState, BatchStatus
from cresset._failure import TaskFailure
from cresset._file import revived
from cresset._health import Health, ModelHealth
from cresset._policy import RetryPolicy
from cresset._specs import TensorSpec
from cresset.events import Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

__all__ = [
    "BatchCounts",
    "BatchLine",
    "BatchState",
    "BatchStatus",
    "Cancellation",
    "DeadLetter",
    "Health",
    "InstanceInfo",
    "ModelHealth",
    "ModelInfo",
    "Redelivery",
    "RetryPolicy",
    "TaskFailure",
    "TaskState",
    "TaskStatus",
    "TaskSummary",
    "TensorSpec",
]

TaskState = Literal["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED"]
"""Where a task is in its life; the last three are final."""

_FINAL: Final = frozenset(("SUCCESS", "FAILURE", "REVOKED"))


@dataclass(frozen=True)
class Redelivery:
    """Why a task ran once more."""

    attempt: int
    """The attempt that ended without an outcome, counted from 1."""
    at: datetime
    """When it ended."""
    reason: str
    """Why, in words."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Redelivery:
        """Read it from an entry of a task's `history`.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        return cls(attempt=int(value["attempt"]), at=_times.from_text(value["at"]), reason=str(value["reason"]))


@dataclass(frozen=True)
class Cancellation:
    """What a cancellation came to."""

    id: str
    """The task's id."""
    status: TaskState
    """REVOKED; with `too_late`, how the task had ended."""
    when: Literal["before", "during", "too_late"]
    """When it reached the task.

    `before`: while it was queued, and nothing of it runs. `during`: while a model process had it, or was about to; its
    code can see that, and a result is thrown away. `too_late`: after its end, and nothing changed. The last is also the
    answer to a second cancellation, also where the client had to send one twice because the first answer was lost;
    `status` is REVOKED then.
    """
    grace: timedelta | None = None
    """Only with `during`: how long the process has to let go of the task before it is killed. None: it is left to
    end."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> Cancellation:
        """Read it from the answer to `POST /v1/tasks/{id}/cancel`.

        Raises:
            KeyError, TypeError: it is none.
        """
        grace = value.get("grace_ms")
        return cls(
            id=value["task_id"],
            status=value["status"],
            when=value["cancelled"],
            grace=None if grace is None else timedelta(milliseconds=grace),
        )


@dataclass(frozen=True)
class DeadLetter:
    """An input that took its model's process down, and what is known of how. The input itself is fetched apart."""

    id: str
    """Its id: that of its task."""
    model: str
    """The model that the input was for."""
    version: str | None
    """The model version that died of it."""
    created_at: datetime
    """When the task was accepted."""
    died_at: datetime
    """When the input was found guilty."""
    cause: str
    """The kind of death: `exit`, `signal`, `out_of_memory`, `hung`, `protocol`."""
    reason: str
    """The same in words."""
    tried: int
    """How often the input was in a batch whose process died."""
    resident_bytes: int | None
    """Memory of the process, in bytes, when it was last looked at before its death."""
    log: tuple[str, ...] | None
    """The last lines that the process printed, oldest first, at most 40; only from servers that show tracebacks."""
    priority: int
    """Of the task; a replay keeps it."""
    input_bytes: int
    """Bytes of the input as it is stored."""
    replayed_as: str | None
    """The id of the task that was made of it, once it has been replayed."""
    metadata: dict[str, Any] | None
    """Of the task; a replay keeps it."""
    retry: RetryPolicy | None = None
    """How its submitter had the task tried again, as far as it said so; a replay keeps it."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> DeadLetter:
        """Read it from the answer to `GET /v1/dead/{id}`.

        Raises:
            KeyError, ValueError: it is none.
        """
        log = value.get("log")
        return cls(
            id=value["task_id"],
            model=value["model"],
            version=value.get("version"),
            created_at=_times.from_text(value["created_at"]),
            died_at=_times.from_text(value["died_at"]),
            cause=value["cause"],
            reason=value["reason"],
            tried=value["tried"],
            resident_bytes=value.get("resident_bytes"),
            log=None if log is None else tuple(log),
            priority=value.get("priority", 0),
            input_bytes=value["input_bytes"],
            replayed_as=value.get("replayed_as"),
            metadata=value.get("metadata"),
            retry=None if value.get("retry") is None else RetryPolicy.of(value["retry"]),
        )


@dataclass(frozen=True)
class TaskSummary:
    """A task in a list: what it is and where it stands, without its result. Its status has the rest."""

    id: str
    """Its id."""
    model: str
    """The model it is for."""
    status: TaskState
    """Where it is in its life."""
    version: str | None
    """The model version that ended it."""
    created_at: datetime
    """When it was accepted."""
    started_at: datetime | None
    """When it was last handed to an instance."""
    finished_at: datetime | None
    """When it ended."""
    eta: datetime | None
    """While it waits for its time, to start or to be tried again: when that is."""
    attempts: int
    """How often it was handed to an instance."""
    retries: int
    """How often it failed and was tried again by the model's retry policy."""
    priority: int
    """-100 (last) to 100 (first)."""
    metadata: Mapping[str, Any] | None
    """What was submitted with it."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> TaskSummary:
        """Read it from the answer to `GET /v1/tasks`. Raises what `TaskStatus.of` does."""
        return cls(
            id=value["task_id"],
            model=value["model"],
            status=value["status"],
            version=value.get("version"),
            created_at=_times.from_text(value["created_at"]),
            started_at=_time_or_none(value.get("started_at")),
            finished_at=_time_or_none(value.get("finished_at")),
            eta=_time_or_none(value.get("eta")),
            attempts=int(value.get("attempts", 0)),
            retries=int(value.get("retries", 0)),
            priority=int(value.get("priority", 0)),
            metadata=value.get("metadata"),
        )


@dataclass(frozen=True)
class TaskStatus:
    """A task as the server knows it at one moment."""

    id: str
    """Its id."""
    model: str
    """The model it is for."""
    status: TaskState
    """Where it is in its life."""
    version: str | None
    """The model version that ended it."""
    result: Any
    """What the model gave; `None` unless `status` is SUCCESS (and possibly then too)."""
    error: TaskFailure | None
    """Why it failed or was revoked; present exactly with FAILURE and REVOKED."""
    created_at: datetime
    """When it was accepted."""
    started_at: datetime | None
    """When it was last handed to an instance."""
    finished_at: datetime | None
    """When it ended."""
    attempts: int
    """How often it was handed to an instance."""
    retries: int
    """How often it failed and was tried again by the model's retry policy; other reasons to run again do not count."""
    history: tuple[Redelivery, ...]
    """Why it ran more than once, oldest first; the newest 32."""
    eta: datetime | None
    """While it waits for its time, to start or to be tried again: when that is."""
    expires_at: datetime | None
    """After this it does not start any more; its deadline is one, too."""
    priority: int
    """-100 (last) to 100 (first)."""
    queue_position: int | None
    """While it is queued: how many tasks of the model go before it."""
    metadata: Mapping[str, Any] | None
    """What was submitted with it."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """The whole answer, with whatever a later server adds."""
    deadline_at: datetime | None = None
    """It is revoked if it has not ended by this."""
    cached: bool = False
    """Its result is that of an equal input, kept or computed at the same time: no process ran this task."""
    retry: RetryPolicy | None = None
    """How its submitter has it tried again; `None` leaves that to its model."""
    progress: Progress | None = None
    """While it runs: how far it has come, if its model has said so."""
    trace_id: str | None = None
    """The trace that its submitter follows."""

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in _FINAL

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> TaskStatus:
        """Read it from the answer to `GET /v1/tasks/{id}`.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        error = value.get("error")
        return cls(
            id=value["task_id"],
            model=value["model"],
            status=value["status"],
            version=value.get("version"),
            result=revived(value.get("result")),
            error=None if error is None else TaskFailure.of(error),
            created_at=_times.from_text(value["created_at"]),
            started_at=_time_or_none(value.get("started_at")),
            finished_at=_time_or_none(value.get("finished_at")),
            attempts=int(value.get("attempts", 0)),
            retries=int(value.get("retries", 0)),
            history=tuple(Redelivery.of(one) for one in value.get("history", ())),
            eta=_time_or_none(value.get("eta")),
            expires_at=_time_or_none(value.get("expires_at")),
            priority=int(value.get("priority", 0)),
            queue_position=value.get("queue_position"),
            metadata=value.get("metadata"),
            progress=Progress.of(value["progress"]) if value.get("progress") else None,
            trace_id=value.get("trace_id"),
            raw=value,
            deadline_at=_time_or_none(value.get("deadline_at")),
            cached=bool(value.get("cached", False)),
            retry=None if value.get("retry") is None else RetryPolicy.of(value["retry"]),
        )


@dataclass(frozen=True)
class InstanceInfo:
    """A process of a model."""

    id: int
    device: str
    state: str
    """`starting`, `ready`, `waiting` (to be started again), `unloaded` (until there is work) or `stopped`."""
    pid: int | None
    restarts: int
    """Starts after a death."""
    reason: str | None
    """Why it waits to be started again."""
    runtime: str | None
    """What it runs on: `python 3.11.7, torch 2.15.0`."""
    recycled: int = 0
    """Times it was replaced by a fresh process."""


@dataclass(frozen=True)
class ModelInfo:
    """A model as the server serves it."""

    name: str
    version: str
    description: str | None
    kind: str
    """`tensor` (declares its inputs) or `object` (takes any JSON)."""
    state: str
    """`starting`, `ready`, `degraded`, `unloaded`, `loading`, `down`, `failed` or `stopped`."""
    last_failure: str | None
    """Why an instance last went down, if one has."""
    inputs: tuple[TensorSpec, ...]
    """What one input is made of; empty for an object model."""
    outputs: tuple[TensorSpec, ...]
    """What one result is made of; may be empty."""
    max_batch_size: int
    """Items in a batch at most."""
    instances: tuple[InstanceInfo, ...]
    queued: int
    """Tasks in its durable queue, without those that run."""
    running: int
    """Items in instances or about to be."""
    waiting: int
    """Synchronous predictions waiting or running."""
    items_per_second: float | None
    """Items finished a second, over the last seconds."""
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """The whole answer, with limits, batching, and whatever a later server adds."""

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> ModelInfo:
        """Read it from the answer to `GET /v1/models/{model}`.

        Raises:
            KeyError, TypeError, ValueError: it is not one.
        """
        return cls(
            name=value["name"],
            version=value["version"],
            description=value.get("description"),
            kind=value["kind"],
            state=value["state"],
            last_failure=value.get("last_failure"),
            inputs=tuple(_spec(spec) for spec in value.get("inputs", ())),
            outputs=tuple(_spec(spec) for spec in value.get("outputs", ())),
            max_batch_size=int(value.get("batching", {}).get("max_batch_size", 1)),
            instances=tuple(
                InstanceInfo(
                    id=one["id"],
                    device=one["device"],
                    state=one["state"],
                    pid=one.get("pid"),
                    restarts=one.get("restarts", 0),
                    reason=one.get("reason"),
                    runtime=one.get("runtime"),
                    recycled=one.get("recycled", 0),
                )
                for one in value.get("instances", ())
            ),
            queued=int(value.get("queue", {}).get("tasks", 0)),
            running=int(value.get("running", 0)),
            waiting=int(value.get("waiting", 0)),
            items_per_second=value.get("items_per_second"),
            raw=value,
        )


def _spec(value: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(value["name"], value["dtype"], tuple(value["shape"]))


def _time_or_none(text: str | None) -> datetime | None:
    return None if text is None else _times.from_text(text)
