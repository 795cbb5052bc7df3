"""A task in the hands of a caller: the blocking and the asyncio face of it. Calls are in `_core` and `_events`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cresset.client._events import Follower
from cresset.client._streams import AsyncStream, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from cresset.client._core import ArrayKind, Core, Flow
    from cresset.client._options import Seconds
    from cresset.events import TaskEvent
    from cresset.records import Cancellation, TaskStatus


class TaskHandle:
    """A task at the server. Cheap: it holds the id and the client. Thread-safe."""

    def __init__(
        self,
        run: Callable[[Flow[Any]], Any],
        follow: Callable[[Follower], Generator[TaskEvent, None, None]],
        core: Core,
        task_id: str,
    ) -> None:
        self._run = run
        self._follow = follow
        self._core = core
        self.id: Final = task_id
        """The task's id; it can be stored and given to `Client.task` in another process."""

    def status(self) -> TaskStatus:
        """Ask how the task stands.

        Raises:
            UnknownTask: there is no such task.
            ExpiredTask: it ended longer ago than results are kept.
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._core.status(self.id))

    def wait(self, timeout: Seconds | None = None) -> TaskStatus:
        """Wait for the task's end, however it ends.

        Args:
            timeout: how long, in seconds or as a timedelta; 0 asks once. Default no limit.

        Returns:
            The task, ended.

        Raises:
            TaskTimeout: it has not ended in that time.
            UnknownTask, ExpiredTask, ConnectionFailed: as in `status`.
        """
        return self._run(self._core.wait(self.id, timeout))

    def result(self, timeout: Seconds | None = None, *, as_: ArrayKind | None = None) -> Any:
        """Wait for the task's result. Waits at the server: the answer comes as soon as there is one.

        Args:
            timeout: how long, in seconds or as a timedelta; 0 asks once. Default no limit.
            as_: as in `Client.predict`.

        Returns:
            What the model gave: a nested list or array (one output), a dict by output name, or any JSON value.

        Raises:
            TaskFailed: the task failed; `.task` and `.error` say how.
            TaskRevoked: the task was cancelled, or expired before it could run.
            TaskTimeout: it has not ended in that time; it goes on.
            UnknownTask, ExpiredTask, ConnectionFailed: as in `status`.
        """
        return self._run(self._core.result(self.id, timeout, as_))

    def events(self, timeout: Seconds | None = None, *, logs: bool = False) -> Generator[TaskEvent, None, None]:
        """Follow the task: give it as it is, then each time that it has come to another state, up to its end.

        Between the states comes what its model says: `Progress`, and of a streaming model each `Chunk` of the result,
        `Restart` when the task is run again, and `Gap` for chunks that the server does not keep any more. The server
        sends all of it as it comes; a connection that breaks is made again, and nothing is shown twice but the newest
        progress. A state that passes very quickly may be left out; the end never is, and has the whole result.

        Args:
            timeout: how long until the end, in seconds or as a timedelta; 0 asks once. Default no limit.
            logs: the lines too that the model writes of the task, as `LogLine`. For keys with the scope `admin`, and
                for every reader of the task where the model's `[logs] callers` says so. After a break, lines may come
                twice.

        Yields:
            The task, as a `TaskStatus`, or what its model says; the last is the task, ended.

        Raises:
            Forbidden: the log lines are not for this key.
            TaskTimeout: it has not ended in that time; it goes on.
            UnknownTask, ExpiredTask, ConnectionFailed: as in `status`.
        """
        return self._follow(Follower(self.id, timeout, self._core.retries, logs=logs))

    def stream(self, timeout: Seconds | None = None) -> Stream:
        """Read the result of a streaming model as it comes; of any other model, the result at the end.

        A connection that breaks is made again, also to a server that was started anew: it runs the task again then, the
        pieces come from the first on, and `Stream.restarts` says so.

        Args:
            timeout: as in `events`.

        Returns:
            An iterator over the pieces; `result` is there at its end. It raises what `result` does.
        """
        return Stream(self._follow(Follower(self.id, timeout, self._core.retries)))

    def cancel(self) -> Cancellation:
        """Cancel the task: it ends as REVOKED, unless it has ended before.

        When this returns, the end is on stable storage and survives any crash; `wait` and `result`, here and elsewhere,
        have been told. If a process computes the task at that moment the model's code can see that
        (`cresset.current()`); one that does not let go within the grace is killed.

        Returns:
            Whether it reached the task before it ran, while it ran, or too late. Being too late is no error.

        Raises:
            UnknownTask, ExpiredTask, ConnectionFailed: as in `status`.
            StoreUnavailable: the server cannot write now, and still could not after all retries.
        """
        return self._run(self._core.cancel(self.id))

    def __repr__(self) -> str:
        return f"TaskHandle({self.id!r})"


class AsyncTaskHandle:
    """A task at the server. Cheap: it holds the id and the client."""

    def __init__(
        self,
        run: Callable[[Flow[Any]], Awaitable[Any]],
        follow: Callable[[Follower], AsyncGenerator[TaskEvent, None]],
        core: Core,
        task_id: str,
    ) -> None:
        self._run = run
        self._follow = follow
        self._core = core
        self.id: Final = task_id
        """The task's id; it can be stored and given to `AsyncClient.task` or `Client.task` later."""

    async def status(self) -> TaskStatus:
        """Ask how the task stands; see `TaskHandle.status`."""
        return await self._run(self._core.status(self.id))

    async def wait(self, timeout: Seconds | None = None) -> TaskStatus:  # raises TaskTimeout
        """Wait for the task's end, however it ends; see `TaskHandle.wait`."""
        return await self._run(self._core.wait(self.id, timeout))

    async def result(
        self,
        timeout: Seconds | None = None,  # raises TaskTimeout
        *,
        as_: ArrayKind | None = None,
    ) -> Any:
        """Wait for the task's result; see `TaskHandle.result`."""
        return await self._run(self._core.result(self.id, timeout, as_))

    def events(
        self,
        timeout: Seconds | None = None,  # raises TaskTimeout
        *,
        logs: bool = False,
    ) -> AsyncGenerator[TaskEvent, None]:
        """Follow the task from state to state, and what its model says, up to its end; see `TaskHandle.events`.

        Close the generator (`aclose`, or `contextlib.aclosing`) when leaving the loop early.
        """
        return self._follow(Follower(self.id, timeout, self._core.retries, logs=logs))

    def stream(
        self,
        timeout: Seconds | None = None,  # raises TaskTimeout
    ) -> AsyncStream:
        """Read the result of a streaming model as it comes; see `TaskHandle.stream`."""
        return AsyncStream(self._follow(Follower(self.id, timeout, self._core.retries)))

    async def cancel(self) -> Cancellation:
        """Cancel the task; see `TaskHandle.cancel`."""
        return await self._run(self._core.cancel(self.id))

    def __repr__(self) -> str:
        return f"AsyncTaskHandle({self.id!r})"
