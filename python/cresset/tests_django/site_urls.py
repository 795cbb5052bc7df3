"""The URLs of the site that the tests are."""

from __future__ import annotations

from django.contrib import admin
from django.core.exceptions import BadRequest
from django.http import HttpRequest
from django.urls import include, path

from cresset.django import async_views, views


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
    path("other/<uuid:task_id>", views.TaskView.as_view(model="other"), name="other"),
]
