"""Writing rows: what was submitted, and what was heard of it since.

A row that is final stays so, whatever comes late: what tells of its end may do so twice, and one sync may have
asked before the end that another one told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils import timezone

from cresset._json import NotJsonError, encode
from cresset.django import conf, owners
from cresset.django.mirror import _insert
from cresset.django.mirror.models import FINAL, InferenceTask, changes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cresset.records import TaskStatus, TaskSummary


def submitted(
    task_id: str,
    model: str,
    value: Any,
    owner: str | None,
    *,
    user: Any = None,
    metadata: Mapping[str, Any] | None = None,
    priority: int = 0,
) -> None:
    """Write the row of a task that was just accepted. One that was submitted before under its key has one."""
    kept = _kept(value)
    now = timezone.now()
    _insert.unless_there(
        task_id=UUID(task_id),
        model=model,
        owner=owner or "",
        user_id=_known_user(owner) if user is None else user.pk,
        priority=priority,
        metadata=dict(metadata) if metadata else None,
        input=kept[0] if kept else None,
        has_input=kept is not None,
        created_at=now,
        synced_at=now,
    )


def heard(task: TaskStatus | TaskSummary) -> bool:
    """Bring a row up to date; tells whether there was one to be changed."""
    rows = InferenceTask.objects.filter(task_id=UUID(task.id)).exclude(status__in=FINAL)
    return rows.update(**changes_of(task), synced_at=timezone.now()) > 0


def gone(task_id: UUID) -> None:
    """Write that the server does not know a task any more."""
    rows = InferenceTask.objects.filter(task_id=task_id).exclude(status__in=FINAL)
    rows.update(status=InferenceTask.Status.GONE, synced_at=timezone.now())


def adopt(task: TaskSummary) -> bool:
    """Write a row for a task of this site that has none; tells whether it did. Its input is not known."""
    owner = owners.read(task.metadata)
    if owner is None:
        return False
    defaults: dict[str, Any] = {
        "model": task.model,
        "owner": owner,
        "user_id": _known_user(owner),
        "priority": task.priority,
        "metadata": owners.without(task.metadata),
        **changes_of(task),
    }
    return InferenceTask.objects.get_or_create(task_id=UUID(task.id), defaults=defaults)[1]


def _known_user(owner: str | None) -> Any:
    """Give the id of the user that an owner is, if the site (still) has them."""
    from django.contrib.auth import get_user_model

    user = owners.user_of(owner)
    if user is None:
        return None
    return get_user_model()._default_manager.filter(pk=user).values_list("pk", flat=True).first()  # noqa: SLF001


def _kept(value: Any) -> tuple[Any] | None:
    """Give an input as JSON that is small enough to be kept; `None` when it is none. Arrays are kept as lists."""
    most = conf.get().keep_input_bytes
    size = getattr(value, "nbytes", 0)
    if isinstance(size, int) and size > most:
        return None
    try:
        text = encode(value, "input")
    except NotJsonError:
        return None
    return (json.loads(text),) if len(text) <= most else None
