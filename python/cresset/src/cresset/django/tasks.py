"""The backend for `django.tasks` (Django 6.0 and newer).

```python
TASKS = {"default": {"BACKEND": "cresset.django.tasks.CressetBackend", "QUEUES": ["digits"]}}
```

```python
@task(queue_name="digits")  # the model
def classify(image_id):
    return pixels_of(Image.objects.get(pk=image_id))  # its input
```

`classify.enqueue(7)` submits; `run_after` and `priority` are kept by the server. `OPTIONS`: `MODELS`, from queues to
models, where their names differ; `ENQUEUE_ON_COMMIT`. `cresset.django.backport` is the same for the package
django-tasks.
"""

from __future__ import annotations

try:
    from django.tasks import TaskResult, TaskResultStatus
except ModuleNotFoundError as error:
    # As a module that is not there: Celery's autodiscover_tasks() imports `tasks` of every app, and passes over such.
    needs = "cresset.django.tasks needs Django 6.0; with an older one, use cresset.django.backport (and django-tasks)"
    raise ModuleNotFoundError(needs, name=__name__) from error
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued

from cresset.django._backend import Backend


class CressetBackend(Backend, BaseTaskBackend):
    """See the module."""

    result_class = TaskResult
    error_class = TaskError
    states = TaskResultStatus
    invalid_task = InvalidTask
    no_result = TaskResultDoesNotExist
    enqueued = task_enqueued
