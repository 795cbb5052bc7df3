"""The blocking client."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from cresset._version import USER_AGENT
from cresset.client import _lines, _pools
from cresset.client._bulk_calls import BatchCalls
from cresset.client._core import ArrayKind, Core, Flow, Lost, Send, Sleep
from cresset.client._dead import DeadLetters
from cresset.client._handles import TaskHandle
from cresset.client._map import pipeline
from cresset.client._streams import Stream

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping
    from datetime import datetime
    from types import TracebackType

    from typing_extensions import Self

    from cresset.client._options import CacheUse, CallbackEvent, Retries, Seconds
    from cresset.client._pools import Verify
    from cresset.records import Cancellation, Health, ModelInfo, RetryPolicy, TaskState, TaskSummary

_T = TypeVar("_T")
_THREADS_MAX: Final = 256
"""Threads of one `map`; beyond it `AsyncClient` is the better tool."""


class _Abandoned(BaseException):
    """Nobody wants the outcome of this call any more."""


class Client(BatchCalls):
    """Talks to a Cresset server; every call blocks until it is done.

    ```python
    with cresset.Client("http://127.0.0.1:8700") as client:
        handle = client.submit("digits", pixels)
        print(handle.result(timeout=30))
    ```

    Thread-safe; one client for a whole program is best, as it keeps its connections. Fork-safe: a forked child makes
    its own connections.

    Inputs are anything made of JSON's kinds, numpy arrays and torch tensors, at any depth. Arrays for a tensor model
    travel as bytes, which costs both sides far less than JSON, and with `as_` results do too. For that the model's
    declaration is asked for once, with the first array. What does not fit the declared type without loss of meaning (a
    fraction for an `int64`, 300 for a `uint8`) goes as JSON, so that the error names the element.

    Args:
        base_url: where the server is: an http or https URL, or the path of its socket (`unix:/run/cresset.sock`).
        key: the API key, where the server needs one. Default what the environment variable CRESSET_KEY has; "" is none
            in any case. Nothing shows it.
        timeout: seconds (or a timedelta) to connect, to send, and to wait for an answer that the server need not
            compute, each time that a request is sent. Default 30. How long a *result* may take is said with each call.
        retries: how often a request that was refused, or got no answer, is sent again; a number, or `Retries`. Default
            6 times, which rides out a restart of the server of about six seconds. 0 turns it off. No retry makes a
            second task.
        headers: sent with every request.
        verify: who signed the server's certificate, with https: a PEM file, or an `ssl.SSLContext`. Default whom httpx
            trusts.
        transport: how requests travel, instead of over the network; for tests (see `cresset.testing`).

    Raises:
        ValueError: `base_url` is not an http or https URL nor a socket, or a number is out of range.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8700",
        *,
        key: str | None = None,
        timeout: Seconds = 30.0,
        retries: int | Retries = 6,
        headers: Mapping[str, str] | None = None,
        verify: Verify | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._core = Core(timeout, retries)
        self._base_url = base_url
        options: Any = _pools.base_options(base_url, key, headers, USER_AGENT, verify)
        socket = _pools.socket_path(base_url)

        def make(limits: httpx.Limits) -> httpx.Client:
            over = transport
            if over is None and socket is not None:
                over = httpx.HTTPTransport(uds=socket, limits=limits)
            return httpx.Client(**options, limits=limits, transport=over)

        self._pools = _pools.Pools(make, spread=transport is None)
        way = _lines.route(base_url, options) if transport is None else None
        self._lines = None if way is None else _pools.Pools(lambda _limits: _lines.Line(way))

    @property
    def dead(self) -> DeadLetters[TaskHandle]:
        """The dead letters of the server: inputs that took their model's process down."""
        return DeadLetters(self._run, self._core, self.task)

    def submit(
        self,
        model: str,
        input: Any,  # noqa: A002  # the word of the API
        *,
        priority: int = 0,
        metadata: Mapping[str, Any] | None = None,
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
    ) -> TaskHandle:
        """Submit a task. When this returns, the task is on stable storage and survives any crash.

        Every submit carries an idempotency key, and the server makes one task of all submits under one key. So a submit
        whose answer got lost is sent again (see `retries`) and is still one task. A key of the caller's own does the
        same across calls and processes: an order's number, say, where a page may be sent twice.

        Args:
            model: the model's name.
            input: what the model declares: a nested list or array, or a dict of them by input name; for an object model
                any JSON value. Without the batch dimension.
            priority: from -100 (last) to 100 (first). Default 0.
            metadata: a small dict that is given back with the task, at most 16 KiB of JSON.
            eta: when it may start at the earliest, an aware datetime; one that has passed is at once. Default at once.
            countdown: instead of `eta`: how long after it is accepted, in seconds or as a timedelta; at most five
                years.
            expires: when it may start at the latest: an aware datetime, or how long after it is accepted, in seconds or
                as a timedelta (more than 0, at most five years). A task that has not started by then is revoked, also
                when its model is down. Default never.
            deadline: when it must have ended, likewise. A task that has not by then is revoked; one that runs is
                stopped as by `cancel`. Default never.
            idempotency_key: 1 to 255 visible ASCII characters, for this model alone. The task of an earlier submit
                under it is given, also when it has ended; its times stay those of that one. A key is
                kept as long as its task. Default a fresh one for each call.
            cache: of a model with a result cache: `"no-cache"` has it computed anew, `"no-store"` also keeps no
                result. Default: an equal input's result will do.
            retry: how often it is tried again when it fails, after which waits, on which exceptions. Default, also of
                each part that is left out: as the model's `[retry]` says. It is kept with the task.
            callback_url: who is told of the task, by a signed POST (`cresset.webhooks.verify` checks it). Default:
                whom the model's `[webhook]` says, if anybody.
            callback_events: of what: `"started"`, `"retried"`, `"succeeded"`, `"failed"`, `"revoked"`. Default the
                last three.
            traceparent: the trace to go on with, as W3C Trace Context has it. Default OpenTelemetry's current span,
                where the program has imported OpenTelemetry and one is active. The first submit under a key decides.

        Returns:
            A handle with the task's id.

        Raises:
            TypeError, ValueError: `input` can go neither as bytes nor as JSON (`ValueError` for NaN in a list), or an
                argument is out of range; a naive datetime is, and so are `eta` and `countdown` together.
            InvalidInput: the input is not what the model declares, or `expires` has passed, or is no later than the
                start.
            IdempotencyKeyReused: the key belongs to a task with another input, priority or metadata.
            UnknownModel: there is no such model.
            QueueFull: the queue was full, and still was after all retries.
            ModelUnavailable: the model cannot serve.
            ConnectionFailed: the server could not be reached, or gave no answer, each time; the task may exist. Another
                call finds out only under the same `idempotency_key`.
            ApiError: any other error answer.
        """
        flow = self._core.submit(
            model,
            input,
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
        return self.task(self._run(flow))

    def predict(
        self,
        model: str,
        input: Any,  # noqa: A002  # the word of the API
        *,
        timeout: Seconds | None = None,
        as_: ArrayKind | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Run one input and wait for its result.

        In time it is stored nowhere; use `submit` for what must not get lost. At its limit it becomes a task, which
        goes on where the prediction is; nothing of it is run twice.

        Args:
            model: the model's name.
            input: as in `submit`.
            timeout: how long it may take, in seconds or as a timedelta; more than 0, at most the model's
                `limits.predict_timeout`, which is the default.
            as_: `"numpy"` or `"torch"` for arrays of the model's dtypes (numpy has no bfloat16 and gets float32), NaN
                included; default lists and numbers.
            cache: as in `submit`.
            traceparent: as in `submit`.

        Returns:
            What the model gave: a nested list or array (one output), a dict by output name, or any JSON value.

        Raises:
            TaskTimeout: it was not done in time, and goes on as the task `.task_id`; `task(error.task_id)` has its end.
            PredictTimeout: it was not done in time, and is given up: it could not be stored, or the model refuses late
                predictions (`limits.late_predictions`). Both are a `TimeoutError`.
            PredictFailed: the model failed on this input; `.error` says how.
            Overloaded: too many predictions wait already.
            InvalidInput, UnknownModel, ModelUnavailable, ConnectionFailed, TypeError, ValueError: as in `submit`.
        """
        return self._run(self._core.predict(model, input, timeout, as_, cache, traceparent=traceparent))

    def stream(
        self,
        model: str,
        input: Any,  # noqa: A002
        *,
        timeout: Seconds | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> Stream:
        """Run one input of a streaming model and read its result as it comes; it begins with the first piece asked for.

        Nothing is stored: leaving the stream stops the model, and a connection that breaks is an error. `submit` and
        `TaskHandle.stream` are for what must not get lost.

        Args:
            model: the model's name.
            input: any JSON value.
            timeout: as in `predict`, up to the last piece.
            cache: as in `submit`.
            traceparent: as in `submit`.

        Returns:
            An iterator over the pieces; `result` is there at its end.
        """
        return Stream(self._driven(self._core.called(model, input, timeout, cache, traceparent)))

    def task(self, task_id: str) -> TaskHandle:
        """Give the handle of a task by its id. Asks the server nothing."""
        return TaskHandle(self._run, self._driven, self._core, task_id)

    def tasks(self, model: str | None = None, *, status: TaskState | None = None) -> Generator[TaskSummary, None, None]:
        """List tasks, those accepted last first; fetched page by page while they are iterated.

        Args:
            model: of this model only.
            status: in this state only, such as `"FAILURE"`. One that changes its state while the list is walked may be
                missed, or be listed in its state of then.

        Raises:
            BadRequest, ConnectionFailed: while it is iterated.
        """
        after: str | None = None
        while True:
            page, after = self._run(self._core.tasks(model, status, after))
            yield from page
            if after is None:
                return

    def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task by its id; see `TaskHandle.cancel`."""
        return self._run(self._core.cancel(task_id))

    def map(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        in_flight: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
        timeout: Seconds | None = None,
        priority: int = 0,
        as_: ArrayKind | None = None,
    ) -> Generator[Any, None, None]:
        """Submit many inputs as tasks, a bounded number at a time, and give their results.

        `inputs` is read only as far ahead as `in_flight`, so it may be endless. When the iterator is dropped or a
        result raises, tasks already submitted go on at the server; no more are submitted, and up to `in_flight` threads
        end in the background within one long poll (20 s).

        Args:
            model: the model's name.
            inputs: each as in `submit`.
            in_flight: tasks submitted and not yet given back, at most; each takes a thread. Default 64, 1 to 256.
            ordered: results come in the order of the inputs (default), or as they are ready.
            return_exceptions: give an exception in the place of its result instead of raising it.
            timeout: how long each task may take, counted from its submit. Default no limit.
            priority: as in `submit`.
            as_: as in `predict`.

        Yields:
            One result for each input.

        Raises:
            ValueError: `in_flight` is out of range. Raised when `map` is called; all others while it is iterated:
            TaskFailed, TaskRevoked, TaskTimeout: as in `TaskHandle.result`.
            InvalidInput, QueueFull, ...: as in `submit`.
        """
        if not 1 <= in_flight <= _THREADS_MAX:
            raise ValueError(f"in_flight must be from 1 to {_THREADS_MAX}, not {in_flight}; AsyncClient takes more")
        stop = threading.Event()

        def one(value: Any) -> Any:
            task_id = self._run(self._core.submit(model, value, priority, None), stop)
            return self._run(self._core.result(task_id, timeout, as_), stop)

        return pipeline(one, inputs, in_flight, stop, ordered=ordered, return_exceptions=return_exceptions)

    def models(self) -> list[ModelInfo]:
        """List the models that are served, by name.

        Raises:
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._core.models())

    def model(self, name: str) -> ModelInfo:
        """Describe a model: what it takes and gives, its processes, its queue.

        Raises:
            UnknownModel: there is no such model.
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._core.model(name))

    def health(self) -> Health:
        """Ask whether every model can be served. Never tried again, so that the answer is of now.

        Raises:
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._core.health())

    def close(self) -> None:
        """Close the connections. Calls after this raise `RuntimeError`; closing twice is fine."""
        for http in self._pools.take_all():
            http.close()
        for line in [] if self._lines is None else self._lines.take_all():
            line.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._base_url!r})"

    def _run(self, flow: Flow[_T], stop: threading.Event | None = None) -> _T:
        """Carry out the effects of a call, one after another."""
        outcome: Any = None
        lost: Lost | None = None
        while True:
            try:
                effect = flow.send(outcome) if lost is None else flow.throw(lost)
            except StopIteration as end:
                return end.value
            if stop is not None and stop.is_set():
                raise _Abandoned
            outcome = lost = None
            try:
                outcome = self._carry_out(effect, stop)
            except Lost as error:
                lost = error

    def _carry_out(self, effect: Send | Sleep, stop: threading.Event | None) -> Any:
        if isinstance(effect, Sleep):
            if stop is not None:
                stop.wait(effect.seconds)
            else:
                time.sleep(effect.seconds)
            return None
        request = effect.request
        if self._lines is not None and request.lines is None:
            with self._lines.turn(is_wait=request.is_wait) as line:
                return line.exchange(effect, self._core.timeout)
        content = request.content if request.lines is None else request.lines.pieces()
        try:
            with self._pools.turn(is_wait=request.is_wait) as http:
                response = http.request(
                    request.method,
                    request.path,
                    content=content,
                    headers=request.headers,
                    timeout=_pools.timeouts(effect, self._core.timeout),
                )
        except httpx.HTTPError as error:
            raise _pools.lost(error, self._base_url) from error
        return _pools.received(response)

    def _driven(self, reader: Any) -> Generator[Any, None, None]:
        """Read a `Follower` or a `Called` to its end."""
        while not reader.done:
            pause = yield from self._stream(reader)
            if not reader.done:
                time.sleep(pause)

    def _stream(self, reader: Any) -> Generator[Any, None, float]:
        """Read one stream of events; gives the pause before the next one."""
        request, silence = reader.request()
        timeout = _pools.timeouts(Send(request, silence, silence), self._core.timeout)
        options: Any = {"content": request.content, "headers": dict(request.headers), "timeout": timeout}
        try:
            with (
                self._pools.turn(is_wait=request.is_wait) as http,
                http.stream(request.method, request.path, **options) as response,
            ):
                if not reader.is_stream(response.status_code):
                    response.read()
                    return reader.refused(_pools.received(response))
                for piece in response.iter_bytes():
                    yield from reader.feed(piece)
                    if reader.done or reader.is_short_of_time():
                        return 0.0
        except httpx.HTTPError as error:
            return reader.lost(_pools.lost(error, self._base_url))
        return reader.pause()
