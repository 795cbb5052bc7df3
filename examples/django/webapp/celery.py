"""The site's Celery, for the comparison: a worker of it runs the model that `inline` has in the view.

Set up as a site does whose tasks are slow. Nothing of it is used unless `SITE_CELERY` names a Redis.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webapp.settings")
app = Celery("webapp")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect
def load(**_: Any) -> None:
    """Load the model once in each process of the worker, before its first task."""
    from webapp.slow import slow_model  # noqa: PLC0415  # the master forks before it has a model

    slow_model()
    logging.getLogger(__name__).info("process %d has loaded the model", os.getpid())
