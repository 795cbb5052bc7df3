"""A view for Django REST framework: POST validates and submits, GET polls or waits, DELETE cancels.

```python
class Classify(InferenceView):
    model = "digits"
    serializer_class = DigitSerializer
    permission_classes = [IsAuthenticated]
    throttle_classes = [UserRateThrottle]

urlpatterns = inference_paths("api/digits", Classify, name="digits")
```

Authentication, permissions, throttles, parsers and renderers are the framework's. What it cannot know is whose task it
is: see `may_see`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from django.urls import URLPattern, path
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import APIView

from cresset import errors
from cresset.django import _answers as answers, conf, owners
from cresset.django._clients import get_client
from cresset.django._submit import submit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from django.http import HttpResponseBase
    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer

    from cresset.records import TaskStatus

_HANDED_OVER_S: Final = 20.0


class Refused(exceptions.APIException):
    """The server refused: its code and words, in the framework's form."""

    def __init__(self, status: int, code: str, detail: Any, wait: float | None = None) -> None:
        super().__init__(detail, code)
        self.status_code = status
        self.wait = wait  # the framework says it as Retry-After


class InferenceView(APIView):
    """See the module."""

    model: str = ""
    """The model."""
    serializer_class: ClassVar[type[BaseSerializer[Any]] | None] = None
    """Reads the request's data. Without one `input` of the data is the input."""
    poll_throttle_classes: ClassVar[Sequence[type] | None] = None
    """Throttles of GET and DELETE, where they should be others than those of POST."""
    allow_unowned: bool = False
    """Whether tasks may be without an owner: where nobody signs in and there are no sessions."""
    task_url_name: str = ""
    """The name of the URL of a task; `inference_paths` says it."""
    events: bool = False
    """Whether GET gives the events; `inference_paths` says it."""

    def get_serializer(self, *args: Any, **kwargs: Any) -> BaseSerializer[Any]:
        """Make the serializer."""
        assert self.serializer_class is not None
        return self.serializer_class(*args, context={"request": self.request, "view": self}, **kwargs)

    def get_input(self, data: Any) -> Any:
        """Give the model's input for validated data. By default: all of it, or `input` where that is all."""
        return data["input"] if isinstance(data, dict) and set(data) == {"input"} else data

    def get_options(self, data: Any) -> Mapping[str, Any]:
        """Give the options of `cresset.Client.submit`. By default none: callers choose nothing."""
        return {}

    def may_see(self, request: Request, task: TaskStatus) -> bool:
        """Tell whether the maker of a request may see, and cancel, a task. By default: its owner."""
        owner = owners.read(task.metadata)
        return self.allow_unowned if owner is None else owner in owners.owners_of(request)  # pyright: ignore[reportArgumentType]

    def get_throttles(self) -> list[Any]:
        """Make the throttles."""
        if self.poll_throttle_classes is not None and self.request.method != "POST":
            return [throttle() for throttle in self.poll_throttle_classes]
        return super().get_throttles()

    def handle_exception(self, exc: Exception) -> Response:
        """Turn what the client raises into the framework's exceptions, and those into answers."""
        return super().handle_exception(_refused(exc) if isinstance(exc, errors.CressetError) else exc)

    def post(self, request: Request, **_kwargs: Any) -> Response:
        """Validate and submit."""
        if "task_id" in _kwargs:
            raise exceptions.MethodNotAllowed("POST")
        owner = owners.owner_of(request)  # pyright: ignore[reportArgumentType]  # it passes on what it wraps
        if owner is None and not self.allow_unowned:
            raise exceptions.NotAuthenticated("nobody would own this task: sign in")
        data = self._validated(request)
        whom: Any = request  # it passes on what it wraps
        handle = submit(self.model, self.get_input(data), request=whom, owner=owner, **self.get_options(data))
        urls = answers.urls_of(request, handle.id, self.task_url_name)  # pyright: ignore[reportArgumentType]
        body = {"task_id": handle.id, "status": "PENDING", "model": self.model, **urls}
        return Response(body, status=202, headers={"Location": urls["url"], "Cache-Control": "no-store"})

    def get(self, request: Request, task_id: UUID | None = None, **_kwargs: Any) -> HttpResponseBase:
        """Give the task; `?wait=20` waits for its end, as in `views.TaskView`."""
        if task_id is None:
            raise exceptions.MethodNotAllowed("GET")
        try:
            asked = answers.wait_asked(request)  # pyright: ignore[reportArgumentType]
        except ValueError as error:
            raise Refused(400, "bad_query", str(error)) from None
        status = self._status(request, str(task_id))
        accel = conf.get().accel
        if self.events:
            if not accel:
                raise Refused(501, "no_events", "this site has no events of tasks; ask for the task itself")
            return answers.handed_over(f"/v1/tasks/{status.id}/events")
        if asked and not status.is_final:
            if accel:
                return answers.handed_over(f"/v1/tasks/{status.id}?wait={min(asked, _HANDED_OVER_S):g}s")
            if granted := answers.wait_granted(request, asked):  # pyright: ignore[reportArgumentType]
                try:
                    status = get_client().task(status.id).wait(granted)
                except errors.TaskTimeout as late:
                    status = late.task or status
        return Response(answers.shown(status), headers={"Cache-Control": "no-store"})

    def delete(self, request: Request, task_id: UUID | None = None, **_kwargs: Any) -> Response:
        """Cancel the task."""
        if task_id is None:
            raise exceptions.MethodNotAllowed("DELETE")
        self._status(request, str(task_id))
        done = get_client().cancel(str(task_id))
        return Response({"task_id": done.id, "status": done.status, "cancelled": done.when})

    def _validated(self, request: Request) -> Any:
        if self.serializer_class is None:
            if not isinstance(request.data, dict) or "input" not in request.data:
                raise exceptions.ValidationError({"input": ["This field is required."]})
            return {"input": request.data["input"]}
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def _status(self, request: Request, task_id: str) -> TaskStatus:
        try:
            status = get_client().task(task_id).status()
        except errors.UnknownTask:
            raise exceptions.NotFound(f"there is no task {task_id}") from None
        if status.model != self.model or not self.may_see(request, status):
            raise exceptions.NotFound(f"there is no task {task_id}")
        self.check_object_permissions(request, status)
        return status


def inference_paths(route: str, view: type[InferenceView], *, name: str) -> list[URLPattern]:
    """Give the URLs of a view: `route` takes submits, `route/ID` is the task, `route/ID/events` follows it.

    Their names are `name`, `name-task` and `name-task-events`. Where the view is in a namespace, say it in the view's
    `task_url_name`.
    """
    route = route.rstrip("/")
    task = view.task_url_name or f"{name}-task"
    plain = view.as_view(task_url_name=task)
    return [
        path(route, plain, name=name),
        path(f"{route}/<uuid:task_id>", plain, name=f"{name}-task"),
        path(
            f"{route}/<uuid:task_id>/events", view.as_view(task_url_name=task, events=True), name=f"{name}-task-events"
        ),
    ]


def _refused(error: errors.CressetError) -> exceptions.APIException:
    status, code, detail, wrong, wait = answers.meaning(error)
    by_field: Any = {one["field"]: [one["message"]] for one in wrong} if wrong else detail
    return Refused(status, code, by_field, wait)
