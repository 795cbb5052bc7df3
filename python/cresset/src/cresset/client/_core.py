"""The steps of every call, without input or output.

A call is a generator: it yields an effect (`Send`, `Sleep`), is sent the outcome, and returns the call's value. Whoever
drives it, blocking or with asyncio, only carries the effects out. So retries, long polls and timeouts are written once,
and are tested without a server.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from cresset.client import _arrays, _messages as messages
from cresset.client._options import Retries, Seconds, seconds
from cresset.errors import ApiError, ConnectionFailed, TaskFailed, TaskRevoked, TaskTimeout
from cresset.records import Health, ModelInfo, TaskStatus

if TYPE_CHECKING:
    from cresset._specs import TensorSpec
    from cresset.client._messages import Request, Response

_T = TypeVar("_T")
_LONG_POLL_S: Final = 20.0
"""One long poll. Below what proxies cut off as idle (60 s and up), and well below the server's limit (5 min)."""
_PREDICT_PATIENCE_S: Final = 300.0
"""How long an answer to a predict without a timeout is waited for, beyond the client's timeout."""
_GRACE_S: Final = 2.0
"""How much later than it should the server may answer a long poll before it counts as gone."""
_PAUSE_MIN_S: Final = 0.05
_PAUSE_MAX_S: Final = 1.0
"""Pauses between polls when the server answers them early, as it does while it stops."""
_OUTPUTS_KEPT: Final = 256
"""Models whose outputs are remembered for `as_`."""
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


@dataclass(frozen=True)
class Sleep:
    """Do nothing for this many seconds."""

    seconds: float


class Lost(Exception):
    """A request has no answer. Thrown into a call by its driver."""

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent
        """False when the server cannot have seen it."""


Flow = Generator[Send | Sleep, Any, _T]


class Core:
    """The calls of one client. Thread-safe: it holds options and a cache of immutable values."""

    def __init__(self, timeout: Seconds, retries: int | Retries) -> None:
        self.timeout = seconds(timeout, "timeout")
        self.retries = Retries.of(retries)
        self._outputs: dict[tuple[str, str | None], tuple[TensorSpec, ...]] = {}

    def submit(self, model: str, value: Any, priority: int, metadata: Mapping[str, Any] | None) -> Flow[str]:
        """Submit a task; gives its id."""
        response = yield from self._exchange(messages.submit(model, value, priority, metadata))
        return messages.read(response, lambda answer: str(answer["task_id"]))

    def predict(self, model: str, value: Any, timeout: Seconds | None, as_: ArrayKind | None) -> Flow[Any]:
        """Predict; gives the result."""
        _arrays.check(as_)
        limit = None if timeout is None else seconds(timeout, "timeout")
        request = messages.predict(model, value, limit)
        patience = self.timeout + (_PREDICT_PATIENCE_S if limit is None else limit)
        response = yield from self._exchange(request, read_timeout=patience)
        result, version = messages.read(response, lambda answer: (answer["result"], answer.get("version")))
        return (yield from self._converted(result, as_, model, version))

    def status(self, task_id: str) -> Flow[TaskStatus]:
        """Ask how a task stands."""
        response = yield from self._exchange(messages.task(task_id))
        return messages.read(response, TaskStatus.of)

    def result(self, task_id: str, timeout: Seconds | None, as_: ArrayKind | None) -> Flow[Any]:
        """Wait for a task's end and give its result."""
        _arrays.check(as_)
        task = yield from self.wait(task_id, timeout)
        if task.status == "REVOKED":
            why = task.error.message if task.error else "it was revoked"
            raise TaskRevoked(f"task {task.id} was revoked: {why}", task)
        if task.status == "FAILURE":
            error = task.error
            why = f"{error.type}: {error.message} [{error.code}]" if error else "it does not say why"
            raise TaskFailed(f"task {task.id} failed: {why}", task)
        return (yield from self._converted(task.result, as_, task.model, task.version))

    def wait(self, task_id: str, timeout: Seconds | None) -> Flow[TaskStatus]:
        """Wait for a task's end and give how it ended."""
        deadline = None if timeout is None else time.monotonic() + seconds(timeout, "timeout")
        seen: TaskStatus | None = None
        pause = _PAUSE_MIN_S
        while True:
            began = time.monotonic()
            left = None if deadline is None else max(0.0, deadline - began)
            step = _LONG_POLL_S if left is None else min(_LONG_POLL_S, left)
            try:
                seen = yield from self._poll(task_id, step, left, deadline)
            except ConnectionFailed as error:
                if deadline is not None and time.monotonic() >= deadline:
                    raise _late(task_id, timeout, seen) from error
                raise
            if seen.is_final:
                return seen
            now = time.monotonic()
            if deadline is not None and now >= deadline:
                raise _late(task_id, timeout, seen)
            if now - began < step / 2:  # answered before the time asked for
                yield Sleep(pause if deadline is None else min(pause, deadline - now))
                pause = min(pause * 2, _PAUSE_MAX_S)
            else:
                pause = _PAUSE_MIN_S

    def models(self) -> Flow[list[ModelInfo]]:
        """List the models."""
        response = yield from self._exchange(messages.models())
        return messages.read(response, lambda answer: [ModelInfo.of(one) for one in answer["models"]])

    def model(self, name: str) -> Flow[ModelInfo]:
        """Describe a model."""
        response = yield from self._exchange(messages.model(name))
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

    def _poll(self, task_id: str, step: float, left: float | None, deadline: float | None) -> Flow[TaskStatus]:
        request = messages.task(task_id, step)
        patience = step + (self.timeout if left is None else min(self.timeout, left - step + _GRACE_S))
        response = yield from self._exchange(
            request,
            read_timeout=patience,
            queue_timeout=None if left is None else left + _GRACE_S,
            deadline=deadline,
        )
        return messages.read(response, TaskStatus.of)

    def _exchange(
        self,
        request: Request,
        *,
        read_timeout: float | None = None,
        queue_timeout: float | None = None,
        deadline: float | None = None,
    ) -> Flow[Response]:
        """Send until there is an answer to be had; errors that stay are raised."""
        attempt = 0
        effect = Send(request, self.timeout if read_timeout is None else read_timeout, queue_timeout)
        while True:
            error: ApiError | ConnectionFailed
            retry_after: float | None = None
            try:
                response: Response = yield effect
            except Lost as lost:
                error = ConnectionFailed(str(lost))
                error.__cause__ = lost.__cause__
                again = request.is_repeatable or not lost.was_sent
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
            info = yield from self.model(model)
            if len(self._outputs) >= _OUTPUTS_KEPT:
                self._outputs.clear()
            outputs = self._outputs[model, version] = info.outputs
        return _arrays.convert(result, as_, outputs)


def _late(task_id: str, timeout: Seconds | None, seen: TaskStatus | None) -> TaskTimeout:
    state = f"it is {seen.status}" if seen else "the server has not answered"
    return TaskTimeout(f"task {task_id} has not ended within {timeout} s; {state}", task_id, seen)
