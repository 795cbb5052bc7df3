"""The stand-in server."""

from __future__ import annotations

import difflib
import inspect
import json
import threading
from collections import deque
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote

import httpx

from cresset.client import AsyncClient, Client, Retries
from cresset.client._options import seconds
from cresset.testing import _answers as answers, _batches as batches, _tasks as tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cresset.client._options import Seconds
    from cresset.testing._batches import Batch
    from cresset.testing._tasks import Task

_NO_DELAY: Final = Retries(base_delay=0.0)
_CANCEL_GRACE_MS: Final = 30_000
"""What a model has that does not say otherwise."""


class MockServer:
    """Answers for a server. Thread-safe.

    Its clock is the real one until `advance` puts it forward.

    Args:
        models: for each model a function from one input (decoded JSON) to its result. What it raises becomes the task's
            FAILURE, or has it tried again where its submit's `retry` says so: at the time that `advance` brings about.
            A generator function is a streaming model: what it yields are the pieces of its result, joined as
            `Model.join` does; whoever reads along is sent all of them when they are there.
        run_at_submit: true (default) runs a task when it is submitted, or when its time has come. False leaves tasks
            PENDING until `run_pending`, to test what an application does meanwhile.
    """

    def __init__(self, models: Mapping[str, Callable[[Any], Any]], *, run_at_submit: bool = True) -> None:
        self._models = dict(models)
        self._run_at_submit = run_at_submit
        self._lock = threading.RLock()
        self._ahead = timedelta()
        self._tasks: dict[str, Task] = {}
        self._waiting: dict[str, Task] = {}
        self._by_key: dict[tuple[str, str], Task] = {}
        self._batches: dict[str, Batch] = {}
        self._batch_by_key: dict[tuple[str, str], Batch] = {}
        self._inputs: list[tuple[str, Any]] = []
        self._refusals: deque[tuple[str, float | None]] = deque()

    def add(self, name: str, model: Callable[[Any], Any]) -> None:
        """Serve one more model, or another function under a name."""
        with self._lock:
            self._models[name] = model

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
        """List the inputs received so far, of tasks and predictions, in order; of one model if named.

        A submit that made no task, because its idempotency key was known, is not in it.
        """
        with self._lock:
            return [value for name, value in self._inputs if model in (None, name)]

    def advance(self, by: Seconds) -> None:
        """Let time pass at the server: delayed tasks become due and, with `run_at_submit`, run; others expire.

        Args:
            by: seconds, or a timedelta.
        """
        with self._lock:
            self._ahead += timedelta(seconds=seconds(by, "by"))
            self._catch_up()

    def start_pending(self) -> int:
        """Hand the tasks that wait and are due to an instance: they are STARTED until `run_pending`; gives how many.

        What an application cancels now is cancelled `during` its run.
        """
        with self._lock:
            self._catch_up()
            ready = [task for task in self._ready() if task.is_queued()]
            for task in ready:
                task.start(self._now())
            return len(ready)

    def run_pending(self) -> int:
        """Run the tasks that wait and are due; gives how many."""
        with self._lock:
            self._catch_up()
            return self._run_all(self._ready())

    def revoke(self, task_id: str, reason: str = "cancelled") -> None:
        """Revoke a task that has not ended.

        Raises:
            KeyError: there is no such task.
            ValueError: it has ended.
        """
        with self._lock:
            task = self._tasks[task_id]
            if task.finished_at is not None:
                raise ValueError(f"task {task_id} has ended as {task.status}")
            self._revoke(task, reason)

    def refuse(self, code: str = "queue_full", *, times: int = 1, retry_after: float | None = 0) -> None:
        """Answer the next submits and predictions with an error.

        Args:
            code: one of the server's error codes.
            times: how many of them. Default 1.
            retry_after: seconds for the Retry-After header; `None` for no header. Default 0.
        """
        if code not in answers.STATUS_OF_CODE:
            raise ValueError(f"code must be one of {', '.join(answers.STATUS_OF_CODE)}, not {code!r}")
        with self._lock:
            self._refusals.extend([(code, retry_after)] * times)

    def _answer(self, request: httpx.Request) -> httpx.Response:  # noqa: PLR0911  # a table of routes
        parts = tuple(unquote(part) for part in request.url.raw_path.decode().partition("?")[0].strip("/").split("/"))
        with self._lock:
            self._catch_up()
            match (request.method, *parts):
                case ("POST", "v1", "models", name, "tasks" | "predict" as what):
                    return self._take(request, name, what)
                case ("GET" | "POST", "v1", "tasks", task_id, *what) if task_id:
                    return self._about(request, task_id, what)
                case ("GET", "v1", "tasks"):
                    return answers.tasks(list(self._tasks.values()), request.url.params, self._now())
                case (_, "v1", "batches", *rest):
                    return self._batch(request, rest)
                case ("GET", "v1", "models"):
                    return answers.as_json(200, {"models": [answers.model(name) for name in sorted(self._models)]})
                case ("GET", "v1", "models", name):
                    return answers.as_json(200, answers.model(name)) if name in self._models else self._no_model(name)
                case ("GET", "health", "ready"):
                    models = [{"name": name, "state": "ready", "reason": None} for name in sorted(self._models)]
                    return answers.as_json(200, {"ready": True, "stopping": False, "store": None, "models": models})
                case _:
                    return self._nothing_at(request)

    def _about(self, request: httpx.Request, task_id: str, what: list[str]) -> httpx.Response:
        task = self._tasks.get(task_id)
        if task is None:
            return answers.problem("unknown_task", f"no task {task_id}")
        match (request.method, *what):
            case ("GET",):
                return answers.as_json(200, task.shown(self._now()))
            case ("GET", "events"):
                return answers.events(task, self._now(), request.headers.get("last-event-id"))
            case ("GET", "result"):
                return answers.result(task, self._now())
            case ("POST", "cancel"):
                return answers.as_json(200, self._cancel(task))
            case _:
                return self._nothing_at(request)

    def _batch(self, request: httpx.Request, rest: list[str]) -> httpx.Response:
        if request.method == "POST" and not rest:
            return self._take_batch(request)
        if request.method == "GET" and not rest:
            shown = [batch.shown() for batch in reversed(self._batches.values())]
            return answers.as_json(200, {"batches": shown, "next": None})
        batch = self._batches.get(rest[0]) if rest else None
        if batch is None:
            return answers.problem("unknown_batch", f"no batch has the id {rest[0] if rest else ''}")
        return self._about_batch(request, batch, rest[1:])

    def _about_batch(self, request: httpx.Request, batch: Batch, what: list[str]) -> httpx.Response:
        match (request.method, *what):
            case ("GET",):
                return answers.as_json(200, batch.shown())
            case ("GET", "results"):
                lines = batch.results(int(request.url.params.get("from", "0")), self._now())
                return httpx.Response(200, headers={"content-type": "application/x-ndjson"}, content=lines)
            case ("POST", "cancel"):
                still = [task for task in batch.tasks() if task.finished_at is None]
                if still:  # one that is completed stays so
                    batch.cancelled_at = batch.cancelled_at or self._now()
                for task in still:
                    self._revoke(task, "it was cancelled")
                return answers.as_json(200, batch.shown())
            case _:
                return self._nothing_at(request)

    def _take_batch(self, request: httpx.Request) -> httpx.Response:
        if self._refusals:
            code, retry_after = self._refusals.popleft()
            return answers.problem(code, "refused by the test", retry_after=retry_after)
        name = request.url.params.get("model", "")
        if name not in self._models:
            return self._no_model(name)
        batch = batches.read(request, name, self._now())
        if isinstance(batch, httpx.Response):
            return batch
        key = request.headers.get("idempotency-key")
        known = batch if key is None else self._batch_by_key.setdefault((name, _unquoted(key)), batch)
        if len(known.lines) != len(batch.lines):
            return answers.problem("idempotency_key_reused", f"key {key} belongs to batch {known.id}")
        if known is batch:
            self._batches[batch.id] = batch
            for task in batch.tasks():
                self._inputs.append((task.model, task.input))
                self._tasks[task.id] = self._waiting[task.id] = task
            self._catch_up()
        replayed = {"idempotency-replayed": "true"} if known is not batch else {}
        return httpx.Response(202, json=known.shown(), headers={"location": f"/v1/batches/{known.id}", **replayed})

    def _nothing_at(self, request: httpx.Request) -> httpx.Response:
        return answers.problem("unknown_route", f"nothing at {request.method} {request.url.path}")

    def _take(self, request: httpx.Request, name: str, what: str) -> httpx.Response:
        if self._refusals:
            code, retry_after = self._refusals.popleft()
            return answers.problem(code, "refused by the test", retry_after=retry_after)
        if name not in self._models:
            return self._no_model(name)
        try:
            body = json.loads(request.content)
        except ValueError as error:
            return answers.problem("malformed_body", f"the body is not JSON: {error}")
        if not isinstance(body, dict):
            return answers.problem("malformed_body", "the body is not an object")
        task = tasks.read(name, what, cast("dict[str, Any]", body), self._now())
        if isinstance(task, list):
            return answers.problem("invalid_input", "fields are wrong", errors=task)
        task.trace_id = tasks.trace_id(request.headers)
        take = self._predict if what == "predict" else self._submit
        return take(task, request.headers)

    def _predict(self, task: Task, headers: httpx.Headers) -> httpx.Response:
        as_events = "text/event-stream" in headers.get("accept", "")
        if as_events and not inspect.isgeneratorfunction(self._models[task.model]):
            return answers.problem("not_acceptable", f"model `{task.model}` gives its results whole")
        self._inputs.append((task.model, task.input))
        self._run(task)
        if as_events:
            return answers.predicted(task)
        if task.error:
            return answers.failure(task.error)
        return answers.as_json(200, {"result": task.result, "model": task.model, "version": tasks.VERSION})

    def _submit(self, task: Task, headers: httpx.Headers) -> httpx.Response:
        key = headers.get("idempotency-key")
        if key is not None:
            known = self._by_key.setdefault((task.model, _unquoted(key)), task)
            if known.fingerprint() != task.fingerprint():
                return answers.problem("idempotency_key_reused", f"key {key} belongs to task {known.id}")
            if known is not task:
                return answers.accepted(known, self._now(), replayed=True)
        self._inputs.append((task.model, task.input))
        self._tasks[task.id] = self._waiting[task.id] = task
        answer = answers.accepted(task, self._now(), replayed=False)
        self._catch_up()
        return answer

    def _cancel(self, task: Task) -> dict[str, Any]:
        when = "too_late" if task.finished_at else "before" if task.is_queued() else "during"
        if when != "too_late":
            self._revoke(task, "it was cancelled")
        grace = {"grace_ms": _CANCEL_GRACE_MS} if when == "during" else {}
        return {"task_id": task.id, "status": task.status, "cancelled": when, **grace}

    def _catch_up(self) -> None:
        """Do what the time that has passed since the last call brings."""
        if self._run_at_submit:
            self._run_all(sorted(self._ready(), key=lambda task: task.due_at or task.created_at))
        for task in [task for task in self._waiting.values() if task.is_past(self._now())]:
            ran = task.status == "STARTED"
            self._revoke(task, "its deadline passed while it ran" if ran else "it expired before it could run")

    def _ready(self) -> list[Task]:
        now = self._now()
        return [task for task in self._waiting.values() if task.is_due(now)]

    def _run_all(self, ready: list[Task]) -> int:
        count = 0
        for task in ready:
            if self._waiting.pop(task.id, None):  # a model may itself have called here, and run or revoked it
                self._run(task)
                count += 1
        return count

    def _run(self, task: Task) -> None:
        task.run(self._models[task.model], self._now)
        if task.status == "RETRY":
            self._waiting[task.id] = task

    def _revoke(self, task: Task, reason: str) -> None:
        self._waiting.pop(task.id, None)
        task.revoke(reason, self._now())

    def _now(self) -> datetime:
        return datetime.now(timezone.utc) + self._ahead

    def _no_model(self, name: str) -> httpx.Response:
        near = difflib.get_close_matches(name, self._models, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return answers.problem("unknown_model", f"no model {name}{hint}")


def _with_retries(options: dict[str, Any]) -> dict[str, Any]:
    return {"retries": _NO_DELAY, **options}


def _unquoted(key: str) -> str:
    """Take a key out of the quotes in which it is a structured string; JSON knows the same escapes."""
    return json.loads(key) if key.startswith('"') else key
