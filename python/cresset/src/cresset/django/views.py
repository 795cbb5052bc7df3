"""Plain views, for WSGI: submit, poll, cancel. `async_views` has them for ASGI, `rest` for Django REST framework.

A class is used as it is with `cresset.django.urls`, or subclassed:

```python
class Classify(SubmitView):
    model = "digits"

    def get_input(self, request):
        return pixels_of(request.FILES["image"])
```

Everything is JSON; errors are problems. Who may submit is a matter of mixins, such as `LoginRequiredMixin`; who may see
a task is not: its owner, and nobody else, unless `may_see` says otherwise. CSRF is checked as in any view.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast

from django.core.exceptions import BadRequest, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.views import View

from cresset import errors
from cresset.django import _answers as answers, conf, owners
from cresset.django._clients import get_client
from cresset.django._submit import submit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from cresset.records import TaskStatus

_HANDED_OVER_S: Final = 20.0
"""The longest poll that nginx is asked to hold."""
INPUT_ERRORS: Final = (BadRequest, ValidationError)
"""What `get_input` raises for a request that has no input in it."""


class Submitting:
    """What a view that submits may be told; see `SubmitView`."""

    model = ""
    """The model. Empty: the one that the URL names, if the setting `MODELS` has it."""
    task_url_name = "cresset:task"
    """The name of the URL of a task; with `-events` and `-cancel` after it that of the others, if there are such."""
    allow_unowned = False
    """Whether a task may be without an owner, on a site without users and sessions: whoever knows its id may see it."""

    def get_model(self, request: HttpRequest, **kwargs: Any) -> str:
        """Give the model for a request; empty when there is none."""
        named = kwargs.get("model", "")
        return self.model or (named if named in conf.get().models else "")

    def get_input(self, request: HttpRequest) -> Any:
        """Give the model's input for a request. By default: `input` of a JSON body.

        Raises:
            BadRequest: the request has none; its text is answered with a 400.
            ValidationError: likewise.
        """
        try:
            body: Any = json.loads(request.body, parse_constant=_no_such_number)
        except ValueError as error:
            raise BadRequest(f"the body is not JSON: {error}") from None
        if not isinstance(body, dict) or "input" not in body:
            raise BadRequest('the body must be {"input": ...}')
        return cast("dict[str, Any]", body)["input"]

    def get_options(self, request: HttpRequest) -> Mapping[str, Any]:
        """Give the options of `cresset.Client.submit` for a request. By default none: callers choose nothing."""
        return {}

    def refused(self, request: HttpRequest, owner: str | None, model: str) -> HttpResponse | None:
        """Give the answer to a request that cannot be served; `None` when it can."""
        if not model:
            return answers.problem(404, "unknown_model", "there is no such model")
        if owner is None and not self.allow_unowned:
            return answers.problem(
                403, "no_owner", "nobody would own this task: the site needs sessions or users, or allow_unowned"
            )
        return None


class Showing:
    """What a view that shows tasks may be told; see `TaskView`."""

    model = ""
    """Show tasks of this model only. Empty: of any."""
    allow_unowned = False
    """Whether tasks without an owner are shown to whoever knows their id."""

    def may_see(self, request: HttpRequest, task: TaskStatus) -> bool:
        """Tell whether the maker of a request may see, and cancel, a task. By default: its owner."""
        owner = owners.read(task.metadata)
        if owner is None:
            return self.allow_unowned
        return owner in owners.owners_of(request)

    def is_shown(self, request: HttpRequest, task: TaskStatus) -> bool:
        """Tell whether there is such a task for the maker of a request."""
        return self.model in ("", task.model) and self.may_see(request, task)


def _no_such_number(text: str) -> float:
    raise ValueError(f"JSON has no {text}")


def bad_request(error: Exception) -> HttpResponse:
    """Answer a request that has no input in it."""
    messages: list[str] = getattr(error, "messages", None) or [str(error)]
    return answers.problem(400, "malformed_body", " ".join(messages) or "the request cannot be read")


class _Answering(View):
    """Turns what the client raises into answers."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer a request."""
        try:
            return super().dispatch(request, *args, **kwargs)
        except errors.CressetError as error:
            return answers.of_error(error)


class SubmitView(Submitting, _Answering):
    """POST submits: 202 `{"task_id", "status", "model", "url", "events_url", "cancel_url"}` and `Location`."""

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Submit."""
        model, owner = self.get_model(request, **kwargs), owners.owner_of(request)
        if (refused := self.refused(request, owner, model)) is not None:
            return refused
        try:
            value, options = self.get_input(request), dict(self.get_options(request))
        except INPUT_ERRORS as error:
            return bad_request(error)
        handle = submit(model, value, request=request, owner=owner, **options)
        return answers.accepted(request, handle.id, model, self.task_url_name)


class TaskView(Showing, _Answering):
    """GET gives a task, its result included once it has one; `?wait=20` waits for its end. DELETE cancels it.

    Under WSGI a wait holds a thread of the site, so by default there is none (the setting `MAX_WAIT`) and the browser's
    client asks again; with the setting `ACCEL` nginx does the waiting.
    """

    def get(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponse:
        """Give the task."""
        try:
            asked = answers.wait_asked(request)
        except ValueError as error:
            return answers.problem(400, "bad_query", str(error))
        handle = get_client().task(str(task_id))
        status = self._status(request, str(task_id))
        if status is None:
            return answers.unknown_task(str(task_id))
        if asked and not status.is_final:
            if conf.get().accel:
                return answers.handed_over(f"/v1/tasks/{status.id}?wait={min(asked, _HANDED_OVER_S):g}s")
            if granted := answers.wait_granted(request, asked):
                try:
                    status = handle.wait(granted)
                except errors.TaskTimeout as late:
                    status = late.task or status
        return answers.task(status)

    def delete(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponse:
        """Cancel the task."""
        if self._status(request, str(task_id)) is None:
            return answers.unknown_task(str(task_id))
        return answers.cancelled(get_client().cancel(str(task_id)))

    def _status(self, request: HttpRequest, task_id: str) -> TaskStatus | None:
        """Ask for a task; `None` when there is none for the maker of the request."""
        try:
            status = get_client().task(task_id).status()
        except errors.UnknownTask:
            return None
        return status if self.is_shown(request, status) else None


class CancelView(TaskView):
    """POST cancels a task, for forms: they have no DELETE."""

    http_method_names = ("post", "options")

    def post(self, request: HttpRequest, task_id: UUID | str, **kwargs: Any) -> HttpResponse:
        """Cancel the task."""
        return self.delete(request, task_id, **kwargs)


class EventsView(TaskView):
    """GET follows a task by server-sent events: nginx carries them, where the setting `ACCEL` names its location.

    A WSGI process cannot: it would be held as long as the task takes. Then this answers 501, and the browser's client
    polls. Under ASGI `async_views.EventsView` does it by itself.
    """

    http_method_names = ("get", "options")

    def get(self, request: HttpRequest, task_id: UUID | str, **_kwargs: Any) -> HttpResponse:
        """Hand the caller over."""
        if not conf.get().accel:
            return answers.problem(501, "no_events", "this site has no events of tasks; ask for the task itself")
        if self._status(request, str(task_id)) is None:
            return answers.unknown_task(str(task_id))
        return answers.handed_over(f"/v1/tasks/{task_id}/events")
