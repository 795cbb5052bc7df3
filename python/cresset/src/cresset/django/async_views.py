"""The same views for ASGI: they wait without holding a thread, and carry a task's events to the browser.

`cresset.django.async_urls` has them; subclass them as those of `views`. `get_model`, `get_input` and `may_see` stay
plain methods: they are called in a thread, and may use the database.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views import View

from cresset import errors
from cresset.django import _answers as answers, conf, owners
from cresset.django._clients import get_async_client
from cresset.django._submit import asubmit
from cresset.django.views import INPUT_ERRORS, Showing, Submitting, bad_request
from cresset.records import TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from cresset.client import AsyncTaskHandle

_HANDED_OVER_S: Final = 20.0
_SIGN_OF_LIFE_S: Final = 15.0
"""A comment is sent after such a silence, so that nothing on the way takes the connection for dead."""


class _Answering(View):
    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Answer a request."""
        try:
            answer: Any = super().dispatch(request, *args, **kwargs)
            return await answer if asyncio.iscoroutine(answer) else answer
        except errors.CressetError as error:
            return answers.of_error(error)


class SubmitView(Submitting, _Answering):
    """POST submits; see `views.SubmitView`."""

    async def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Submit."""

        def read() -> tuple[str, str | None, Any, dict[str, Any]] | HttpResponse:
            model, owner = self.get_model(request, **kwargs), owners.owner_of(request)
            if (refused := self.refused(request, owner, model)) is not None:
                return refused
            try:
                return model, owner, self.get_input(request), dict(self.get_options(request))
            except INPUT_ERRORS as error:
                return bad_request(error)

        found = await sync_to_async(read)()
        if isinstance(found, HttpResponse):
            return found
        model, owner, value, options = found
        handle = await asubmit(model, value, request=request, owner=owner, **options)
        return answers.accepted(request, handle.id, model, self.task_url_name)


class TaskView(Showing, _Answering):
    """GET gives a task, `?wait=20` once it has ended; DELETE cancels it. See `views.TaskView`."""

    async def get(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponseBase:
        """Give the task."""
        try:
            asked = answers.wait_asked(request)
        except ValueError as error:
            return answers.problem(400, "bad_query", str(error))
        status = await self._status(request, str(task_id))
        if status is None:
            return answers.unknown_task(str(task_id))
        if asked and not status.is_final:
            if conf.get().accel:
                return answers.handed_over(f"/v1/tasks/{status.id}?wait={min(asked, _HANDED_OVER_S):g}s")
            if granted := answers.wait_granted(request, asked):
                try:
                    status = await get_async_client().task(status.id).wait(granted)
                except errors.TaskTimeout as late:
                    status = late.task or status
        return answers.task(status)

    async def delete(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponse:
        """Cancel the task."""
        if await self._status(request, str(task_id)) is None:
            return answers.unknown_task(str(task_id))
        return answers.cancelled(await get_async_client().cancel(str(task_id)))

    async def _status(self, request: HttpRequest, task_id: str) -> TaskStatus | None:
        try:
            status = await get_async_client().task(task_id).status()
        except errors.UnknownTask:
            return None
        return status if await sync_to_async(self.is_shown)(request, status) else None


class CancelView(TaskView):
    """POST cancels a task, for forms: they have no DELETE."""

    http_method_names = ("post", "options")

    async def post(self, request: HttpRequest, task_id: UUID | str, **kwargs: Any) -> HttpResponse:
        """Cancel the task."""
        return await self.delete(request, task_id, **kwargs)


class EventsView(TaskView):
    """GET follows a task by server-sent events, up to its end.

    Each is of the type `status` and has the task as `TaskView` gives it. A browser that comes back after the end is
    told to stay away (204).
    """

    http_method_names = ("get", "options")

    async def get(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponseBase:
        """Follow the task."""
        status = await self._status(request, str(task_id))
        if status is None:
            return answers.unknown_task(str(task_id))
        if conf.get().accel:
            return answers.handed_over(f"/v1/tasks/{task_id}/events")
        seen = request.headers.get("last-event-id")
        if status.is_final and seen == _event_id(status):
            return HttpResponse(status=204)
        stream = _events(get_async_client().task(str(task_id)), seen)
        return StreamingHttpResponse(
            stream,
            content_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def _events(handle: AsyncTaskHandle, seen: str | None) -> AsyncGenerator[bytes, None]:
    """Give the stream's bytes. It ends early when the server cannot be reached: the browser comes back by itself."""
    async with aclosing(handle.events()) as states:
        coming = asyncio.ensure_future(anext(states))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=_SIGN_OF_LIFE_S)
                if not done:
                    yield b":\n\n"
                    continue
                try:
                    status = coming.result()
                except (StopAsyncIteration, errors.CressetError):
                    return
                # Only states: whatever else a server may come to tell of a task is passed over.
                if isinstance(status, TaskStatus) and _event_id(status) != seen:
                    data = json.dumps(answers.shown(status), ensure_ascii=False, separators=(",", ":"))
                    yield f"id: {_event_id(status)}\nevent: status\ndata: {data}\n\n".encode()
                coming = asyncio.ensure_future(anext(states))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


def _event_id(status: TaskStatus) -> str:
    return f"{status.status}-{status.attempts}-{status.retries}"
