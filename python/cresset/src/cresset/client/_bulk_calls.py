"""The calls of both clients that have to do with batches; `Client` and `AsyncClient` have them from here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from cresset.client import _bulk, _messages as messages
from cresset.client._bulk import AsyncBatchHandle, BatchHandle

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Mapping

    from cresset.client._bulk import Items
    from cresset.client._core import Core, Flow
    from cresset.client._options import CacheUse

_T = TypeVar("_T")


class BatchCalls(ABC):
    """Those of `Client`."""

    _core: Core

    @abstractmethod
    def _run(self, flow: Flow[_T]) -> _T:
        """Carry out a call."""

    @abstractmethod
    def _driven(self, reader: Any) -> Generator[Any, None, None]:
        """Read a stream to its end."""

    def batch(
        self,
        lines: Items,
        *,
        model: str,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> BatchHandle:
        """Submit many tasks in one request, which may be of any length: lines are sent as they are read.

        When this returns, every line is on stable storage. Lines that are wrong stop no other: `results` tells of each.
        While the queue is full the server reads no further, and this waits. When the connection breaks, all of it is
        sent again under the same key, and the server goes on behind the lines that it has; to go on after a crash of
        *this* program, give the same lines under the same `idempotency_key`.

        Args:
            lines: the path of a file of JSON Lines, or an iterable of dicts; each has `"input"`, and beside it what a
                task may have (`"priority"`, `"metadata"`, `"expires"`, ...). Arrays in them go as JSON.
            model: the model of all of them.
            metadata: a small dict that is given back with the batch, at most 4 KiB of JSON.
            idempotency_key: as in `submit`, for the batch as a whole. Default a fresh one for each call.
            cache: as in `submit`, for every line.
            traceparent: as in `submit`, for every line.

        Returns:
            A handle with the batch's id.

        Raises:
            OSError: the file cannot be read.
            TypeError, ValueError: a line is no dict, or not JSON; those before it are accepted.
            IdempotencyKeyReused: the key belongs to a batch with another number of lines.
            BatchCancelled: it was cancelled meanwhile.
            UnknownModel, QueueFull, ModelUnavailable, ConnectionFailed, ApiError: as in `submit`.
        """
        request = messages.batch(model, metadata, idempotency_key, cache, traceparent)
        kept = _bulk.kept(lines)
        try:
            return self.batch_of(self._run(self._core.batch(replace(request, lines=kept))))
        finally:
            kept.close()

    def submit_many(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        priority: int = 0,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> BatchHandle:
        """Submit many inputs as one batch, all with the same options; see `batch`.

        Args:
            model: the model's name.
            inputs: each as in `submit`; read once, as they are sent. Arrays go as JSON.
            priority: of each task.
            metadata: as in `batch`.
            idempotency_key: as in `batch`.
            cache: as in `batch`.
            traceparent: as in `batch`.
        """
        lines = _bulk.wrapped(inputs, {"priority": priority} if priority else {})
        return self.batch(
            lines,
            model=model,
            metadata=metadata,
            idempotency_key=idempotency_key,
            cache=cache,
            traceparent=traceparent,
        )

    def batch_of(self, batch_id: str) -> BatchHandle:
        """Give the handle of a batch by its id. Asks the server nothing."""
        return BatchHandle(self._run, self._driven, self._core, batch_id)


class AsyncBatchCalls(ABC):
    """Those of `AsyncClient`."""

    _core: Core

    @abstractmethod
    async def _run(self, flow: Flow[_T]) -> _T:
        """Carry out a call."""

    @abstractmethod
    def _driven(self, reader: Any) -> AsyncGenerator[Any, None]:
        """Read a stream to its end."""

    async def batch(
        self,
        lines: Items | AsyncIterable[Mapping[str, Any]],
        *,
        model: str,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> AsyncBatchHandle:
        """Submit many tasks in one request; `lines` may come asynchronously. See `Client.batch`."""
        request = messages.batch(model, metadata, idempotency_key, cache, traceparent)
        kept = _bulk.kept_async(lines)
        try:
            return self.batch_of(await self._run(self._core.batch(replace(request, lines=kept))))
        finally:
            kept.close()

    async def submit_many(
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        priority: int = 0,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        cache: CacheUse | None = None,
        traceparent: str | None = None,
    ) -> AsyncBatchHandle:
        """Submit many inputs as one batch; see `Client.submit_many`."""
        lines = _bulk.wrapped_async(inputs, {"priority": priority} if priority else {})
        return await self.batch(
            lines,
            model=model,
            metadata=metadata,
            idempotency_key=idempotency_key,
            cache=cache,
            traceparent=traceparent,
        )

    def batch_of(self, batch_id: str) -> AsyncBatchHandle:
        """Give the handle of a batch by its id. Asks the server nothing."""
        return AsyncBatchHandle(self._run, self._driven, self._core, batch_id)
