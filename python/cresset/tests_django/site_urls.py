"""The URLs of the site that the tests are."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.urls import include, path, register_converter

from cresset.django import async_views, views


class Backwards:
    """A task's id as this site alone writes it."""

    regex = "[0-9a-f-]{36}"

    def to_python(self, value: str) -> str:
        return value[::-1]

    def to_url(self, value: str) -> str:
        return value[::-1]


register_converter(Backwards, "backwards")


class Shout(views.SubmitView):
    model = "upper"

    def get_input(self, request: HttpRequest) -> str:
        if not request.POST.get("text"):
            raise BadRequest("text is missing")
        return request.POST["text"]

    def get_options(self, request: HttpRequest) -> dict[str, int]:
        return {"priority": 7}


class AsyncShout(async_views.SubmitView):
    model = "upper"

    def get_input(self, request: HttpRequest) -> str:
        return request.POST["text"]


urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("site_api")),
    path("inference/", include("cresset.django.urls")),
    path("ainference/", include("cresset.django.async_urls", namespace="async")),
    path("shout", Shout.as_view()),
    path("ashout", AsyncShout.as_view(task_url_name="async:task")),
    path("odd", views.TaskView.as_view(model="other"), name="odd"),
    path("backwards", Shout.as_view(task_url_name="backwards")),
    path("backwards/<backwards:task_id>", views.TaskView.as_view(), name="backwards"),
    path("other/<uuid:task_id>", views.TaskView.as_view(model="other"), name="other"),
]
