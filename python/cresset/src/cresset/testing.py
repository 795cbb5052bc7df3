"""A Cresset server made of Python functions, for the tests of applications. No network, no models, no waiting.

```python
from cresset.testing import MockServer


def test_my_view():
    server = MockServer({"digits": lambda pixels: [0.1] * 10})
    with server.client() as client:
        assert client.submit("digits", [[0.0] * 8] * 8).result() == [0.1] * 10
    assert server.submitted("digits") == [[[0.0] * 8] * 8]
```

It answers as the real server does, errors included, but checks no declarations: a function takes any JSON.
"""

from __future__ import annotations

import difflib
import json
import threading
import time
import uuid
from collections import deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httpx

from cresset._json import NotJsonError, encode
from cresset.client import AsyncClient, Client, Retries

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["MockServer"]

_STATUS_OF_CODE: Final = {
    "malformed_body": 400,
    "invalid_input": 422,
    "body_too_large": 413,
    "unknown_route": 404,
    "method_not_allowed": 405,
    "unknown_model": 404,
    "unknown_task": 404,
    "expired_task": 410,
    "queue_full": 429,
    "overloaded": 429,
    "server_busy": 503,
    "model_unavailable": 503,
    "predict_timeout": 504,
    "shutting_down": 503,
    "store_unavailable": 503,
    "internal": 500,
    "model_error": 500,
    "bad_output": 500,
    "non_finite_output": 500,
    "revoked": 409,
}
_NO_DELAY: Final = Retries(base_delay=0.0)


