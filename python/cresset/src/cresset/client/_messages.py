"""Requests as they are sent, and answers as they are read: bytes and values, no connections."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import quote, urlencode

from cresset._json import NotJsonError, encode
from cresset._policy import RetryPolicy
from cresset.client import _options, _safetensors, _trace
from cresset.errors import ApiError, BadAnswer, FieldError, TaskFailed, TaskRevoked, class_for

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import datetime

    from cresset.client._bulk import Kept
    from cresset.client._options import CacheUse, CallbackEvent, Seconds
    from cresset.client._safetensors import Packed
    from cresset.records import TaskStatus

_T = TypeVar("_T")
_PRIORITY_MAX: Final = 100
_ERROR: Final = 400
_SERVER_ERROR: Final = 500
_BYTES_OR_JSON: Final = f"{_safetensors.MEDIA_TYPE}, application/json;q=0.5"
_HEADER_MAX: Final = 4096
"""Metadata longer than this goes with a JSON body: many proxies take 8 KiB of headers in all."""
_SHOWN_MAX: Final = 200
"""Characters shown of an answer that is not Cresset's."""


@dataclass(frozen=True)
class Request:
    """One request. Sending it twice does no more than sending it once: it may be sent again when no answer came."""

    method: str
    path: str
    """Below the base URL, with a slash in front, percent-encoded, with its query."""
    content: bytes | None = None
    """The body."""
    lines: Kept | None = None
    """A body that is sent as it comes, each time from the first line on."""
    is_wait: bool = False
    """It may stay unanswered for long; it must not hold up others."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beside the client's own."""


@dataclass(frozen=True)
class Response:
    """One answer."""

    status: int
    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Names in lower case."""


@dataclass(frozen=True)
class Order:
    """A submit or a prediction without its input, checked."""

    path: str
    json_options: bytes
    """What a JSON body has after its input: `,"priority":5`."""
    query: str
    """The same where the body is the input alone: `?priority=5`."""
    metadata: str | None = None
    """Its JSON in ASCII, which goes into a header then."""
    retry: str | None = None
    """Likewise."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of both forms."""

    def with_json(self, value: Any) -> Request:
        """Make the request with its input as JSON."""
        content = b'{"input":' + _json(value, "input") + self.json_options + b"}"
        return self._request(self.path, content, {"content-type": "application/json"})

    def with_tensors(self, tensors: Mapping[str, Packed]) -> Request | None:
        """Make the request with its input as bytes; `None` when the rest does not fit beside them."""
        headers = {"content-type": _safetensors.MEDIA_TYPE}
        for name, text in (("cresset-metadata", self.metadata), ("cresset-retry", self.retry)):
            if text is not None:
                if len(text) > _HEADER_MAX:
                    return None
                headers[name] = text
        return self._request(self.path + self.query, _safetensors.pack(tensors), headers)

    def _request(self, path: str, content: bytes, headers: dict[str, str]) -> Request:
        return Request("POST", path, content, headers={**self.headers, **headers})


def submit(
    model: str,
    priority: int,
    metadata: Mapping[str, Any] | None,
    *,
    eta: datetime | None = None,
    countdown: Seconds | None = None,
    expires: datetime | Seconds | None = None,
    deadline: datetime | Seconds | None = None,
    idempotency_key: str | None = None,
    cache: CacheUse | None = None,
    retry: RetryPolicy | None = None,
    callback_url: str | None = None,
    callback_events: Collection[CallbackEvent] | None = None,
    traceparent: str | None = None,
) -> Order:
    """Make the order for `POST /v1/models/{model}/tasks`; with a fresh idempotency key where none is given."""
    if isinstance(priority, bool) or not isinstance(priority, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"priority must be an int, not {type(priority).__name__}")
    if abs(priority) > _PRIORITY_MAX:
        raise ValueError(f"priority must be from -100 (last) to 100 (first), not {priority}")
    ends = (_options.end(expires, "expires"), _options.end(deadline, "deadline"))
    times = [time for time in (_options.start(eta, countdown), *ends) if time is not None]
    options = b',"priority":%d' % priority if priority else b""
    options += b"".join(b',"%s":"%s"' % (name.encode(), text.encode()) for name, text in times)
    in_query = ([("priority", str(priority))] if priority else []) + times
    if (callback := _options.callback(callback_url, callback_events)) is not None:
        url, events = callback
        options += b',"callback_url":' + json.dumps(url).encode()
        in_query.append(("callback_url", quote(url, safe="")))
        if events:
            options += b',"callback_events":' + json.dumps(events, separators=(",", ":")).encode()
            in_query.append(("callback_events", ",".join(events)))
    in_header: str | None = None
    if metadata is not None:
        encoded = _json(dict(metadata), "metadata")
        in_header = json.dumps(json.loads(encoded), separators=(",", ":"))
        # One text in both forms: the server takes a submit for another one when its metadata is written otherwise.
        options += b',"metadata":' + (encoded if len(in_header) > _HEADER_MAX else in_header.encode())
    terms = _retry(retry)
    options += b',"retry":' + terms.encode() if terms is not None else b""
    query = "?" + "&".join(f"{name}={text}" for name, text in in_query) if in_query else ""
    key = _options.idempotency_key(idempotency_key)
    headers = {"idempotency-key": key, **_options.cache_control(cache), **_trace.headers(traceparent)}
    return Order(_model_path(model, "/tasks"), options, query, in_header, terms, headers)


