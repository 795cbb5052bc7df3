"""URLs for a site under WSGI: `path("inference/", include("cresset.django.urls"))`. `async_urls` is for ASGI.

`models/MODEL/tasks` takes submits for the models of the setting `MODELS`: of none unless told. A site with submit views
of its own uses the others for what comes after.
"""

from __future__ import annotations

from django.urls import path

from cresset.django import views
from cresset.django.webhooks import WebhookView

app_name = "cresset"
urlpatterns = [
    path("models/<str:model>/tasks", views.SubmitView.as_view(), name="submit"),
    path("tasks/<uuid:task_id>", views.TaskView.as_view(), name="task"),
    path("tasks/<uuid:task_id>/cancel", views.CancelView.as_view(), name="task-cancel"),
    path("tasks/<uuid:task_id>/events", views.EventsView.as_view(), name="task-events"),
    path("webhook", WebhookView.as_view(), name="webhook"),
]
