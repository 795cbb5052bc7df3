"""Webhooks: what a Cresset server tells of tasks, checked before it is believed.

```python
from cresset import webhooks

try:
    event = webhooks.verify(request.body, request.headers, "whsec_...")
except webhooks.BadSignature:
    return HttpResponse(status=400)
if seen_before(event.id):  # the same event may come twice: after a lost answer, or a replay
    return HttpResponse(status=204)
print(event.type, event.task_id, event.data.get("result"))
```

The messages are signed as Standard Webhooks says: any library for that verifies them too. This module needs nothing but
the standard library.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from cresset import _times
from cresset.errors import BadSignature
from cresset.records import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["BadSignature", "Event", "verify"]

_ID: Final = "webhook-id"
_TIMESTAMP: Final = "webhook-timestamp"
_SIGNATURE: Final = "webhook-signature"
_PREFIX: Final = "whsec_"
_SIGNATURES_MAX: Final = 32
"""Signatures of one message that are looked at: a sender has one for each of its secrets, which are few."""


@dataclass(frozen=True)
class Event:
    """What was told, by whom is known."""

    id: str
    """Its name, the same however often it is sent: an event whose name is known has been dealt with."""
    type: str
    """`task.started`, `task.retried`, `task.succeeded`, `task.failed`, `task.revoked`, or `webhook.test`."""
    timestamp: datetime
    """When it happened, aware."""
    data: Mapping[str, Any]
    """The task as `GET /v1/tasks/{id}` answers it; a result that is too large is left out (`result_omitted`)."""

    @property
    def task_id(self) -> str | None:
        """The task that it tells of; `None` for a test."""
        value = self.data.get("task_id")
        return None if value is None else str(value)

    @property
    def is_final(self) -> bool:
        """True when the task has ended: nothing more is told of it."""
        return self.type in ("task.succeeded", "task.failed", "task.revoked")

    def task(self) -> TaskStatus | None:
        """Give the whole task; `None` unless it has ended, and was still kept when this was sent."""
        return TaskStatus.of(self.data) if self.is_final and "created_at" in self.data else None


def verify(
    body: bytes | bytearray | memoryview,
    headers: Mapping[str, str],
    secret: str | Iterable[str],
    *,
    tolerance: float | timedelta = 300.0,
) -> Event:
    """Check that a message is from a server with this secret, as it was sent, and sent just now; give what it tells.

    Args:
        body: the request's body, byte for byte as it came (`request.body`, `await request.body()`), not parsed.
        headers: the request's headers; their names may be written in any case.
        secret: `whsec_...`, as the server has it. Several, while one is exchanged for another: any will do.
        tolerance: how long ago or ahead, by our clock, it may have been sent. Every try is sent and signed anew.
            Default 300 seconds.

    Returns:
        The event. Messages are sent at least once: look at its `id` before acting on it.

    Raises:
        BadSignature: a header is missing, it is signed with another secret, it was changed, or it is too old.
        ValueError: a secret is none, or the tolerance is negative: a mistake of ours, not of the sender.
        TypeError: the body is not bytes.
    """
    if not isinstance(body, (bytes, bytearray, memoryview)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"body must be the bytes as they came, not {type(body).__name__}")
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise ValueError("secret must be one or more texts that begin with whsec_; there are none")
    seconds = tolerance.total_seconds() if isinstance(tolerance, timedelta) else tolerance
    if not seconds >= 0 or math.isinf(seconds):
        raise ValueError(f"tolerance must be 0 or more seconds, not {tolerance}")
    content = bytes(body)
    name, sent, signatures = (_header(headers, wanted) for wanted in (_ID, _TIMESTAMP, _SIGNATURE))
    # The signature first: what is said about a time that nobody signed means nothing.
    _check_signature(f"{name}.{sent}.".encode() + content, keys, signatures)
    _check_time(sent, seconds)
    return _read(name, content)


def _header(headers: Mapping[str, str], wanted: str) -> str:
    value = headers.get(wanted)
    if value is None:
        value = next((value for name, value in headers.items() if name.lower() == wanted), None)
    if not value:
        raise BadSignature(f"the header {wanted} is missing")
    return value


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        raise ValueError(f"a secret begins with {_PREFIX}")
    try:
        key = base64.b64decode(secret[len(_PREFIX) :], validate=True)
    except binascii.Error:
        raise ValueError(f"what follows {_PREFIX} in a secret is base64") from None
    if not key:
        raise ValueError(f"nothing follows {_PREFIX} in a secret")
    return key


def _check_signature(signed: bytes, keys: list[bytes], signatures: str) -> None:
    wanted = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)) for key in keys]
    found = False
    for signature in signatures.split(" ")[:_SIGNATURES_MAX]:
        version, _, value = signature.partition(",")
        if version == "v1":
            given = value.encode()
            # All of them, each in constant time: how long it takes tells nothing of how near a guess is.
            for one in wanted:
                found |= hmac.compare_digest(one, given)
    if not found:
        raise BadSignature("no signature of the message is by the secret: it is from somebody else, or was changed")


def _check_time(sent: str, tolerance: float) -> None:
    if not (sent.isascii() and sent.isdigit()):
        raise BadSignature(f"the header {_TIMESTAMP} is no number of seconds")
    age = time.time() - int(sent)
    if abs(age) > tolerance:
        way = "ago" if age > 0 else "from now"
        raise BadSignature(f"the message was sent {abs(age):.0f} seconds {way}, and {tolerance:.0f} are allowed")


def _read(name: str, body: bytes) -> Event:
    try:
        value: Any = json.loads(body)
        kind, at, data = value["type"], _times.from_text(value["timestamp"]), value["data"]
    except (ValueError, KeyError, TypeError):
        kind = at = data = None
    if not isinstance(kind, str) or at is None or not isinstance(data, dict):
        raise BadSignature("the message is signed, and is not one of a Cresset server")
    return Event(name, kind, at, cast("dict[str, Any]", data))
