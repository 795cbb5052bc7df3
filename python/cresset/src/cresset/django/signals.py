"""What this app tells the rest of the site.

`task_submitted`: a task was accepted. With `task_id` (text), `model`, `input`, `owner` (text or None: see `owners`),
`user` (or None), `priority` and `metadata`. Sent once the server has the task, so a receiver that raises is logged and
undoes nothing.

`task_finished`: a task has ended, as a webhook or `cresset_sync` found out. With `task` (a `cresset.TaskStatus`). It
may come more than once for one task, as webhooks may.

`webhook_received`: a webhook of any kind, its signature checked. With `event` (a `cresset.webhooks.Event`).
"""

from __future__ import annotations

from django.dispatch import Signal

webhook_received = Signal()
task_submitted = Signal()
task_finished = Signal()
