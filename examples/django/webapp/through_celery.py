"""The comparison's model behind Celery, as sites do it: `.delay()` in a view, and a page that asks again and again."""

from __future__ import annotations

import json
from typing import Any

from celery.result import AsyncResult
from celery.states import SUCCESS
from django.http import HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from webapp.celery import app
from webapp.tasks import infer

task: Any = infer
"""Celery has no types: to a type checker the decorated function is a function still."""


@csrf_exempt
@require_POST
def submit(request: HttpRequest) -> JsonResponse:
    """Hand one item to the worker."""
    found: AsyncResult = task.delay(json.loads(request.body)["input"])
    urls = {"url": reverse(poll, args=[found.id]), "cancel_url": reverse(cancel, args=[found.id])}
    return JsonResponse({"task_id": found.id, **urls}, status=202)


@require_GET
def poll(_request: HttpRequest, task_id: str) -> JsonResponse:
    """Tell what is known of a task, at once."""
    found = AsyncResult(task_id, app=app)
    state = found.state
    return JsonResponse({"status": state, "result": found.result if state == SUCCESS else None})


@csrf_exempt
@require_POST
def cancel(_request: HttpRequest, task_id: str) -> JsonResponse:
    """Tell the worker not to begin it."""
    AsyncResult(task_id, app=app).revoke()
    return JsonResponse({})


urlpatterns = [
    path("compare/celery", submit),
    path("compare/celery/<str:task_id>", poll),
    path("compare/celery/<str:task_id>/cancel", cancel),
]
