"""Batches at the stand-in server: as the real one has them, but taken whole."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from cresset._times import to_text
from cresset.testing import _answers as answers, _tasks as tasks

if TYPE_CHECKING:
    from datetime import datetime

    import httpx

    from cresset.testing._tasks import Task

_OPEN = ("PENDING", "STARTED", "RETRY")


@dataclass
class Batch:
    """A batch."""

    model: str
    created_at: datetime
    metadata: dict[str, Any] | None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    lines: list[Task | str] = field(default_factory=list["Task | str"])
    """For each line its task, or what is wrong with it."""
    cancelled_at: datetime | None = None

    def tasks(self) -> list[Task]:
        """Give the lines that are tasks."""
        return [line for line in self.lines if not isinstance(line, str)]

    def shown(self) -> dict[str, Any]:
        """Give it as the server answers it."""
        states = Counter(task.status for task in self.tasks())
        names = ("pending", "started", "retry", "success", "failure", "revoked")
        counts = {name: states[name.upper()] for name in names}
        is_over = not any(states[state] for state in _OPEN)
        cancelled, total = self.cancelled_at, len(self.lines)
        status = ("cancelled" if is_over else "cancelling") if cancelled else "completed" if is_over else "in_progress"
        ends = [task.finished_at for task in self.tasks() if task.finished_at is not None]
        return {
            "batch_id": self.id,
            "model": self.model,
            "status": status,
            "accepted": total,
            "total": total,
            "counts": {**counts, "invalid": total - len(self.tasks()), "expired": 0},
            "created_at": to_text(self.created_at),
            "finished_at": to_text(max(ends)) if is_over and ends else None,
            "cancelled_at": None if cancelled is None else to_text(cancelled),
            "metadata": self.metadata,
            "results_url": f"/v1/batches/{self.id}/results",
            "cancel_url": f"/v1/batches/{self.id}/cancel",
        }

    def results(self, start: int, now: datetime) -> bytes:
        """Give what became of each line, from one on."""
        numbered = list(enumerate(self.lines))[start:]
        return b"".join(json.dumps(_shown(index, line, now)).encode() + b"\n" for index, line in numbered)


def _shown(index: int, line: Task | str, now: datetime) -> dict[str, Any]:
    if isinstance(line, str):
        error = {"code": "invalid_input", "type": "INVALID", "message": line}
        return {"index": index, "task_id": None, "status": "INVALID", "error": error}
    shown = line.shown(now)
    told = {name: shown[name] for name in ("result", "error") if name in shown}
    return {"index": index, "task_id": line.id, "status": line.status, **told}


def read(request: httpx.Request, model: str, now: datetime) -> Batch | httpx.Response:
    """Read a batch, its tasks not run yet; or say what is wrong with it as a whole."""
    if request.headers.get("content-type", "").partition(";")[0] not in ("application/x-ndjson", "application/jsonl"):
        return answers.problem("unsupported_media_type", "send JSON Lines with Content-Type application/x-ndjson")
    batch = Batch(model, now, json.loads(request.headers.get("cresset-metadata", "null")))
    trace_id = tasks.trace_id(request.headers)
    for text in filter(bytes.strip, request.content.split(b"\n")):
        batch.lines.append(_line(text, model, now))
    for task in batch.tasks():
        task.trace_id = trace_id
    return batch


def _line(text: bytes, model: str, now: datetime) -> Task | str:
    try:
        body = json.loads(text)
    except ValueError as error:
        return f"the body is not JSON: {error}"
    if not isinstance(body, dict):
        return "the body is not an object"
    task = tasks.read(model, "tasks", cast("dict[str, Any]", body), now)
    return "; ".join(f"`{field}`: {message}" for field, message in task) if isinstance(task, list) else task
