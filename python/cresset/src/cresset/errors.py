"""Everything that the client raises, in one tree.

```text
CressetError
├── ApiError                 the server answered with an error: .code .status .detail .errors .retry_after
│   ├── BadRequest           malformed_body, bad_query and other mistakes in the request as such
│   ├── Unauthorized         unauthorized: the server needs a key, and this one opens nothing
│   ├── Forbidden            forbidden: the key lacks the scope or the model that .detail names
│   ├── InvalidInput         invalid_input: .errors names each wrong field
│   ├── IdempotencyKeyReused idempotency_key_reused: the key given belongs to another submit
│   ├── BodyTooLarge         body_too_large
│   ├── UnknownModel         unknown_model: .detail gives the nearest name
│   ├── UnknownTask          unknown_task: no such task was ever accepted
│   ├── UnknownLetter        unknown_letter: no such dead letter, or not any more
│   ├── UnknownBatch         unknown_batch: no such batch, or it has expired with its tasks
│   ├── BatchCancelled       batch_cancelled: it takes no more lines
│   ├── ExpiredTask          expired_task: it ended longer ago than results are kept
│   ├── Unavailable          nothing was accepted; the same request may pass later (also request_timeout)
│   │   ├── QueueFull        queue_full
│   │   ├── Overloaded       overloaded, client_limit, rate_limited, server_full, server_busy, outbox_full
│   │   ├── ModelUnavailable model_unavailable: .detail gives the last failure of its instances
│   │   ├── ShuttingDown     shutting_down
│   │   └── StoreUnavailable store_unavailable
│   ├── PredictTimeout       predict_timeout (also a TimeoutError)
│   ├── PredictFailed        the model failed on the input of a predict: .error says how
│   └── ServerError          internal, or any other 5xx
├── TaskError                a task ended without a result: .task
│   ├── TaskFailed           FAILURE: .error says how
│   └── TaskRevoked          REVOKED
├── TaskTimeout              the task has not ended in the time given; it goes on: .task_id .task (also a TimeoutError)
├── ConnectionFailed         the server could not be reached, or went away (also a ConnectionError)
├── BadSignature             a webhook is not from who it says, or was changed on its way (see cresset.webhooks)
└── BadAnswer                what answered does not speak Cresset's API (a proxy's page, another program)
```

Values that cannot be sent (NaN, a set, ...) raise `TypeError` or `ValueError` before anything is sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cresset.records import TaskFailure, TaskStatus

__all__ = [
    "ApiError",
    "BadAnswer",
    "BadRequest",
    "BadSignature",
    "BatchCancelled",
    "BodyTooLarge",
    "ConnectionFailed",
    "CressetError",
    "ExpiredTask",
    "FieldError",
    "Forbidden",
    "IdempotencyKeyReused",
    "InvalidInput",
    "ModelUnavailable",
    "Overloaded",
    "PredictFailed",
    "PredictTimeout",
    "QueueFull",
    "ServerError",
    "ShuttingDown",
    "StoreUnavailable",
    "TaskError",
    "TaskFailed",
    "TaskRevoked",
    "TaskTimeout",
    "Unauthorized",
    "Unavailable",
    "UnknownBatch",
    "UnknownLetter",
    "UnknownModel",
    "UnknownTask",
]


class CressetError(Exception):
    """The base of everything that the client raises."""


@dataclass(frozen=True)
class FieldError:
    """One wrong field of a request."""

    field: str
    """Its path: `priority`, `input[3][1]`, `input.pixels[0]`."""
    message: str
    """What is wrong with it and what it should be."""


class ApiError(CressetError):
    """The server answered with an error."""

    def __init__(
        self,
        *,
        code: str,
        status: int,
        title: str = "",
        detail: str = "",
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
        request_id: str | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        text = detail or title or "the server gave no details"
        super().__init__(f"{text} [{code or 'no code'}, HTTP {status}]")
        self.code: Final = code
        """The stable code, such as `invalid_input`; the server's `/docs/errors` describes each. May be empty."""
        self.status: Final = status
        """The HTTP status."""
        self.title: Final = title
        """A short title, the same for every occurrence of the code."""
        self.detail: Final = detail
        """What was wrong this time."""
        self.errors: Final = errors
        """With `invalid_input`: each wrong field."""
        self.retry_after: Final = retry_after
        """Seconds after which trying again makes sense, if the server said so."""
        self.request_id: Final = request_id
        """The id that finds the request in the server's log."""
        self.problem: Final[Mapping[str, Any]] = problem or {}
        """The whole body (RFC 9457), with whatever a later server adds."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__.copy())


class BadRequest(ApiError):
    """The request as such is wrong: a bug here or in the caller, not in the input."""


class Unauthorized(ApiError):
    """The server needs a key, and there was none, or one that opens nothing: unknown, revoked, or past its time."""


class Forbidden(ApiError):
    """The key is good, and lacks the scope or the model that the request needs."""


class InvalidInput(ApiError):
    """The input is not what the model declares; `errors` names each wrong field."""


class IdempotencyKeyReused(ApiError):
    """A task of this model was submitted under the same key, with another input, priority or metadata."""


class BodyTooLarge(ApiError):
    """The request is larger than the server takes."""


class UnknownModel(ApiError):
    """No model of this name is served."""


class UnknownTask(ApiError):
    """No task with this id was ever accepted."""


class UnknownLetter(ApiError):
    """There is no such dead letter: its task took no process down, or the letter has expired or was thrown away."""


class UnknownBatch(ApiError):
    """There is no such batch, or it has expired with its tasks."""


class BatchCancelled(ApiError):
    """The batch was cancelled, and takes no more lines."""


class ExpiredTask(ApiError):
    """The task ended longer ago than results are kept."""


class Unavailable(ApiError):
    """Nothing was accepted; the same request may pass later."""


class QueueFull(Unavailable):
    """The model's queue has reached its limit."""


