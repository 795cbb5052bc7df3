"""Dead letters: the steps of each call, and the blocking and the asyncio face of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from cresset.client import _arrays, _messages as messages, _options
from cresset.errors import UnknownLetter
from cresset.records import DeadLetter

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from datetime import datetime

    from cresset.client._core import ArrayKind, Core, Flow
    from cresset.client._options import Seconds

_H = TypeVar("_H")
_PAGE: Final = 100
"""Letters fetched at once: as many as a page has at most."""


class _Page(NamedTuple):
    letters: list[DeadLetter]
    next: str | None


class _Calls:
    """The steps, without input or output."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def page(self, model: str | None, after: str | None) -> Flow[_Page]:
        """Ask for a page of the list."""
        response = yield from self._core.exchange(messages.letters(model, _PAGE, after))
        return messages.read(
            response, lambda answer: _Page([DeadLetter.of(one) for one in answer["letters"]], answer["next"])
        )

    def get(self, task_id: str) -> Flow[DeadLetter]:
        """Ask for a letter."""
        response = yield from self._core.exchange(messages.letter(task_id))
        return messages.read(response, DeadLetter.of)

    def input(self, task_id: str, as_: ArrayKind | None) -> Flow[Any]:
        """Ask for a letter's input."""
        _arrays.check(as_)
        request = messages.letter_input(task_id, as_bytes=as_ is not None and _arrays.wants_bytes(as_))
        response = yield from self._core.exchange(request)
        if as_ is not None and messages.is_tensors(response):
            return _arrays.unpacked(messages.read_tensors(response), as_)
        value = messages.read_any(response)
        return value if as_ is None else _arrays.convert(value, as_, ())

    def replay(self, task_id: str) -> Flow[str]:
        """Replay a letter; gives the task's id. Sent again when no answer came: a letter makes one task."""
        response = yield from self._core.exchange(messages.replay(task_id))
        return messages.read(response, lambda answer: str(answer["task_id"]))

    def purge(self, task_id: str) -> Flow[bool]:
        """Throw a letter away; false when it was not there."""
        try:
            response = yield from self._core.exchange(messages.purge_letter(task_id))
        except UnknownLetter:
            return False
        return messages.read(response, lambda answer: int(answer["purged"]) > 0)

    def purge_all(self, model: str | None, before: datetime | Seconds | None) -> Flow[int]:
        """Throw letters away; gives how many."""
        until = None if before is None else _options.past(before)
        response = yield from self._core.exchange(messages.purge_letters(model, until))
        return messages.read(response, lambda answer: int(answer["purged"]))


class DeadLetters(Generic[_H]):
    """The dead letters of a server: inputs that took their model's process down. `Client.dead` is one."""

    def __init__(self, run: Callable[[Flow[Any]], Any], core: Core, handle: Callable[[str], _H]) -> None:
        self._run = run
        self._calls = _Calls(core)
        self._handle = handle

    def list(self, model: str | None = None) -> Generator[DeadLetter, None, None]:
        """Give the letters, the newest first; fetched page by page while they are iterated.

        Args:
            model: of this model only.

        Raises:
            ConnectionFailed, ApiError: while it is iterated.
        """
        after: str | None = None
        while True:
            page: _Page = self._run(self._calls.page(model, after))
            yield from page.letters
            after = page.next
            if after is None:
                return

    def get(self, task_id: str) -> DeadLetter:
        """Give one letter.

        Raises:
            UnknownLetter: there is none of this task.
            ConnectionFailed: the server could not be reached.
        """
        return self._run(self._calls.get(task_id))

    def input(self, task_id: str, *, as_: ArrayKind | None = None) -> Any:
        """Give the input of a letter, as `Client.submit` takes it.

        Args:
            task_id: the letter's id.
            as_: `"numpy"` or `"torch"` for arrays; default lists and numbers.

        Raises:
            UnknownLetter, ConnectionFailed: as in `get`.
        """
        return self._run(self._calls.input(task_id, as_))

    def replay(self, task_id: str) -> _H:
        """Make a new task of a letter, once the model is mended. A letter makes one task: later calls give that one.

        Returns:
            The task's handle.

        Raises:
            UnknownLetter, ConnectionFailed: as in `get`.
            UnknownModel, InvalidInput: the model is not served any more, or takes other inputs now.
            QueueFull: as in `Client.submit`.
        """
        return self._handle(self._run(self._calls.replay(task_id)))

    def purge(self, task_id: str) -> bool:
        """Throw one letter away, with its input; false when there was none."""
        return self._run(self._calls.purge(task_id))

    def purge_all(self, *, model: str | None = None, before: datetime | Seconds | None = None) -> int:
        """Throw letters away; all there are when nothing is said.

        Args:
            model: of this model only.
            before: that died before this aware datetime, or longer ago than this many seconds (or timedelta).

        Returns:
            How many there were.
        """
        return self._run(self._calls.purge_all(model, before))


class AsyncDeadLetters(Generic[_H]):
    """The same from asyncio: see `DeadLetters`. `AsyncClient.dead` is one."""

    def __init__(self, run: Callable[[Flow[Any]], Awaitable[Any]], core: Core, handle: Callable[[str], _H]) -> None:
        self._run = run
        self._calls = _Calls(core)
        self._handle = handle

    async def list(self, model: str | None = None) -> AsyncGenerator[DeadLetter, None]:
        """Give the letters, the newest first; see `DeadLetters.list`."""
        after: str | None = None
        while True:
            page: _Page = await self._run(self._calls.page(model, after))
            for letter in page.letters:
                yield letter
            after = page.next
            if after is None:
                return

    async def get(self, task_id: str) -> DeadLetter:
        """Give one letter; see `DeadLetters.get`."""
        return await self._run(self._calls.get(task_id))

    async def input(self, task_id: str, *, as_: ArrayKind | None = None) -> Any:
        """Give the input of a letter; see `DeadLetters.input`."""
        return await self._run(self._calls.input(task_id, as_))

    async def replay(self, task_id: str) -> _H:
        """Make a new task of a letter; see `DeadLetters.replay`."""
        return self._handle(await self._run(self._calls.replay(task_id)))

    async def purge(self, task_id: str) -> bool:
        """Throw one letter away; see `DeadLetters.purge`."""
        return await self._run(self._calls.purge(task_id))

    async def purge_all(self, *, model: str | None = None, before: datetime | Seconds | None = None) -> int:
        """Throw letters away; see `DeadLetters.purge_all`."""
        return await self._run(self._calls.purge_all(model, before))
