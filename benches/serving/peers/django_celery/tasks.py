"""The Celery application: one task, which runs the model; Redis carries tasks and results."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init

REDIS = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=REDIS, backend=REDIS)
# Small quick tasks: many at once from the broker, and none of the optional talk.
app.conf.update(
    worker_prefetch_multiplier=32,
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
    result_expires=600,
)
_loaded: list[Any] = []


@worker_process_init.connect
def load(**_: Any) -> None:
    """Each worker process loads the model after its fork."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import work

    _loaded.append(work.Work())


@app.task(name="predict")
def predict(numbers: Any) -> list[float]:
    """One task, one forward: Celery has no batches."""
    work = _loaded[0]
    return work.run(work.of_numbers([numbers]))[0].tolist()
