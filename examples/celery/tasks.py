"""An application as Celery's own guide would have it: one task that runs a model. It knows nothing of Cresset.

    celery -A tasks worker --concurrency 2
    python -c "from tasks import perform_inference; print(perform_inference.delay([[[0.0] * 8] * 8]).get())"

`BROKER_URL` is where the broker is (a Redis on its usual port), `RESULT_BACKEND` where the results are: in the same
Redis, or with RabbitMQ by its own messages (`rpc://`).
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any

from celery import Celery, shared_task

BROKER = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
RESULTS = os.environ.get("RESULT_BACKEND") or (BROKER if BROKER.startswith("redis") else "rpc://")
DIGITS = Path(__file__).resolve().parent.parent / "digits"

app: Any = Celery("tasks", broker=BROKER, backend=RESULTS)
"""Celery says nothing of its types."""


@functools.cache
def network() -> Any:
    """The trained network, loaded once in each process. Two processes on two cores: one thread each is the fastest."""
    import torch  # noqa: PLC0415  # who only sends tasks needs no torch

    sys.path.insert(0, str(DIGITS))
    from net import Net  # noqa: PLC0415

    torch.set_num_threads(1)
    net = Net()
    net.load_state_dict(torch.load(DIGITS / "weights.pt", weights_only=True))
    return net.eval()


def predict(input_data: list[Any]) -> list[float]:
    """Probabilities of the ten digits for one image."""
    import torch  # noqa: PLC0415

    with torch.inference_mode():
        return network()(torch.tensor([input_data], dtype=torch.float32)).softmax(dim=1)[0].tolist()


perform_inference: Any = shared_task(name="tasks.perform_inference")(predict)
"""The task."""
