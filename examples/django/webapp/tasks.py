"""What the site's Celery worker runs."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from webapp.slow import slow_model


@shared_task
def infer(value: Any) -> Any:
    """One item through the model of this process."""
    return slow_model().infer(value)
