"""The backend for the package django-tasks, the backport of `django.tasks` to Django 4.2 and newer. See `tasks`.

```python
INSTALLED_APPS = [..., "django_tasks"]
TASKS = {"default": {"BACKEND": "cresset.django.backport.CressetBackend", "QUEUES": ["digits"]}}
```
"""

from __future__ import annotations

from django_tasks import TaskResult, TaskResultStatus
from django_tasks.backends.base import BaseTaskBackend
from django_tasks.base import TaskError
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
from django_tasks.signals import task_enqueued

from cresset.django._backend import Backend


class CressetBackend(Backend, BaseTaskBackend):
    """See the module."""

    result_class = TaskResult
    error_class = TaskError
    states = TaskResultStatus
    invalid_task = InvalidTaskError
    no_result = TaskResultDoesNotExist
    enqueued = task_enqueued
