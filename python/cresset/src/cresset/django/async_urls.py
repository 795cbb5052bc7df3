"""URLs for a site under ASGI: `path("inference/", include("cresset.django.async_urls"))`. See `urls`."""

from __future__ import annotations

from django.urls import path

from cresset.django import async_views as views
from cresset.django.webhooks import WebhookView

app_name = "cresset"
urlpatterns = [
    path("models/<str:model>/tasks", views.SubmitView.as_view(), name="submit"),
    path("tasks/<uuid:task_id>", views.TaskView.as_view(), name="task"),
    path("tasks/<uuid:task_id>/cancel", views.CancelView.as_view(), name="task-cancel"),
    path("tasks/<uuid:task_id>/events", views.EventsView.as_view(), name="task-events"),
    path("webhook", WebhookView.as_view(), name="webhook"),
]