def predict(
    model: str,
    timeout: float | None,
    *,
    as_bytes: bool = False,
    as_events: bool = False,
    cache: CacheUse | None = None,
    traceparent: str | None = None,
) -> Order:
    """Make the order for `POST /v1/models/{model}/predict`; with a key, as it may become a task."""
    options, query = b"", ""
    if timeout is not None:
        if timeout == 0:
            raise ValueError("timeout must be more than 0 for predict")
        options, query = b',"timeout":' + json.dumps(timeout).encode(), f"?timeout={_options.milliseconds(timeout)}"
    accept = {"accept": _BYTES_OR_JSON} if as_bytes else {"accept": "text/event-stream"} if as_events else {}
    key = {} if as_events else {"idempotency-key": _options.idempotency_key(None)}
    headers = {**accept, **key, **_options.cache_control(cache), **_trace.headers(traceparent)}
    return Order(_model_path(model, "/predict"), options, query, headers=headers)


def _retry(retry: RetryPolicy | None) -> str | None:
    """Give how a task is tried again as JSON in ASCII; `None` when that is left to the model."""
    if retry is not None and not isinstance(retry, RetryPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"retry must be a cresset.RetryPolicy, not {type(retry).__name__}")
    said = {} if retry is None else retry.to_json()
    return json.dumps(said, separators=(",", ":")) if said else None


def task(task_id: str, wait: float | None = None) -> Request:
    """Make `GET /v1/tasks/{id}`, with `?wait=` when `wait` seconds are given."""
    return _waiting(task_id, "", wait)


def result(task_id: str, wait: float | None = None) -> Request:
    """Make `GET /v1/tasks/{id}/result`, for a result as bytes where it has that form."""
    return _waiting(task_id, "/result", wait, {"accept": _BYTES_OR_JSON})


def tasks(model: str | None, status: str | None, limit: int, after: str | None) -> Request:
    """Make `GET /v1/tasks`."""
    return Request("GET", "/v1/tasks" + _query(model=model, status=status, limit=str(limit), after=after))


def events(task_id: str, last_event_id: str | None, *, logs: bool = False) -> Request:
    """Make `GET /v1/tasks/{id}/events`, for what is newer than that event; with the lines of its log or without."""
    headers = {"accept": "text/event-stream", **({"last-event-id": last_event_id} if last_event_id else {})}
    path = "/events?logs=true" if logs else "/events"
    return Request("GET", _task_path(task_id, path), is_wait=True, headers=headers)


def cancel(task_id: str) -> Request:
    """Make `POST /v1/tasks/{id}/cancel`."""
    return Request("POST", _task_path(task_id, "/cancel"))


def _waiting(task_id: str, rest: str, wait: float | None, headers: Mapping[str, str] | None = None) -> Request:
    query = f"?wait={_options.milliseconds(wait)}" if wait else ""
    return Request("GET", _task_path(task_id, rest + query), is_wait=bool(wait), headers=headers or {})


def batch(
    model: str,
    metadata: Mapping[str, Any] | None,
    idempotency_key: str | None,
    cache: CacheUse | None,
    traceparent: str | None = None,
) -> Request:
    """Make `POST /v1/batches`, but for its lines; with a fresh idempotency key where none is given."""
    headers = {
        "content-type": "application/x-ndjson",
        "idempotency-key": _options.idempotency_key(idempotency_key),
        **_options.cache_control(cache),
        **_trace.headers(traceparent),
    }
    if metadata is not None:
        text = json.dumps(json.loads(_json(dict(metadata), "metadata")), separators=(",", ":"))
        if len(text) > _HEADER_MAX:
            raise ValueError(f"metadata of a batch is a header, of at most {_HEADER_MAX} characters, not {len(text)}")
        headers["cresset-metadata"] = text
    return Request("POST", "/v1/batches" + _query(model=model), is_wait=True, headers=headers)


