"""The steps of every call, without input or output.

A call is a generator: it yields an effect (`Send`, `Sleep`), is sent the outcome, and returns the call's value. Whoever
drives it, blocking or with asyncio, only carries the effects out. So retries, long polls and timeouts are written once,
and are tested without a server.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from cresset._file import revived
from cresset.client import _arrays, _inputs, _messages as messages
from cresset.client._bulk import Reader
from cresset.client._options import CacheUse, CallbackEvent, Retries, Seconds, seconds
from cresset.client._streams import Called
from cresset.errors import (
    ApiError,
    BadRequest,
    ConnectionFailed,
    InvalidInput,
    TaskTimeout,
)
from cresset.records import (
    BatchStatus,
    Cancellation,
    Health,
    ModelInfo,
    RetryPolicy,
    TaskState,
    TaskStatus,
    TaskSummary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from datetime import datetime

    from cresset._specs import TensorSpec
    from cresset.client._messages import Order, Request, Response

_T = TypeVar("_T")
_K = TypeVar("_K")
_LONG_POLL_S: Final = 20.0
"""One long poll. Below what proxies cut off as idle (60 s and up), and well below the server's limit (5 min)."""
_PREDICT_PATIENCE_S: Final = 300.0
"""How long an answer to a predict without a timeout is waited for, beyond the client's timeout."""
_BATCH_PATIENCE_S: Final = 660.0
"""How long a server with a full queue may not read, or be silent: it gives up itself after ten minutes without room."""
_GRACE_S: Final = 2.0
"""How much later than it should the server may answer a long poll before it counts as gone."""
_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
"""Pauses between polls when the server answers them early, as it does while it stops."""
_PAGE: Final = 100
"""Tasks fetched at once: as many as a page has at most."""
_DECLARATIONS_KEPT: Final = 256
"""Models whose inputs, and whose outputs, are remembered."""
_ACCEPTED: Final = 202
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503

ArrayKind = Literal["numpy", "torch"]
"""How results are given: as numpy arrays or as torch tensors."""


@dataclass(frozen=True)
class Send:
    """Send a request; the outcome is its `Response`, or `Lost` is thrown."""

    request: Request
    read_timeout: float
    """Seconds of silence after which the server counts as gone."""
    queue_timeout: float | None = None
    """Seconds to wait for a free connection; `None` for as long as it takes."""
    write_timeout: float | None = None
    """Seconds for which the server may not read; `None` for as long as a connection may take."""


@dataclass(frozen=True)
class Sleep:
    """Do nothing for this many seconds."""

    seconds: float


class Lost(Exception):
    """A request has no answer; the server may have seen it or not. Thrown into a call by its driver."""


Flow = Generator[Send | Sleep, Any, _T]


