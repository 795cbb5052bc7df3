"""What the stand-in server answers, in the real one's form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import httpx

from cresset.testing._tasks import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from cresset.testing._tasks import Task

STATUS_OF_CODE: Final = {
    "malformed_request": 400,
    "head_too_large": 431,
    "malformed_body": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "bad_query": 400,
    "invalid_input": 422,
    "idempotency_key_reused": 422,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "not_acceptable": 406,
    "request_timeout": 408,
    "unknown_route": 404,
    "method_not_allowed": 405,
    "unknown_model": 404,
    "unknown_task": 404,
    "unknown_batch": 404,
    "expired_task": 410,
    "batch_cancelled": 409,
    "queue_full": 429,
    "overloaded": 429,
    "client_limit": 429,
    "rate_limited": 429,
    "server_full": 503,
    "server_busy": 503,
    "model_unavailable": 503,
    "predict_timeout": 504,
    "shutting_down": 503,
    "store_unavailable": 503,
    "internal": 500,
    "model_error": 500,
    "bad_output": 500,
    "non_finite_output": 500,
    "instance_died": 500,
    "soft_timeout": 504,
    "time_limit": 504,
    "revoked": 409,
}


_IN_A_LIST: Final = (
    *("task_id", "model", "version", "status", "created_at", "started_at", "finished_at", "eta"),
    *("attempts", "retries", "priority", "metadata"),
)
_COME_BACK_MS: Final = 10
"""Who follows a task that has not ended comes back after this."""


def as_json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Answer with JSON."""
    return httpx.Response(status, json=value, headers=headers)


def accepted(task: Task, now: datetime, *, replayed: bool) -> httpx.Response:
    """Answer a submit."""
    shown = task.shown(now)
    body = {key: shown[key] for key in ("task_id", "model", "status", "created_at")} | {"durable": True}
    headers = {"location": f"/v1/tasks/{task.id}"}
    return as_json(202, body, headers | {"idempotency-replayed": "true"} if replayed else headers)


def tasks(known: Sequence[Task], asked: Mapping[str, str], now: datetime) -> httpx.Response:
    """Answer with a page of the list of tasks."""
    end, limit = int(asked.get("after", len(known))), int(asked.get("limit", "20"))
    found: list[dict[str, Any]] = []
    for at in range(end - 1, -1, -1):
        task = known[at]
        if asked.get("model") in (None, task.model) and asked.get("status") in (None, task.status):
            if len(found) == limit:
                return as_json(200, {"tasks": found, "next": str(at + 1)})
            shown = task.shown(now)
            found.append({key: shown[key] for key in _IN_A_LIST})
    return as_json(200, {"tasks": found, "next": None})


def events(task: Task, now: datetime, last_event_id: str | None) -> httpx.Response:
    """Answer who follows a task: with its state if that is new; the stream ends, and who wants more comes back."""
    is_new = last_event_id is None or int(last_event_id) < task.revision()
    if task.finished_at and not is_new:
        return httpx.Response(204)
    found = _chunks(task) if is_new and task.finished_at else []
    if is_new:
        found.append(_event("status", task.shown(now), task.revision()))
    return _stream(found)


def predicted(task: Task) -> httpx.Response:
    """Answer who reads a prediction piece by piece."""
    if task.error:
        found = [*_chunks(task), _event("error", json.loads(failure(task.error).content))]
    else:
        result = {"result": task.result, "model": task.model, "version": VERSION}
        found = [*_chunks(task), _event("result", result)]
    return _stream(found)


def _chunks(task: Task) -> list[str]:
    return [
        _event("chunk", {"attempt": 1, "number": number, "chunk": chunk}) for number, chunk in enumerate(task.chunks)
    ]


def _event(kind: str, data: Any, number: int | None = None) -> str:
    name = "" if number is None else f"id: {number}\n"
    return f"{name}event: {kind}\ndata: {json.dumps(data)}\n\n"


def _stream(events: list[str]) -> httpx.Response:
    content = f"retry: {_COME_BACK_MS}\n\n{''.join(events)}".encode()
    return httpx.Response(200, content=content, headers={"content-type": "text/event-stream"})


def result(task: Task, now: datetime) -> httpx.Response:
    """Answer with a task's result alone; always JSON, as of a model that has no tensors."""
    if task.finished_at is None:
        return as_json(202, task.shown(now))
    if task.error:
        return failure(task.error)
    return as_json(200, task.result, {"cresset-model": task.model, "cresset-version": VERSION})


def failure(error: Mapping[str, Any]) -> httpx.Response:
    """Answer with the error of a task."""
    return problem(error["code"], f"{error['type']}: {error['message']}", error=error)


def model(name: str) -> dict[str, Any]:
    """Describe a model."""
    return {
        "name": name,
        "version": VERSION,
        "description": None,
        "kind": "object",
        "state": "ready",
        "last_failure": None,
        "inputs": [],
        "outputs": [],
        "batching": {"max_batch_size": 1},
        "instances": [],
        "queue": {"tasks": 0, "bytes": 0},
        "running": 0,
        "waiting": 0,
        "items_per_second": None,
    }


def problem(
    code: str,
    detail: str,
    *,
    errors: list[tuple[str, str]] | None = None,
    error: Mapping[str, Any] | None = None,
    retry_after: float | None = None,
) -> httpx.Response:
    """Answer with a problem document."""
    status = STATUS_OF_CODE[code]
    body: dict[str, Any] = {
        "type": f"/docs/errors#{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    if errors:
        body["errors"] = [{"field": field, "message": message} for field, message in errors]
    if error:
        body["error"] = error
    headers = {"content-type": "application/problem+json"}
    if retry_after is not None:
        headers["retry-after"] = f"{retry_after:g}"
    return httpx.Response(status, content=json.dumps(body).encode(), headers=headers)
