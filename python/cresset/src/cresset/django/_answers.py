"""What the views answer, in Cresset's own form: tasks as JSON, errors as problems (RFC 9457) with Cresset's codes."""

from __future__ import annotations

import contextlib
import logging
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse
from django.utils.translation import get_language

from cresset import errors
from cresset.django import conf, owners

if TYPE_CHECKING:
    from cresset.records import Cancellation, TaskStatus

_log = logging.getLogger("cresset.django")
_UNAVAILABLE: Final = 503
_RETRY_AFTER_S: Final = 2
"""Said when the server could not be reached: about how long a restart takes."""
_WAIT_ASGI_S: Final = 20.0
"""The longest long poll under ASGI unless told. Below what proxies cut off as idle."""
_ANSWERED: Final = frozenset(
    ("invalid_input", "idempotency_key_reused", "body_too_large", "queue_full", "expired_task", "unknown_task")
)
"""Codes that are the caller's affair, or tell when to come back; the others are the site's own, and become a 503."""

_ANY_ID: Final = "0196b1d2-5c3e-7a41-9f60-3d8e7c25ab14"
"""Stands for a task's id in a URL. None has it: this one was made up."""
_SHAPES_MAX: Final = 256
"""URLs kept: a site has one or two for each language and each prefix that it is under."""


def accepted(request: HttpRequest, task_id: str, model: str, name: str) -> JsonResponse:
    """Answer a submit: 202, with where to go on."""
    urls = urls_of(request, task_id, name)
    body = {"task_id": task_id, "status": "PENDING", "model": model, **urls}
    return JsonResponse(body, status=202, headers={"Location": urls["url"], "Cache-Control": "no-store"})


def urls_of(request: HttpRequest, task_id: str, name: str) -> dict[str, str]:
    """Give a task's URLs on this site: of the task itself, and of its events and its cancellation if it has such.

    Raises:
        NoReverseMatch: there is no URL of that name.
    """
    match = request.resolver_match
    here = match.namespace if match else None
    shapes = _shapes(name, here, get_script_prefix(), get_urlconf() or settings.ROOT_URLCONF, get_language())
    if shapes is None:
        return _reversed(name, here, task_id)
    return {kind: shape.replace(_ANY_ID, task_id) for kind, shape in shapes.items()}


@lru_cache(_SHAPES_MAX)
def _shapes(name: str, here: str | None, *_where: Any) -> dict[str, str] | None:
    """Give the URLs of any task, with `_ANY_ID` in them: to find three of them costs more than to store the task's row.

    `None` where a site writes ids in a way of its own. `_where`: what else decides what a URL is.
    """
    shapes = _reversed(name, here, _ANY_ID)
    return shapes if all(shape.count(_ANY_ID) == 1 for shape in shapes.values()) else None


def _reversed(name: str, here: str | None, task_id: str) -> dict[str, str]:
    given = {"task_id": task_id}
    urls = {"url": reverse(name, kwargs=given, current_app=here)}
    for suffix in ("events", "cancel"):
        with contextlib.suppress(NoReverseMatch):
            urls[f"{suffix}_url"] = reverse(f"{name}-{suffix}", kwargs=given, current_app=here)
    return urls


def task(status: TaskStatus) -> JsonResponse:
    """Answer with a task."""
    return JsonResponse(shown(status), headers={"Cache-Control": "no-store"})


def shown(status: TaskStatus) -> dict[str, Any]:
    """Give a task as the server does, without what is between the site and the server."""
    return {**status.raw, "metadata": owners.without(status.metadata)}


def cancelled(done: Cancellation) -> JsonResponse:
    """Answer a cancellation."""
    return JsonResponse({"task_id": done.id, "status": done.status, "cancelled": done.when})


def handed_over(path: str) -> HttpResponse:
    """Have nginx answer, from the internal location of the setting `ACCEL`."""
    response = HttpResponse(status=200)
    response["X-Accel-Redirect"] = f"{conf.get().accel}{path}"
    response["Cache-Control"] = "no-store"
    del response["Content-Type"]  # that of the answer itself counts
    return response


def unknown_task(task_id: str) -> HttpResponse:
    """Answer for a task that does not exist, or is somebody else's: the same, so that nobody learns which."""
    return problem(404, "unknown_task", f"there is no task {task_id}")


def meaning(
    error: errors.CressetError,
) -> tuple[int, str, str, list[dict[str, str]], float | None]:
    """Say what an error means to a caller of the site: status, code, words, wrong fields, when to come back.

    What is between the site and the server stays there, and is logged: the operator must know, callers need not.
    """
    if isinstance(error, errors.ApiError) and error.code in _ANSWERED:
        wrong = [{"field": one.field, "message": one.message} for one in error.errors]
        return error.status, error.code, error.detail, wrong, error.retry_after
    _log.error("inference failed between the site and Cresset: %s: %s", type(error).__name__, error)
    if isinstance(error, errors.BadRequest | errors.UnknownModel):  # of the site's own making
        return 500, "internal", "the site asked for something that is not there", [], None
    retry_after = error.retry_after if isinstance(error, errors.ApiError) else None
    return _UNAVAILABLE, "unavailable", "inference is not available now", [], retry_after or _RETRY_AFTER_S


def of_error(error: errors.CressetError) -> HttpResponse:
    """Answer with an error of the client."""
    status, code, detail, wrong, retry_after = meaning(error)
    return problem(status, code, detail, wrong=wrong, retry_after=retry_after)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    wrong: list[dict[str, str]] | None = None,
    retry_after: float | None = None,
) -> HttpResponse:
    """Answer with a problem document."""
    body: dict[str, Any] = {"title": code.replace("_", " ").capitalize(), "status": status, "detail": detail}
    body["code"] = code
    if wrong:
        body["errors"] = wrong
    response = JsonResponse(body, status=status, content_type="application/problem+json")
    response["Cache-Control"] = "no-store"
    if retry_after is not None:
        response["Retry-After"] = str(math.ceil(retry_after))
    return response


def wait_asked(request: HttpRequest) -> float:
    """Read the seconds of `?wait=`: `20`, `20s`, `500ms`. More than is sensible is as much as there may be.

    Raises:
        ValueError: it is neither.
    """
    text = request.GET.get("wait", "0").strip()
    number, unit = (text[:-2], 1e-3) if text.endswith("ms") else (text.removesuffix("s"), 1.0)
    try:
        asked = float(number) * unit
    except ValueError:
        asked = math.nan
    if not (math.isfinite(asked) and asked >= 0):
        raise ValueError(f"wait must be seconds, such as 20 or 500ms, not {text!r}")
    return asked


def wait_granted(request: HttpRequest, asked: float) -> float:
    """Give how long a request of the site may be held."""
    most = conf.get().max_wait
    if most is None:
        most = _WAIT_ASGI_S if hasattr(request, "scope") else 0.0
    return min(asked, most)
