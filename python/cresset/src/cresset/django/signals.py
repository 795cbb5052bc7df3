"""What this app tells the rest of the site.

`task_submitted`: a task was accepted. With `task_id` (text), `model`, `input`, `owner` (text or None: see `owners`),
`user` (or None), `priority` and `metadata`. Sent once the server has the task, so a receiver that raises is logged and
undoes nothing.

`task_finished`: a task has ended, as `cresset_sync` found out. With `task` (a `cresset.TaskStatus`). It may come more
than once for one task.
"""

from __future__ import annotations

from django.dispatch import Signal

task_submitted = Signal()
task_finished = Signal()