def batch_status(batch_id: str) -> Request:
    """Make `GET /v1/batches/{id}`."""
    return Request("GET", _batch_path(batch_id, ""))


def batch_results(batch_id: str, start: int) -> Request:
    """Make `GET /v1/batches/{id}/results`."""
    path = _batch_path(batch_id, "/results") + _query(**{"from": str(start)})
    return Request("GET", path, is_wait=True, headers={"accept": "application/x-ndjson"})


def batch_cancel(batch_id: str) -> Request:
    """Make `POST /v1/batches/{id}/cancel`."""
    return Request("POST", _batch_path(batch_id, "/cancel"))


def letters(model: str | None, limit: int, after: str | None) -> Request:
    """Make `GET /v1/dead`."""
    return Request("GET", "/v1/dead" + _query(model=model, limit=str(limit), after=after))


def letter(task_id: str) -> Request:
    """Make `GET /v1/dead/{id}`."""
    return Request("GET", _letter_path(task_id, ""))


def letter_input(task_id: str, *, as_bytes: bool) -> Request:
    """Make `GET /v1/dead/{id}/input`."""
    headers = {"accept": _BYTES_OR_JSON} if as_bytes else {}
    return Request("GET", _letter_path(task_id, "/input"), headers=headers)


def replay(task_id: str) -> Request:
    """Make `POST /v1/dead/{id}/replay`."""
    return Request("POST", _letter_path(task_id, "/replay"))


def purge_letter(task_id: str) -> Request:
    """Make `DELETE /v1/dead/{id}`."""
    return Request("DELETE", _letter_path(task_id, ""))


def purge_letters(model: str | None, before: str | None) -> Request:
    """Make `DELETE /v1/dead`: all there are when nothing is said."""
    all_ = "true" if model is None and before is None else None
    return Request("DELETE", "/v1/dead" + _query(model=model, before=before, all=all_))


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

    def parse_object() -> _T:
        value = json.loads(response.content)
        if not isinstance(value, dict):
            raise TypeError("it is not a JSON object")
        return parse(cast("dict[str, Any]", value))

    return _told(response, parse_object)


def is_tensors(response: Response) -> bool:
    """Tell whether an answer is tensors as bytes."""
    return response.headers.get("content-type", "").partition(";")[0].strip() == _safetensors.MEDIA_TYPE


def read_tensors(response: Response) -> dict[str, Packed]:
    """Read an answer that is tensors as bytes.

    Raises:
        BadAnswer: it is none.
    """
    return _told(response, lambda: _safetensors.unpack(response.content))


def read_any(response: Response) -> Any:
    """Read an answer that is any JSON.

    Raises:
        BadAnswer: it is none.
    """
    return _told(response, lambda: json.loads(response.content))


def _told(response: Response, read: Callable[[], _T]) -> _T:
    try:
        return read()
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
    return _error(problem, response)


def error_in(problem: dict[str, Any]) -> ApiError:
    """Make the exception for a problem that came in a stream."""
    return _error(problem, Response(int(problem.get("status", _SERVER_ERROR)), b""))


def raise_unless_succeeded(task: TaskStatus) -> None:
    """Raise what the end of a task means to who waits for its result.

    Raises:
        TaskRevoked, TaskFailed: it has none.
    """
    if task.status == "REVOKED":
        why = task.error.message if task.error else "it was revoked"
        raise TaskRevoked(f"task {task.id} was revoked: {why}", task)
    if task.status == "FAILURE":
        error = task.error
        why = f"{error.type}: {error.message} [{error.code}]" if error else "it does not say why"
        raise TaskFailed(f"task {task.id} failed: {why}", task)


def _error(problem: dict[str, Any], response: Response) -> ApiError:
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


def _task_path(task_id: str, rest: str) -> str:
    return f"/v1/tasks/{_segment(task_id, 'task id')}{rest}"


def _batch_path(batch_id: str, rest: str) -> str:
    return f"/v1/batches/{quote(batch_id, safe='')}{rest}"


def _letter_path(task_id: str, rest: str) -> str:
    return f"/v1/dead/{_segment(task_id, 'task id')}{rest}"


def _query(**values: str | None) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


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
