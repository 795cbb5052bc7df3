"""Keeps the table in step with the site's signals."""

from __future__ import annotations

from typing import Any

from cresset.django.signals import task_finished, task_submitted


def connect() -> None:
    """Listen."""
    task_submitted.connect(_submitted, dispatch_uid="cresset.django.mirror")
    task_finished.connect(_finished, dispatch_uid="cresset.django.mirror")


def _submitted(**what: Any) -> None:
    from cresset.django.mirror import _rows

    _rows.submitted(
        what["task_id"],
        what["model"],
        what["input"],
        what["owner"],
        user=what["user"],
        metadata=what["metadata"],
        priority=what["priority"],
    )


def _finished(*, task: Any, **_what: Any) -> None:
    from cresset.django.mirror import _rows

    _rows.heard(task)