class Overloaded(Unavailable):
    """Too many requests wait already."""


class ModelUnavailable(Unavailable):
    """The model has no live instance."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class StoreUnavailable(Unavailable):
    """The server cannot store tasks now."""


class PredictTimeout(ApiError, TimeoutError):
    """The prediction was not done within its time limit."""


class PredictFailed(ApiError):
    """The model failed on this input."""

    @property
    def error(self) -> TaskFailure:
        """How it failed."""
        from cresset.records import TaskFailure  # noqa: PLC0415  # records are not needed to import the tree

        return TaskFailure.of(self.problem.get("error") or {"code": self.code, "message": self.detail})


class ServerError(ApiError):
    """Something went wrong in the server, or in a proxy before it."""


class BadSignature(CressetError):
    """A webhook is not from who it says, or was changed on its way, or is too old. Do not act on it; answer 400."""


class TaskError(CressetError):
    """A task ended without a result."""

    def __init__(self, message: str, task: TaskStatus) -> None:
        super().__init__(message)
        self.task: Final = task
        """The whole task."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.task)


class TaskFailed(TaskError):
    """The task ended as FAILURE."""

    @property
    def error(self) -> TaskFailure:
        """How it failed."""
        from cresset.records import TaskFailure  # noqa: PLC0415

        return self.task.error or TaskFailure.of({})


class TaskRevoked(TaskError):
    """The task ended as REVOKED: it was cancelled, or expired before it ran."""


class TaskTimeout(CressetError, TimeoutError):
    """The task has not ended in the time given. It goes on; ask again later."""

    def __init__(self, message: str, task_id: str, task: TaskStatus | None) -> None:
        super().__init__(message)
        self.task_id: Final = task_id
        """Its id."""
        self.task: Final = task
        """The task as it was last seen; `None` when the server did not answer in time."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.task_id, self.task)


class ConnectionFailed(CressetError, ConnectionError):
    """The server could not be reached, or went away before it answered."""


class BadAnswer(CressetError):
    """What answered does not speak Cresset's API."""


_BY_CODE: Final[dict[str, type[ApiError]]] = {
    "malformed_request": BadRequest,
    "head_too_large": BadRequest,
    "malformed_body": BadRequest,
    "bad_query": BadRequest,
    "unsupported_media_type": BadRequest,
    "unknown_route": BadRequest,
    "method_not_allowed": BadRequest,
    "unauthorized": Unauthorized,
    "forbidden": Forbidden,
    "invalid_input": InvalidInput,
    "idempotency_key_reused": IdempotencyKeyReused,
    "body_too_large": BodyTooLarge,
    "unknown_model": UnknownModel,
    "unknown_task": UnknownTask,
    "unknown_letter": UnknownLetter,
    "unknown_batch": UnknownBatch,
    "batch_cancelled": BatchCancelled,
    "expired_task": ExpiredTask,
    "queue_full": QueueFull,
    "overloaded": Overloaded,
    "client_limit": Overloaded,
    "rate_limited": Overloaded,
    "server_full": Overloaded,
    "server_busy": Overloaded,
    "outbox_full": Overloaded,
    "request_timeout": Unavailable,
    "model_unavailable": ModelUnavailable,
    "shutting_down": ShuttingDown,
    "store_unavailable": StoreUnavailable,
    "predict_timeout": PredictTimeout,
    "model_error": PredictFailed,
    "bad_output": PredictFailed,
    "non_finite_output": PredictFailed,
    "instance_died": PredictFailed,
    "soft_timeout": PredictFailed,
    "time_limit": PredictFailed,
    "internal": ServerError,
}
_BAD_REQUEST: Final = 400
_TOO_LARGE: Final = 413
_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_UNAVAILABLE: Final = 503


def class_for(code: str, status: int) -> type[ApiError]:
    """Choose the class for an error answer; a code of a later server, or none, is judged by its status."""
    found = _BY_CODE.get(code)
    if found is not None:
        return found
    if status in (_TOO_MANY, _UNAVAILABLE):
        return Unavailable
    if status == _TOO_LARGE:
        return BodyTooLarge
    if status >= _SERVER_ERROR:
        return ServerError
    return BadRequest if status >= _BAD_REQUEST else ApiError


def _rebuild(cls: type[ApiError], args: tuple[Any, ...], state: dict[str, Any]) -> ApiError:
    """Unpickle: the constructor takes keywords only, so its work is copied instead of done again."""
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error
