"""Tasks written into the inbox of a server whose store is in the site's PostgreSQL: in the transaction that is open.

So there is a task if and only if that transaction commits, and its id is known at once. The server does the rest when
it sees the row: what it would refuse a submit for is then a task that has failed.
"""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections

from cresset import _times
from cresset._json import NotJsonError, encode
from cresset.django import _clients, conf

if TYPE_CHECKING:
    from collections.abc import Mapping

VENDOR: Final = "postgresql"
_HTTP_ONLY: Final = {
    "idempotency_key": "a row is written once, with its transaction",
    "cache": "rows say nothing of the result cache",
    "traceparent": "rows carry no trace",
}
"""Options of a submit that a row has no place for, and why it needs none."""
_COLUMNS: Final = "id, model, input, priority, eta, expires, deadline, metadata, retry, callback_url, callback_events"


def database() -> str | None:
    """Give the alias of the database that submits are written into; `None` when they go to the server.

    Nor are they written where a test has put a stand-in for the server: it runs them at once, and has no database.
    """
    return None if _clients.is_stand_in() else conf.get().inbox


def table() -> str:
    """Give the table's name, as SQL has it."""
    return f'"{conf.get().inbox_schema}".inbox'


def write(
    alias: str,
    model: str,
    value: Any,
    *,
    metadata: Mapping[str, Any] | None = None,
    priority: int = 0,
    **options: Any,
) -> str:
    """Write a task down, in the transaction that is open on this database; gives its id.

    Raises:
        TypeError, ValueError: as in `cresset.Client.submit`, and for what a row has no place for.
        django.db.Error: the database refused; an `IntegrityError` says what of the task cannot be.
    """
    from cresset.client import _messages as messages  # httpx is imported with it

    for name, why in _HTTP_ONLY.items():
        if options.pop(name, None) is not None:
            raise ValueError(f"{name} goes with submits by HTTP only ({conf.NAME}['INBOX'] is set): {why}")
    # The checks, and the words, of a submit by HTTP.
    order = messages.submit(model, priority, metadata, **options)
    said: dict[str, Any] = json.loads(b"{" + order.json_options[1:] + b"}")
    now = datetime.now(timezone.utc)
    try:
        text = encode(value, "input").decode()
    except NotJsonError as error:
        raise (ValueError if error.non_finite else TypeError)(str(error)) from None
    task = fresh_id()
    row = (
        task,
        model,
        text,
        priority,
        _instant(said.get("eta") or said.get("countdown"), now),
        _instant(said.get("expires"), now),
        _instant(said.get("deadline"), now),
        _json(said.get("metadata")),
        _json(said.get("retry")),
        said.get("callback_url"),
        said.get("callback_events"),
    )
    kinds = ("uuid", "text", "json", "int", *["timestamptz"] * 3, "json", "json", "text", "text[]")
    values = ", ".join(f"%s::{kind}" for kind in kinds)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table()} ({_COLUMNS}) VALUES ({values})", row)  # noqa: S608  # a checked name
    return str(task)


def fresh_id() -> UUID:
    """Make an id as the server makes them: a UUID of version 7, which begins with the time."""
    number = int.from_bytes((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big")
    return UUID(int=number & ~(0xF << 76) & ~(0x3 << 62) | 0x7 << 76 | 0x2 << 62)


def _instant(text: str | None, now: datetime) -> datetime | None:
    """Read an instant, or a span (`90ms`) from now, as the client writes them."""
    if text is None:
        return None
    if text.endswith("ms"):
        return now + timedelta(milliseconds=int(text[:-2]))
    return _times.from_text(text)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)
