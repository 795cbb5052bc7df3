"""The Django site in front: submits tasks, and says how one stands."""

from __future__ import annotations

import json

from celery.result import AsyncResult
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from tasks import app as celery, predict

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="bench", MIDDLEWARE=[], INSTALLED_APPS=[])


def submit(request: HttpRequest) -> JsonResponse:
    """The task's id, once Redis has it."""
    task = predict.delay(json.loads(request.body)["input"])
    return JsonResponse({"task_id": task.id, "status": "PENDING"}, status=202)


def status(_request: HttpRequest, task_id: str) -> JsonResponse:
    """How a task stands, with its result if it has one."""
    result = AsyncResult(task_id, app=celery)
    meta = result._get_task_meta()  # noqa: SLF001 - one trip to Redis for state and result together
    return JsonResponse({"task_id": task_id, "status": meta["status"], "result": meta.get("result")})


urlpatterns = [path("tasks", submit), path("tasks/<str:task_id>", status)]
application = get_wsgi_application()
