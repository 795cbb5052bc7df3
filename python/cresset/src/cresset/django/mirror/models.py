"""The table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.db import models

if TYPE_CHECKING:
    from cresset.records import TaskStatus, TaskSummary

FINAL: Final = ("SUCCESS", "FAILURE", "REVOKED", "GONE")
OPEN: Final = ("PENDING", "STARTED", "RETRY")
"""All others, by name: databases have an index for these, and none for what something is not."""


class InferenceTask(models.Model):
    """A task as the site last heard of it."""

    class Status(models.TextChoices):
        """The server's states, and one more: the server does not know the task any more."""

        PENDING = "PENDING"
        STARTED = "STARTED"
        RETRY = "RETRY"
        SUCCESS = "SUCCESS"
        FAILURE = "FAILURE"
        REVOKED = "REVOKED"
        GONE = "GONE", "Gone (results are kept for a time)"

    task_id = models.UUIDField(primary_key=True, editable=False)
    model = models.CharField(max_length=128)
    version = models.CharField(max_length=128, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+", db_index=False
    )
    owner = models.CharField(max_length=255, blank=True)
    priority = models.SmallIntegerField(default=0)
    metadata = models.JSONField(null=True, blank=True)
    input = models.JSONField(null=True, blank=True)
    has_input = models.BooleanField(default=False)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    retries = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    rerun_of = models.ForeignKey("self", models.SET_NULL, null=True, blank=True, related_name="reruns")
    synced_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-created_at",)
        verbose_name = "inference task"
        # A view that submits waits for each of them: those that a page or the sync asks by, and no others.
        indexes = (
            models.Index(fields=["-created_at"], name="cresset_mirror_created"),
            models.Index(fields=["status"], name="cresset_mirror_status"),
            models.Index(fields=["owner", "-created_at"], name="cresset_mirror_owner"),
        )

    def __str__(self) -> str:
        return f"{self.model} {self.task_id}"

    @property
    def is_final(self) -> bool:
        """Whether it has ended, or nothing more will be heard of it."""
        return self.status in FINAL

    @property
    def seconds(self) -> float | None:
        """How long it took from submit to end."""
        return None if self.finished_at is None else (self.finished_at - self.created_at).total_seconds()


def changes_of(task: TaskStatus | TaskSummary) -> dict[str, Any]:
    """Give the columns that say how a task stands."""
    error = getattr(task, "error", None)
    return {
        "status": task.status,
        "version": task.version or "",
        "created_at": task.created_at,
        "started_at": task.started_at,
        "finished_at": task.finished_at,
        "attempts": task.attempts,
        "retries": task.retries,
        "error_code": error.code if error else "",
        "error_message": error.message if error else "",
    }
