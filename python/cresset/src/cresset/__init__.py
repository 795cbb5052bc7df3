"""Cresset serves PyTorch models to web applications: durable tasks, batches, one program.

In a model's folder:

```python
import cresset


class Shout(cresset.Model):
    def predict(self, batch):
        return [text.upper() for text in batch]
```

In the application:

```python
import cresset

with cresset.Client("http://127.0.0.1:8700") as client:
    handle = client.submit("shout", "hello")
    print(handle.result(timeout=30))
```

Importing this package imports neither torch nor numpy nor httpx: a model may run where they are not installed. The
client and its exceptions are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

from cresset._again import Reject, Retry
from cresset._current import Cancelled, Context, SoftTimeout, current
from cresset._file import File
from cresset._model import Model
from cresset._specs import TensorSpec
from cresset._version import __version__

if TYPE_CHECKING:
    from cresset.client import (
        AsyncBatchHandle,
        AsyncClient,
        AsyncStream,
        AsyncTaskHandle,
        BatchHandle,
        Client,
        Retries,
        Stream,
        TaskHandle,
    )
    from cresset.errors import (
        ApiError,
        BadAnswer,
        BadRequest,
        BadSignature,
        BatchCancelled,
        BodyTooLarge,
        ConnectionFailed,
        CressetError,
        ExpiredTask,
        FieldError,
        Forbidden,
        IdempotencyKeyReused,
        InvalidInput,
        ModelUnavailable,
        Overloaded,
        PredictFailed,
        PredictTimeout,
        QueueFull,
        ServerError,
        ShuttingDown,
        StoreUnavailable,
        TaskError,
        TaskFailed,
        TaskRevoked,
        TaskTimeout,
        Unauthorized,
        Unavailable,
        UnknownBatch,
        UnknownLetter,
        UnknownModel,
        UnknownTask,
    )
    from cresset.events import Chunk, Gap, LogLine, Progress, Restart, TaskEvent
    from cresset.logs import TaskLogHandler
    from cresset.records import (
        BatchCounts,
        BatchLine,
        BatchState,
        BatchStatus,
        Cancellation,
        DeadLetter,
        Health,
        InstanceInfo,
        ModelHealth,
        ModelInfo,
        Redelivery,
        RetryPolicy,
        TaskFailure,
        TaskState,
        TaskStatus,
        TaskSummary,
    )

__all__ = [
    "ApiError",
    "AsyncBatchHandle",
    "AsyncClient",
    "AsyncStream",
    "AsyncTaskHandle",
    "BadAnswer",
    "BadRequest",
    "BadSignature",
    "BatchCancelled",
    "BatchCounts",
    "BatchHandle",
    "BatchLine",
    "BatchState",
    "BatchStatus",
    "BodyTooLarge",
    "Cancellation",
    "Cancelled",
    "Chunk",
    "Client",
    "ConnectionFailed",
    "Context",
    "CressetError",
    "DeadLetter",
    "ExpiredTask",
    "FieldError",
    "File",
    "Forbidden",
    "Gap",
    "Health",
    "IdempotencyKeyReused",
    "InstanceInfo",
    "InvalidInput",
    "LogLine",
    "Model",
    "ModelHealth",
    "ModelInfo",
    "ModelUnavailable",
    "Overloaded",
    "PredictFailed",
    "PredictTimeout",
    "Progress",
    "QueueFull",
    "Redelivery",
    "Reject",
    "Restart",
    "Retries",
    "Retry",
    "RetryPolicy",
    "ServerError",
    "ShuttingDown",
    "SoftTimeout",
    "StoreUnavailable",
    "Stream",
    "TaskError",
    "TaskEvent",
    "TaskFailed",
    "TaskFailure",
    "TaskHandle",
    "TaskLogHandler",
    "TaskRevoked",
    "TaskState",
    "TaskStatus",
    "TaskSummary",
    "TaskTimeout",
    "TensorSpec",
    "Unauthorized",
    "Unavailable",
    "UnknownBatch",
    "UnknownLetter",
    "UnknownModel",
    "UnknownTask",
    "__version__",
    "current",
]

_EAGER: Final = frozenset(
    ("Cancelled", "Context", "File", "Model", "Reject", "Retry", "SoftTimeout", "TensorSpec", "__version__", "current")
)
_CLIENT: Final = frozenset(
    (
        "AsyncBatchHandle",
        "AsyncClient",
        "AsyncStream",
        "AsyncTaskHandle",
        "BatchHandle",
        "Client",
        "Retries",
        "Stream",
        "TaskHandle",
    )
)
_EVENTS: Final = frozenset(("Chunk", "Gap", "LogLine", "Progress", "Restart", "TaskEvent"))
_RECORDS: Final = frozenset(
    (
        "BatchCounts",
        "BatchLine",
        "BatchState",
        "BatchStatus",
        "Cancellation",
        "DeadLetter",
        "Health",
        "InstanceInfo",
        "ModelHealth",
        "ModelInfo",
        "Redelivery",
        "RetryPolicy",
        "TaskFailure",
        "TaskState",
        "TaskStatus",
        "TaskSummary",
    )
)


if not TYPE_CHECKING:  # a checker knows the names above, and must refuse all others

    def __getattr__(name: str) -> Any:
        """Import a name of the client when it is first asked for."""
        if name not in __all__ or name in _EAGER:
            raise AttributeError(f"module 'cresset' has no attribute {name!r}")
        homes = (
            (_CLIENT, "cresset.client"),
            (_RECORDS, "cresset.records"),
            (_EVENTS, "cresset.events"),
            (("TaskLogHandler",), "cresset.logs"),
        )
        home = next((home for names, home in homes if name in names), "cresset.errors")
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
