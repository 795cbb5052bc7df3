"""The client for asyncio. The same calls as the blocking one, carried out without blocking."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from cresset._version import USER_AGENT
from cresset.client import _pools
from cresset.client._bulk_calls import AsyncBatchCalls
from cresset.client._core import ArrayKind, Core, Flow, Lost, Send, Sleep
from cresset.client._dead import AsyncDeadLetters
from cresset.client._handles import AsyncTaskHandle
from cresset.client._streams import AsyncStream

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from types import TracebackType

    from typing_extensions import Self

    from cresset.client._options import CacheUse, CallbackEvent, Retries, Seconds
    from cresset.client._pools import Verify
    from cresset.records import Cancellation, Health, ModelInfo, RetryPolicy, TaskState, TaskSummary

_T = TypeVar("_T")


class AsyncClient(AsyncBatchCalls):
    """Talks to a Cresset server from asyncio.

    ```python
    async with cresset.AsyncClient("http://127.0.0.1:8700") as client:
        handle = await client.submit("digits", pixels)
        print(await handle.result(timeout=30))
    ```

    Belongs to the event loop in which it is first used. Any number of calls may be under way at once: long polls use
    connections of their own (512 at most, further ones wait their turn) and do not hold up submits. Cancelling a call
    stops waiting for it; a task that was submitted goes on until it is cancelled itself.

    The arguments, and what is raised, are those of `Client`; `transport` is an `httpx.AsyncBaseTransport`.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8700",
        *,
        key: str | None = None,
        timeout: Seconds = 30.0,  # of each request; not a scope to be left
        retries: int | Retries = 6,
        headers: Mapping[str, str] | None = None,
        verify: Verify | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._core = Core(timeout, retries)
        self._base_url = base_url
        options: Any = _pools.base_options(base_url, key, headers, USER_AGENT, verify)
        socket = _pools.socket_path(base_url)

        def make(limits: httpx.Limits) -> httpx.AsyncClient:
            over = transport
            if over is None and socket is not None:
                over = httpx.AsyncHTTPTransport(uds=socket, limits=limits)
            return httpx.AsyncClient(**options, limits=limits, transport=over)

        self._pools = _pools.Pools(make, spread=transport is None)

    @property
    def dead(self) -> AsyncDeadLetters[AsyncTaskHandle]:
        """The dead letters of the server: inputs that took their model's process down."""
        return AsyncDeadLetters(self._run, self._core, self.task)

    async def submit(
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
    ) -> AsyncTaskHandle:
        """Submit a task; see `Client.submit`."""
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
        return self.task(await self._run(flow))

    async def predict(
        self,
        model: str,
        input: Any,  # noqa: A002
        *,
        timeout: Seconds | None = None,  # the server's, for the prediction
        as_: ArrayKind | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> Any:
        """Run one input and wait for its result; see `Client.predict`."""
        return await self._run(self._core.predict(model, input, timeout, as_, cache, traceparent=traceparent))

    def stream(
        self,
        model: str,
        input: Any,  # noqa: A002
        *,
        timeout: Seconds | None = None,  # the server's, for the prediction
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> AsyncStream:
        """Run one input of a streaming model and read its result as it comes; see `Client.stream`."""
        return AsyncStream(self._driven(self._core.called(model, input, timeout, cache, traceparent)))

    def task(self, task_id: str) -> AsyncTaskHandle:
        """Give the handle of a task by its id. Asks the server nothing."""
        return AsyncTaskHandle(self._run, self._driven, self._core, task_id)

    async def tasks(
        self, model: str | None = None, *, status: TaskState | None = None
    ) -> AsyncGenerator[TaskSummary, None]:
        """List tasks, those accepted last first; see `Client.tasks`."""
        after: str | None = None
        while True:
            page, after = await self._run(self._core.tasks(model, status, after))
            for task in page:
                yield task
            if after is None:
                return

    async def cancel(self, task_id: str) -> Cancellation:
        """Cancel a task by its id; see `TaskHandle.cancel`."""
        return await self._run(self._core.cancel(task_id))

    def map(
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        in_flight: int = 64,
        ordered: bool = True,
        return_exceptions: bool = False,
        timeout: Seconds | None = None,
        priority: int = 0,
        as_: ArrayKind | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Submit many inputs as tasks, a bounded number at a time, and give their results.

        As `Client.map`, with these differences: `inputs` may be asynchronous, and `in_flight` has no upper bound, as it
        costs no threads. Close the generator (`aclose`, or `contextlib.aclosing`) when leaving the loop early, to stop
        at once.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight must be 1 or more, not {in_flight}")

        async def one(value: Any) -> Any:
            task_id = await self._run(self._core.submit(model, value, priority, None))
            return await self._run(self._core.result(task_id, timeout, as_))

        return _pipeline(one, inputs, in_flight, ordered=ordered, return_exceptions=return_exceptions)

    async def models(self) -> list[ModelInfo]:
        """List the models that are served, by name; see `Client.models`."""
        return await self._run(self._core.models())

    async def model(self, name: str) -> ModelInfo:
        """Describe a model; see `Client.model`."""
        return await self._run(self._core.model(name))

    async def health(self) -> Health:
        """Ask whether every model can be served; see `Client.health`."""
        return await self._run(self._core.health())

    async def close(self) -> None:
        """Close the connections. Calls after this raise `RuntimeError`; closing twice is fine."""
        for pool in self._pools.take_all():
            await pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._base_url!r})"

    async def _run(self, flow: Flow[_T]) -> _T:
        """Carry out the effects of a call, one after another."""
        outcome: Any = None
        lost: Lost | None = None
        while True:
            try:
                effect = flow.send(outcome) if lost is None else flow.throw(lost)
            except StopIteration as end:
                return end.value
            outcome = lost = None
            try:
                outcome = await self._carry_out(effect)
            except Lost as error:
                lost = error

    async def _carry_out(self, effect: Send | Sleep) -> Any:
        if isinstance(effect, Sleep):
            await asyncio.sleep(effect.seconds)
            return None
        request = effect.request
        content = request.content if request.lines is None else request.lines.pieces_async()
        try:
            with self._pools.turn(is_wait=request.is_wait) as http:
                response = await http.request(
                    request.method,
                    request.path,
                    content=content,
                    headers=request.headers,
                    timeout=_pools.timeouts(effect, self._core.timeout),
                )
        except httpx.HTTPError as error:
            raise _pools.lost(error, self._base_url) from error
        return _pools.received(response)

    async def _driven(self, reader: Any) -> AsyncGenerator[Any, None]:
        """Read a `Follower` or a `Called` to its end."""
        while not reader.done:
            request, silence = reader.request()
            limits = _pools.timeouts(Send(request, silence, silence), self._core.timeout)
            options: Any = {"content": request.content, "headers": dict(request.headers), "timeout": limits}
            try:
                with self._pools.turn(is_wait=request.is_wait) as http:
                    async with http.stream(request.method, request.path, **options) as response:
                        if reader.is_stream(response.status_code):
                            async for piece in response.aiter_bytes():
                                for event in reader.feed(piece):
                                    yield event
                                if reader.done or reader.is_short_of_time():
                                    break
                            pause = reader.pause()
                        else:
                            await response.aread()
                            pause = reader.refused(_pools.received(response))
            except httpx.HTTPError as error:
                pause = reader.lost(_pools.lost(error, self._base_url))
            if not reader.done:
                await asyncio.sleep(pause)


async def _pipeline(
    one: Any,
    inputs: Iterable[Any] | AsyncIterable[Any],
    in_flight: int,
    *,
    ordered: bool,
    return_exceptions: bool,
) -> AsyncGenerator[Any, None]:
    """Run `one` on every input, with at most `in_flight` begun and not yet given back."""
    pending: deque[asyncio.Task[Any]] = deque()
    try:
        async for value in _each(inputs):
            if len(pending) >= in_flight:
                yield _outcome(await _next(pending, ordered=ordered), return_exceptions=return_exceptions)
            pending.append(asyncio.ensure_future(one(value)))
        while pending:
            yield _outcome(await _next(pending, ordered=ordered), return_exceptions=return_exceptions)
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


async def _each(inputs: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(inputs, AsyncIterable):
        async for value in inputs:
            yield value
    else:
        for value in inputs:
            yield value


async def _next(pending: deque[asyncio.Task[Any]], *, ordered: bool) -> asyncio.Task[Any]:
    if ordered:
        await asyncio.wait((pending[0],))
        return pending.popleft()
    done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    task = next(task for task in pending if task in done)
    pending.remove(task)
    return task


def _outcome(task: asyncio.Task[Any], *, return_exceptions: bool) -> Any:
    error = task.exception()
    if error is None:
        return task.result()
    if return_exceptions and isinstance(error, Exception):
        return error
    raise error