class MockServer:
    """Answers for a server. Thread-safe.

    Args:
        models: for each model a function from one input (decoded JSON) to its result. What it raises becomes the task's
            FAILURE.
        run_at_submit: true (default) runs a task when it is submitted. False leaves tasks PENDING until `run_pending`,
        to
            test what an application does meanwhile.
    """

    def __init__(self, models: Mapping[str, Callable[[Any], Any]], *, run_at_submit: bool = True) -> None:
        self._models = dict(models)
        self._run_at_submit = run_at_submit
        self._lock = threading.RLock()
        self._tasks: dict[str, dict[str, Any]] = {}
        self._pending: deque[tuple[str, Any]] = deque()
        self._inputs: list[tuple[str, Any]] = []
        self._refusals: deque[tuple[str, float | None]] = deque()

    def client(self, **options: Any) -> Client:
        """Make a blocking client of this server; `options` are those of `Client`. Retries do not wait unless told."""
        return Client("http://mock.invalid", transport=self.transport(), **_with_retries(options))

    def async_client(self, **options: Any) -> AsyncClient:
        """Make an asyncio client of this server; `options` are those of `AsyncClient`."""
        return AsyncClient("http://mock.invalid", transport=self.transport(), **_with_retries(options))

    def transport(self) -> httpx.MockTransport:
        """Give what carries requests here, for a client (of ours or of httpx) that the application makes itself."""
        return httpx.MockTransport(self._answer)

    def submitted(self, model: str | None = None) -> list[Any]:
        """List the inputs received so far, of tasks and predictions, in order; of one model if named."""
        with self._lock:
            return [value for name, value in self._inputs if model in (None, name)]

    def run_pending(self) -> int:
        """Run the tasks that wait; gives how many."""
        with self._lock:
            waiting = list(self._pending)
            self._pending.clear()
            for task_id, value in waiting:
                self._run(self._tasks[task_id], value)
            return len(waiting)

    def revoke(self, task_id: str, reason: str = "cancelled") -> None:
        """Revoke a task that waits.

        Raises:
            KeyError: there is no such task.
            ValueError: it has ended.
        """
        with self._lock:
            task = self._tasks[task_id]
            if task["finished_at"] is not None:
                raise ValueError(f"task {task_id} has ended as {task['status']}")
            self._pending = deque(one for one in self._pending if one[0] != task_id)
            task["status"], task["finished_at"] = "REVOKED", _now()
            task["error"] = {"code": "revoked", "type": "Revoked", "message": reason}

    def refuse(self, code: str = "queue_full", *, times: int = 1, retry_after: float | None = 0) -> None:
        """Answer the next submits and predictions with an error.

        Args:
            code: one of the server's error codes.
            times: how many of them. Default 1.
            retry_after: seconds for the Retry-After header; `None` for no header. Default 0.
        """
        if code not in _STATUS_OF_CODE:
            raise ValueError(f"code must be one of {', '.join(_STATUS_OF_CODE)}, not {code!r}")
        with self._lock:
            self._refusals.extend([(code, retry_after)] * times)

    def _answer(self, request: httpx.Request) -> httpx.Response:  # a table of routes
        parts = tuple(unquote(part) for part in request.url.raw_path.decode().partition("?")[0].strip("/").split("/"))
        with self._lock:
            match (request.method, *parts):
                case ("POST", "v1", "models", name, "tasks" | "predict" as what):
                    return self._take(request, name, what)
                case ("GET", "v1", "tasks", task_id, *rest) if rest in ([], ["result"]):
                    return self._tell(task_id, _result if rest else _status)
                case ("GET", "v1", "models"):
                    return _json(200, {"models": [_model(name) for name in sorted(self._models)]})
                case ("GET", "v1", "models", name):
                    return _json(200, _model(name)) if name in self._models else self._no_model(name)
                case ("GET", "health", "ready"):
                    models = [{"name": name, "state": "ready", "reason": None} for name in sorted(self._models)]
                    return _json(200, {"ready": True, "stopping": False, "store": None, "models": models})
                case _:
                    return _problem("unknown_route", f"nothing at {request.method} {request.url.path}")

    def _take(self, request: httpx.Request, name: str, what: str) -> httpx.Response:  # noqa: PLR0911
        if self._refusals:
            code, retry_after = self._refusals.popleft()
            return _problem(code, "refused by the test", retry_after=retry_after)
        if name not in self._models:
            return self._no_model(name)
        try:
            body = json.loads(request.content)
        except ValueError as error:
            return _problem("malformed_body", f"the body is not JSON: {error}")
        known = ("input", "priority", "metadata") if what == "tasks" else ("input", "timeout")
        if not isinstance(body, dict):
            return _problem("malformed_body", "the body is not an object")
        order = cast("dict[str, Any]", body)
        wrong = [(key, "is not known") for key in order if key not in known]
        if "input" not in order:
            wrong.append(("input", "is missing"))
        if wrong:
            return _problem("invalid_input", "fields are wrong", errors=wrong)
        self._inputs.append((name, order["input"]))
        task = _task(name, order)
        if what == "predict":
            self._run(task, order["input"])
            if error := task.get("error"):
                return _problem(error["code"], f"{error['type']}: {error['message']}", error=error)
            return _json(200, {"result": task["result"], "model": name, "version": "1"})
        self._tasks[task["task_id"]] = task
        accepted = {key: task[key] for key in ("task_id", "model", "status", "created_at")} | {"durable": True}
        if self._run_at_submit:
            self._run(task, order["input"])
        else:
            self._pending.append((task["task_id"], order["input"]))
        return _json(202, accepted, {"location": f"/v1/tasks/{task['task_id']}"})

    def _run(self, task: dict[str, Any], value: Any) -> None:
        task["started_at"], task["attempts"], task["version"] = _now(), 1, "1"
        try:
            task["result"] = json.loads(encode(self._models[task["model"]](value), "result"))
            task["status"] = "SUCCESS"
        except NotJsonError as error:
            code = "non_finite_output" if error.non_finite else "bad_output"
            task["error"] = {"code": code, "type": "BadOutput", "message": str(error), "stage": "output"}
        except Exception as error:  # noqa: BLE001  # as the real server: any exception of the model fails the task
            kind = type(error).__qualname__
            task["error"] = {"code": "model_error", "type": kind, "message": str(error), "stage": "predict"}
        if "error" in task:
            task["status"] = "FAILURE"
        task["finished_at"] = _now()

    def _tell(self, task_id: str, tell: Callable[[Mapping[str, Any]], httpx.Response]) -> httpx.Response:
        task = self._tasks.get(task_id)
        return _problem("unknown_task", f"no task {task_id}") if task is None else tell(task)

    def _no_model(self, name: str) -> httpx.Response:
        near = difflib.get_close_matches(name, self._models, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return _problem("unknown_model", f"no model {name}{hint}")


def _with_retries(options: dict[str, Any]) -> dict[str, Any]:
    return {"retries": _NO_DELAY, **options}


def _task(model: str, order: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "task_id": str(uuid.uuid4()),
        "model": model,
        "version": None,
        "status": "PENDING",
        "created_at": _now(),
        "started_at": None,
        "finished_at": None,
        "attempts": 0,
        "priority": order.get("priority", 0),
        "queue_position": None,
        "metadata": order.get("metadata"),
    }


def _status(task: Mapping[str, Any]) -> httpx.Response:
    return _json(200, task)


def _result(task: Mapping[str, Any]) -> httpx.Response:
    """Answer with a task's result alone; always JSON, as of a model that has no tensors."""
    if task["finished_at"] is None:
        return _json(202, task)
    if error := task.get("error"):
        return _problem(error["code"], f"{error['type']}: {error['message']}", error=error)
    return _json(200, task["result"], {"cresset-model": task["model"], "cresset-version": task["version"]})


def _model(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "version": "1",
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


def _problem(
    code: str,
    detail: str,
    *,
    errors: list[tuple[str, str]] | None = None,
    error: Mapping[str, Any] | None = None,
    retry_after: float | None = None,
) -> httpx.Response:
    status = _STATUS_OF_CODE[code]
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


def _json(status: int, value: Any, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.Response(status, json=value, headers=headers)


def _now() -> str:
    return datetime.fromtimestamp(time.time(), timezone.utc).isoformat().replace("+00:00", "Z")
