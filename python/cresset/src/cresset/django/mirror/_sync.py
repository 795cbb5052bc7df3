"""Asking the server how the tasks stand that the table says have not ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cresset import errors
from cresset.django._clients import get_client
from cresset.django.mirror import _rows
from cresset.django.mirror.models import OPEN, InferenceTask
from cresset.django.signals import task_finished

if TYPE_CHECKING:
    from collections.abc import Iterable

_AT_ONCE: Final = 500
"""Rows read from the database at a time."""


@dataclass
class Synced:
    """What a sync came to."""

    asked: int = 0
    ended: int = 0
    gone: int = 0
    adopted: int = 0


def sync(rows: Iterable[InferenceTask] | None = None) -> Synced:
    """Ask about rows; about all that have not ended unless told. Sends `task_finished` for those that now have.

    Raises:
        CressetError: the server cannot be asked.
    """
    done = Synced()
    unended = InferenceTask.objects.filter(status__in=OPEN).only("task_id")
    for row in unended.iterator(_AT_ONCE) if rows is None else rows:
        done.asked += 1
        try:
            task = get_client().task(str(row.task_id)).status()
        except (errors.UnknownTask, errors.ExpiredTask):
            _rows.gone(row.task_id)
            done.gone += 1
            continue
        changed = _rows.heard(task)
        if task.is_final and changed:
            done.ended += 1
            task_finished.send_robust(sender=None, task=task)
    return done


def adopt(done: Synced, most: int) -> None:
    """Look among the server's newest tasks for those of this site that have no row.

    Raises:
        CressetError: the server cannot be asked.
    """
    for seen, task in enumerate(get_client().tasks()):
        if seen >= most:
            return
        done.adopted += _rows.adopt(task)