class Core:
    """The calls of one client. Thread-safe: it holds options and a cache of immutable values."""

    def __init__(self, timeout: Seconds, retries: int | Retries) -> None:
        self.timeout = seconds(timeout, "timeout")
        self.retries = Retries.of(retries)
        self._inputs: dict[str, tuple[TensorSpec, ...]] = {}
        self._outputs: dict[tuple[str, str | None], tuple[TensorSpec, ...]] = {}

    def submit(
        self,
        model: str,
        value: Any,
        priority: int,
        metadata: Mapping[str, Any] | None,
        *,
        eta: datetime | None = None,
        countdown: Seconds | None = None,
        expires: datetime | Seconds | None = None,
        deadline: datetime | Seconds | None = None,
        idempotency_key: str | None = None,
        cache: CacheUse | None = None,
        retry: RetryPolicy | None = None,
        callback_url: str | None = None,
        callback_events: Collection[CallbackEvent] | None = None,
        traceparent: str | None = None,
    ) -> Flow[str]:
        """Submit a task; gives its id."""
        order = messages.submit(
            model,
            priority,
            metadata,
            eta=eta,
            countdown=countdown,
            expires=expires,
            deadline=deadline,
            idempotency_key=idempotency_key,
            cache=cache,
            retry=retry,
            callback_url=callback_url,
            callback_events=callback_events,
            traceparent=traceparent,
        )
        response = yield from self._send(model, value, order, self.timeout)
        return messages.read(response, lambda answer: str(answer["task_id"]))

    def predict(
        self,
        model: str,
        value: Any,
        timeout: Seconds | None,
        as_: ArrayKind | None,
        cache: CacheUse | None = None,
        *,
        traceparent: str | None = None,
    ) -> Flow[Any]:
        """Predict; gives the result."""
        _arrays.check(as_)
        limit = None if timeout is None else seconds(timeout, "timeout")
        order = messages.predict(model, limit, as_bytes=_arrays.wants_bytes(as_), cache=cache, traceparent=traceparent)
        patience = self.timeout + (_PREDICT_PATIENCE_S if limit is None else limit)
        response = yield from self._send(model, value, order, patience)
        if response.status == _ACCEPTED:
            task_id = messages.read(response, lambda answer: str(answer["task_id"]))
            raise TaskTimeout(f"the prediction has not ended in time; it goes on as task {task_id}", task_id, None)
        if as_ is not None and messages.is_tensors(response):
            return _arrays.unpacked(messages.read_tensors(response), as_)
        result, version = messages.read(response, lambda answer: (revived(answer["result"]), answer.get("version")))
        return (yield from self._converted(result, as_, model, version))

    def called(
        self,
        model: str,
        value: Any,
        timeout: Seconds | None,
        cache: CacheUse | None,
        traceparent: str | None = None,
    ) -> Called:
        """Make the prediction whose result is read as it comes."""
        limit = None if timeout is None else seconds(timeout, "timeout")
        order = messages.predict(model, limit, as_events=True, cache=cache, traceparent=traceparent)
        request = order.with_json(value)
        # It may be silent for long, and must not hold up others.
        return Called(replace(request, is_wait=True), self.retries)

    def status(self, task_id: str) -> Flow[TaskStatus]:
        """Ask how a task stands."""
        response = yield from self.exchange(messages.task(task_id))
        return messages.read(response, TaskStatus.of)

    def tasks(
        self, model: str | None, status: TaskState | None, after: str | None
    ) -> Flow[tuple[list[TaskSummary], str | None]]:
        """Ask for a page of the list of tasks, and for where the next one begins."""
        response = yield from self.exchange(messages.tasks(model, status, _PAGE, after))
        return messages.read(
            response, lambda answer: ([TaskSummary.of(one) for one in answer["tasks"]], answer["next"])
        )

    def cancel(self, task_id: str) -> Flow[Cancellation]:
        """Cancel a task."""
        response = yield from self.exchange(messages.cancel(task_id))
        return messages.read(response, Cancellation.of)

    def result(self, task_id: str, timeout: Seconds | None, as_: ArrayKind | None) -> Flow[Any]:
        """Wait for a task's end and give its result."""
        _arrays.check(as_)
        if as_ is not None and _arrays.wants_bytes(as_):
            found = yield from self._result_as(task_id, timeout, as_)
            if not isinstance(found, TaskStatus):
                return found[0]
            task = found
        else:
            task = yield from self.wait(task_id, timeout)
        messages.raise_unless_succeeded(task)
        return (yield from self._converted(task.result, as_, task.model, task.version))

    def wait(self, task_id: str, timeout: Seconds | None) -> Flow[TaskStatus]:
        """Wait for a task's end and give how it ended."""

        def read(response: Response) -> tuple[TaskStatus, bool]:
            task = messages.read(response, TaskStatus.of)
            return task, task.is_final

        return (yield from self._wait(task_id, timeout, messages.task, read))

    def _result_as(self, task_id: str, timeout: Seconds | None, as_: ArrayKind) -> Flow[tuple[Any] | TaskStatus]:
        """Wait for a task's end and give its result as arrays; or how it ended, when that is without a result."""

        def read(response: Response) -> tuple[TaskStatus | Response, bool]:
            if response.status == _ACCEPTED:
                return messages.read(response, TaskStatus.of), False
            return response, True

        try:
            end = yield from self._wait(task_id, timeout, messages.result, read)
        except ApiError as error:
            if "error" not in error.problem and error.code != "revoked":
                raise  # about the question, not about the task
            return (yield from self.status(task_id))
        assert not isinstance(end, TaskStatus)  # what `read` says has ended is the answer itself
        if messages.is_tensors(end):
            return (_arrays.unpacked(messages.read_tensors(end), as_),)
        result, model = messages.read_any(end), end.headers.get("cresset-model")
        if model is None:
            return (_arrays.convert(result, as_, ()),)
        return ((yield from self._converted(result, as_, model, end.headers.get("cresset-version"))),)

    def _wait(
        self,
        task_id: str,
        timeout: Seconds | None,
        ask: Callable[[str, float], Request],
        read: Callable[[Response], tuple[_T, bool]],
    ) -> Flow[_T]:
        """Ask until `read` says that what it gives is the end."""
        deadline = None if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        seen: _T | None = None
        pause = _PAUSE_MIN_S
        while True:
            began = time.monotonic()
            left = None if deadline is None else max(0.0, deadline - began)
            step = _LONG_POLL_S if left is None else min(_LONG_POLL_S, left)
            try:
                response = yield from self._poll(ask(task_id, step), step, left, deadline)
            except ConnectionFailed as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise _late(task_id, timeout, seen) from error
                raise
            seen, is_end = read(response)
            if is_end:
                return seen
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise _late(task_id, timeout, seen)
            if now - began < step / 2:  # answered before the time asked for
                yield Sleep(pause if deadline is None else min(pause, deadline - now))
                pause = min(pause * 2, _PAUSE_MAX_S)
            else:
                pause = _PAUSE_MIN_S

    def batch(self, request: Request) -> Flow[str]:
        """Submit a batch; gives its id."""
        # While the queue is full the server does not read.
        response = yield from self.exchange(request, read_timeout=_BATCH_PATIENCE_S, write_timeout=_BATCH_PATIENCE_S)
        return messages.read(response, lambda answer: str(answer["batch_id"]))

    def batch_status(self, batch_id: str) -> Flow[BatchStatus]:
        """Ask how a batch stands."""
        response = yield from self.exchange(messages.batch_status(batch_id))
        return messages.read(response, BatchStatus.of)

    def batch_wait(self, batch_id: str, timeout: Seconds | None) -> Flow[BatchStatus]:
        """Ask until a batch has ended."""
        deadline = None if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        pause = _PAUSE_MIN_S
        while True:
            batch = yield from self.batch_status(batch_id)
            if batch.is_final:
                return batch
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise TimeoutError(f"batch {batch_id} has not ended within {timeout} s; it is {batch.status}")
            yield Sleep(pause if deadline is None else min(pause, deadline - now))
            pause = min(pause * 2, _PAUSE_MAX_S)

    def batch_cancel(self, batch_id: str) -> Flow[BatchStatus]:
        """Cancel a batch."""
        response = yield from self.exchange(messages.batch_cancel(batch_id), read_timeout=_BATCH_PATIENCE_S)
        return messages.read(response, BatchStatus.of)

    def batch_reader(self, batch_id: str, start: int) -> Reader:
        """Read the results of a batch from a line on."""
        if start < 0:
            raise ValueError(f"start must be 0 or more, not {start}")
        return Reader(batch_id, start, self.retries, self.timeout)

    def models(self) -> Flow[list[ModelInfo]]:
        """List the models."""
        response = yield from self.exchange(messages.models())
        return messages.read(response, lambda answer: [ModelInfo.of(one) for one in answer["models"]])

    def model(self, name: str) -> Flow[ModelInfo]:
        """Describe a model."""
        response = yield from self.exchange(messages.model(name))
        return messages.read(response, ModelInfo.of)

    def health(self) -> Flow[Health]:
        """Ask whether everything can be served. Asked once: an answer that is late is an answer."""
        try:
            response: Response = yield Send(messages.health(), self.timeout)
        except Lost as lost:
            raise ConnectionFailed(str(lost)) from lost.__cause__
        error = messages.error_of(response)
        if error is not None and (response.status != _UNAVAILABLE or "ready" not in error.problem):
            raise error
        return messages.read(response, Health.of)

    def _poll(self, request: Request, step: float, left: float | None, deadline: float | None) -> Flow[Response]:
        patience = step + (self.timeout if left is None else min(self.timeout, left - step + _GRACE_S))
        return (
            yield from self.exchange(
                request,
                read_timeout=patience,
                queue_timeout=None if left is None else left + _GRACE_S,
                deadline=deadline,
            )
        )

    def _send(self, model: str, value: Any, order: Order, read_timeout: float) -> Flow[Response]:
        """Send an input: arrays as bytes where the model declares such tensors, everything else as JSON."""
        if not _inputs.has_any(value):
            return (yield from self.exchange(order.with_json(value), read_timeout=read_timeout))
        known = self._inputs.get(model)
        inputs = (yield from self._declared(model)) if known is None else known
        request = _with_arrays(order, value, inputs)
        try:
            return (yield from self.exchange(request, read_timeout=read_timeout))
        except (BadRequest, InvalidInput):
            # The model may be declared otherwise by now; nothing was accepted. What was asked for just now is right.
            if known is None:
                raise
            inputs = yield from self._declared(model)
            if inputs == known:
                raise
        return (yield from self.exchange(_with_arrays(order, value, inputs), read_timeout=read_timeout))

    def _declared(self, model: str) -> Flow[tuple[TensorSpec, ...]]:
        info = yield from self.model(model)
        _keep(self._inputs, model, info.inputs)
        return info.inputs

    def exchange(
        self,
        request: Request,
        *,
        read_timeout: float | None = None,
        queue_timeout: float | None = None,
        deadline: float | None = None,
        write_timeout: float | None = None,
    ) -> Flow[Response]:
        """Send until there is an answer to be had; errors that stay are raised."""
        attempt = 0
        effect = Send(request, self.timeout if read_timeout is None else read_timeout, queue_timeout, write_timeout)
        while True:
            error: ApiError | ConnectionFailed
            retry_after: float | None = None
            try:
                response: Response = yield effect
            except Lost as lost:
                error = ConnectionFailed(str(lost))
                error.__cause__ = lost.__cause__
                again = True
            else:
                refused = messages.error_of(response)
                if refused is None:
                    return response
                error, retry_after = refused, refused.retry_after
                again = response.status == _TOO_MANY or (response.status == _UNAVAILABLE and retry_after is not None)
            delay = self.retries.delay(attempt, retry_after) if again else None
            if delay is None or (deadline is not None and time.monotonic() + delay >= deadline):
                raise error
            attempt += 1
            yield Sleep(delay)

    def _converted(self, result: Any, as_: ArrayKind | None, model: str, version: str | None) -> Flow[Any]:
        if as_ is None:
            return result
        outputs = self._outputs.get((model, version))
        if outputs is None:
            outputs = (yield from self.model(model)).outputs
            _keep(self._outputs, (model, version), outputs)
        return _arrays.convert(result, as_, outputs)


def _with_arrays(order: Order, value: Any, inputs: tuple[TensorSpec, ...]) -> Request:
    tensors = _inputs.packed(value, inputs)
    request = None if tensors is None else order.with_tensors(tensors)
    return order.with_json(value) if request is None else request


def _keep(kept: dict[_K, tuple[TensorSpec, ...]], key: _K, specs: tuple[TensorSpec, ...]) -> None:
    if len(kept) >= _DECLARATIONS_KEPT:
        kept.clear()
    kept[key] = specs


def _late(task_id: str, timeout: Seconds | None, seen: Any) -> TaskTimeout:
    task = seen if isinstance(seen, TaskStatus) else None
    state = f"it is {task.status}" if task else "the server has not answered"
    return TaskTimeout(f"task {task_id} has not ended within {timeout} s; {state}", task_id, task)
