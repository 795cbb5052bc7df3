"""Requests as they are sent, and answers as they are read. Pure: bytes and values, no connections."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote

from cresset._json import NotJsonError, encode
from cresset.errors import ApiError, BadAnswer, FieldError, class_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")
_PRIORITY_MAX: Final = 100
_ERROR: Final = 400
_SHOWN_MAX: Final = 200
"""Characters shown of an answer that is not Cresset's."""


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    path: str
    """Below the base URL, with a slash in front, percent-encoded, with its query."""
    content: bytes | None = None
    """A JSON body."""
    is_repeatable: bool = True
    """Doing it twice does no harm, so it may be sent again even when the first may have arrived."""
    is_wait: bool = False
    """It may stay unanswered for long; it must not hold up others."""


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names in lower case."""


def submit(model: str, value: Any, priority: int, metadata: Mapping[str, Any] | None) -> Request:
    """Make `POST /v1/models/{model}/tasks`."""
    if isinstance(priority, bool) or not isinstance(priority, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"priority must be an int, not {type(priority).__name__}")
    if abs(priority) > _PRIORITY_MAX:
        raise ValueError(f"priority must be from -100 (last) to 100 (first), not {priority}")
    body = b'{"input":' + _json(value, "input")
    if priority:
        body += b',"priority":%d' % priority
    if metadata is not None:
        body += b',"metadata":' + _json(dict(metadata), "metadata")
    return Request("POST", _model_path(model, "/tasks"), body + b"}", is_repeatable=False)


def predict(model: str, value: Any, timeout: float | None) -> Request:
    """Make `POST /v1/models/{model}/predict`."""
    body = b'{"input":' + _json(value, "input")
    if timeout is not None:
        if timeout == 0:
            raise ValueError("timeout must be more than 0 for predict")
        body += b',"timeout":' + json.dumps(timeout).encode()
    return Request("POST", _model_path(model, "/predict"), body + b"}")


def task(task_id: str, wait: float | None = None) -> Request:
    """Make `GET /v1/tasks/{id}`, with `?wait=` when `wait` seconds are given."""
    query = f"?wait={math.ceil(wait * 1000)}ms" if wait else ""
    return Request("GET", f"/v1/tasks/{_segment(task_id, 'task id')}{query}", is_wait=bool(wait))


def models() -> Request:
    """Make `GET /v1/models`."""
    return Request("GET", "/v1/models")


def model(name: str) -> Request:
    """Make `GET /v1/models/{model}`."""
    return Request("GET", _model_path(name, ""))


def health() -> Request:
    """Make `GET /health/ready`."""
    return Request("GET", "/health/ready")


def read(response: Response, parse: Callable[[dict[str, Any]], _T]) -> _T:
    """Read the JSON object of a good answer with `parse`.

    Raises:
        BadAnswer: it is not what `parse` reads.
    """
    try:
        value = json.loads(response.content)
        if not isinstance(value, dict):
            raise TypeError("it is not a JSON object")  # noqa: TRY301  # told below with all the rest
        return parse(cast("dict[str, Any]", value))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        shown = _shown(response.content)
        raise BadAnswer(
            f"the server's answer (HTTP {response.status}) is not one of Cresset's: {type(error).__name__}: {error}; "
            f"it begins {shown!r}"
        ) from error


def error_of(response: Response) -> ApiError | None:
    """Make the exception for an error answer; `None` for a good one."""
    if response.status < _ERROR:
        return None
    problem: dict[str, Any] = {}
    try:
        value = json.loads(response.content)
        if isinstance(value, dict):
            problem = cast("dict[str, Any]", value)
    except ValueError:
        pass  # a proxy's page: what it says is shown as the detail
    code = str(problem.get("code", ""))
    detail = str(problem.get("detail", "")) if problem else _shown(response.content)
    return class_for(code, response.status)(
        code=code,
        status=response.status,
        title=str(problem.get("title", "")),
        detail=detail,
        errors=_field_errors(problem.get("errors")),
        retry_after=_retry_after(response, problem),
        request_id=response.headers.get("x-request-id") or problem.get("request_id"),
        problem=problem,
    )


def _field_errors(value: Any) -> tuple[FieldError, ...]:
    if not isinstance(value, list):
        return ()
    entries = [cast("dict[str, Any]", one) for one in cast("list[Any]", value) if isinstance(one, dict)]
    return tuple(FieldError(str(one.get("field", "")), str(one.get("message", ""))) for one in entries)


def _retry_after(response: Response, problem: Mapping[str, Any]) -> float | None:
    # Seconds only: an HTTP date is what proxies send, and clocks differ.
    for value in (response.headers.get("retry-after"), problem.get("retry_after")):
        try:
            delay = float(cast("Any", value))
        except (TypeError, ValueError):
            continue
        if math.isfinite(delay) and delay >= 0:
            return delay
    return None


def _json(value: Any, name: str) -> bytes:
    try:
        return encode(value, name)
    except NotJsonError as error:
        text = f"{error} ({error.hint})" if error.hint else str(error)
        kind = ValueError if error.non_finite else TypeError
        raise kind(text) from None


def _model_path(name: str, rest: str) -> str:
    return f"/v1/models/{_segment(name, 'model name')}{rest}"


def _segment(text: str, what: str) -> str:
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"the {what} must be text, not {type(text).__name__}")
    if not text or text in (".", ".."):
        raise ValueError(f"the {what} is {text!r}, which is none")
    return quote(text, safe="")


def _shown(content: bytes) -> str:
    return content[:_SHOWN_MAX].decode("utf-8", "replace").strip()
