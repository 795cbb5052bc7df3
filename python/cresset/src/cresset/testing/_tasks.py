"""A task of the stand-in server: what its submit says, and where it is in its life."""

from __future__ import annotations

import inspect
import json
import re
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from cresset import _times
from cresset._json import NotJsonError, encode
from cresset._model import joined
from cresset.client._trace import is_traceparent
from cresset.testing import _retry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?)(ms|s|m|h)?")
_UNITS: Final = {"ms": 1e-3, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
_KEYS: Final = {
    "tasks": (
        "input",
        "priority",
        "metadata",
        "eta",
        "countdown",
        "expires",
        "deadline",
        "retry",
        "callback_url",
        "callback_events",
    ),
    "predict": ("input", "timeout"),
}
_HISTORY_MAX: Final = 32
"""Entries of a history that are shown, the newest."""
VERSION: Final = "1"
"""The version of every model here."""


@dataclass
class Task:
    """A task, or a prediction on its way. Times are the stand-in's."""

    model: str
    input: Any
    priority: int
    metadata: Any
    created_at: datetime
    due_at: datetime | None = None
    expires_at: datetime | None = None
    deadline_at: datetime | None = None
    retry: dict[str, Any] | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "PENDING"
    started_at: datetime | None = None
    finished_at: datetime | None = None
    result: Any = None
    error: dict[str, Any] | None = None
    attempts: int = 0
    retries: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    chunks: list[Any] = field(default_factory=list[Any])
    """The pieces of its result, of a model that is a generator."""
    trace_id: str | None = None
    """The trace that its submitter follows."""

    def is_due(self, now: datetime) -> bool:
        """Tell whether it may start."""
        return self.due_at is None or self.due_at <= now

    def is_queued(self) -> bool:
        """Tell whether it waits to be handed to an instance, for the first time or to be tried again."""
        return self.status in ("PENDING", "RETRY")

    def is_past(self, now: datetime) -> bool:
        """Tell whether it must not start any more, or must have ended."""
        overdue = self.deadline_at is not None and self.deadline_at <= now
        expired = self.is_queued() and self.expires_at is not None and self.expires_at <= now
        return self.finished_at is None and (overdue or expired)

    def start(self, now: datetime) -> None:
        """Hand it to an instance, if none has it yet."""
        if self.is_queued():
            self.status, self.started_at, self.due_at = "STARTED", now, None
            self.attempts += 1

    def revoke(self, reason: str, now: datetime) -> None:
        """End it without a result."""
        self.status, self.finished_at = "REVOKED", now
        self.error = {"code": "revoked", "type": "Revoked", "message": reason}

    def run(self, model: Callable[[Any], Any], clock: Callable[[], datetime]) -> None:
        """Compute it; what comes of that is thrown away when it is revoked meanwhile."""
        self.start(clock())
        self.chunks.clear()
        result, error = _computed(model, self.input, self.chunks)
        if self.finished_at is not None:
            return
        again = _retry.wait(self.retry, self.retries, error)
        if error is not None and again is not None:
            reason = f"{error['type']}: {error['message']}"
            now = clock()
            self.history.append({"attempt": self.attempts, "at": _times.to_text(now), "reason": reason})
            self.status, self.due_at, self.retries = "RETRY", now + again, self.retries + 1
            return
        self.result, self.error, self.finished_at = result, error, clock()
        self.status = "FAILURE" if error else "SUCCESS"

    def shown(self, now: datetime) -> dict[str, Any]:
        """Give it as `GET /v1/tasks/{id}` does."""
        waits = self.is_queued() and not self.is_due(now)
        ended_by_model = self.status in ("SUCCESS", "FAILURE")
        return {
            "task_id": self.id,
            "model": self.model,
            "version": VERSION if ended_by_model else None,
            "status": self.status,
            **({"result": self.result} if self.status == "SUCCESS" else {}),
            **({"error": self.error} if self.error else {}),
            "created_at": _times.to_text(self.created_at),
            "started_at": self.started_at and _times.to_text(self.started_at),
            "finished_at": self.finished_at and _times.to_text(self.finished_at),
            "attempts": self.attempts,
            "retries": self.retries,
            "cached": False,
            "retry": self.retry,
            "eta": _times.to_text(self.due_at) if waits and self.due_at else None,
            "expires_at": self.expires_at and _times.to_text(self.expires_at),
            "deadline_at": self.deadline_at and _times.to_text(self.deadline_at),
            "history": self.history[-_HISTORY_MAX:],
            "priority": self.priority,
            "trace_id": self.trace_id,
            "queue_position": None,
            "metadata": self.metadata,
        }

    def revision(self) -> int:
        """Give how far it has come, as the ids of events say it."""
        stage = 2 if self.finished_at else 1 if self.is_queued() else 0
        return stage + 3 * self.attempts

    def fingerprint(self) -> str:
        """Give what is the same when it is submitted again under its idempotency key."""
        return json.dumps([self.input, self.priority, self.metadata])


def read(model: str, what: str, body: Mapping[str, Any], now: datetime) -> Task | list[tuple[str, str]]:
    """Read a submit (`what` is `tasks`) or a prediction (`predict`); else give each wrong field and what is wrong."""
    wrong = [(key, "is not known") for key in body if key not in _KEYS[what]]
    if "input" not in body:
        wrong.append(("input", "is missing"))
    task = Task(model, body.get("input"), body.get("priority", 0), body.get("metadata"), now)
    for name in ("eta", "countdown", "expires", "deadline"):
        try:
            _set_time(task, name, body.get(name), now)
        except (ValueError, OverflowError) as error:  # noqa: PERF203  # each mistake is told
            wrong.append((name, str(error)))
    task.retry, mistakes = _retry.read(body.get("retry"))
    wrong += mistakes
    for name, end in (("expires", task.expires_at), ("deadline", task.deadline_at)):
        if task.due_at and end and end <= task.due_at:
            wrong.append((name, f"is no later than its start at {_times.to_text(task.due_at)}: it would never run"))
    wrong += _wrong_callback(body.get("callback_url"), body.get("callback_events"))
    if task.deadline_at:
        task.expires_at = min(task.expires_at or task.deadline_at, task.deadline_at)
    return wrong or task


def trace_id(headers: Mapping[str, str]) -> str | None:
    """Give the trace that a request goes on with; a fresh one where its `traceparent` is none of the standard's."""
    said = headers.get("traceparent")
    if said is None:
        return None
    return said.split("-")[1] if is_traceparent(said) else uuid.uuid4().hex


def _wrong_callback(url: Any, events: Any) -> list[tuple[str, str]]:
    """What is wrong with a callback. Nobody is called: a stand-in sends nothing anywhere."""
    wrong: list[tuple[str, str]] = []
    if url is not None and not (isinstance(url, str) and re.match(r"https?://[^/@?#]+(/|\?|$)", url)):
        wrong.append(("callback_url", "must be a URL such as https://example.com/hooks/cresset"))
    known = ("started", "retried", "succeeded", "failed", "revoked")
    if events is not None and not (events and isinstance(events, list) and all(one in known for one in events)):  # pyright: ignore[reportUnknownVariableType]
        wrong.append(("callback_events", f"must be a list of {', '.join(known)}"))
    if events is not None and url is None:
        wrong.append(("callback_events", "is given without `callback_url`: there is nobody to tell"))
    return wrong


def _set_time(task: Task, name: str, value: Any, now: datetime) -> None:
    if value is None:
        return
    if name == "expires":
        task.expires_at = _end(value, now)
    elif name == "deadline":
        task.deadline_at = _end(value, now)
    elif task.due_at is not None:
        raise ValueError("is given with the other: a start is an `eta` or a `countdown`")
    else:
        task.due_at = _instant(value) if name == "eta" else now + _duration(value)


def _computed(model: Callable[[Any], Any], value: Any, chunks: list[Any]) -> tuple[Any, dict[str, Any] | None]:
    try:
        result = model(value)
        if inspect.isgenerator(result):
            for chunk in result:
                chunks.append(json.loads(encode(chunk, "result")))  # noqa: PERF401  # what came before an error counts
            result = joined(list(chunks))
        return json.loads(encode(result, "result")), None
    except NotJsonError as error:
        code = "non_finite_output" if error.non_finite else "bad_output"
        return None, {"code": code, "type": "BadOutput", "message": str(error), "stage": "output"}
    except Exception as error:  # noqa: BLE001  # as the real server: any exception of the model fails the task
        kind = type(error).__qualname__
        return None, {"code": "model_error", "type": kind, "message": str(error), "stage": "predict"}


def _end(value: Any, now: datetime) -> datetime:
    try:
        end = now + _duration(value)
    except ValueError:
        end = _instant(value)
    if end <= now:
        raise ValueError(f"is {value}, which has passed")
    return end


def _instant(value: Any) -> datetime:
    try:
        at = _times.from_text(value)
    except (TypeError, AttributeError, ValueError):
        at = None
    if at is None or at.utcoffset() is None:
        raise ValueError(f"must be an instant such as `2026-01-31T08:00:00Z`, not {value!r}")
    return at


def _duration(value: Any) -> timedelta:
    match = None if isinstance(value, bool) else _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError(f"must be a duration such as `30s`, or a number of seconds, not {value!r}")
    return timedelta(seconds=float(match[1]) * _UNITS[cast("str | None", match[2])])
