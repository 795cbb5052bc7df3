"""Tasks written into the inbox of a server whose store the site can write into: in the transaction that is open.

So there is a task if and only if that transaction commits, and its id is known at once. The server does the rest when
it sees the row: what it would refuse a submit for is then a task that has failed.
"""

from __future__ import annotations

import json
import os
import re
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.db import connections

from cresset import _times
from cresset._json import NotJsonError, encode
from cresset.django import _clients, conf

if TYPE_CHECKING:
    from collections.abc import Mapping

VENDORS: Final = ("postgresql", "mysql")
_HTTP_ONLY: Final = {
    "idempotency_key": "a row is written once, with its transaction",
    "cache": "rows say nothing of the result cache",
    "traceparent": "rows carry no trace",
}
"""Options of a submit that a row has no place for, and why it needs none."""
_LAST_TIMESTAMP: Final = datetime(2038, 1, 19, 3, 14, 7, tzinfo=timezone.utc)
"""What MySQL's TIMESTAMP goes up to; of what is beyond it would make NULL."""
_COLUMNS: Final = "id, model, input, priority, eta, expires, deadline, metadata, retry, callback_url, callback_events"


def database() -> str | None:
    """Give the alias of the database that submits are written into; `None` when they go to the server.

    Nor are they written where a test has put a stand-in for the server: it runs them at once, and has no database.
    """
    return None if _clients.is_stand_in() else conf.get().inbox


def table(alias: str) -> str:
    """Give the table's name, as this database has it."""
    schema = conf.get().inbox_schema
    return f"`{schema}`.inbox" if connections[alias].vendor == "mysql" else f'"{schema}".inbox'


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
    values, row = _MADE[connections[alias].vendor](row)
    with connections[alias].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table(alias)} ({_COLUMNS}) VALUES ({values})", row)  # noqa: S608  # a checked name
    return str(task)


def _for_postgresql(row: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    kinds = ("uuid", "text", "json", "int", *["timestamptz"] * 3, "json", "json", "text", "text[]")
    return ", ".join(f"%s::{kind}" for kind in kinds), row


def _for_mysql(row: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    task, model, text, priority, eta, expires, deadline, metadata, retry, url, events = row
    # The time zone of the session is whatever the site has; the number of a second is the same in each.
    values = ", ".join(["%s"] * 4 + ["FROM_UNIXTIME(%s)"] * 3 + ["%s"] * 4)
    times = (_seconds(name, at) for name, at in (("eta", eta), ("expires", expires), ("deadline", deadline)))
    said = (_ascii(metadata), _ascii(retry), url, _json(events))
    return values, (str(task), model, _ascii(text), priority, *times, *said)


_MADE: Final = {"postgresql": _for_postgresql, "mysql": _for_mysql}
"""How a row's values are written, for each kind of database."""


def _seconds(name: str, at: datetime | None) -> Decimal | None:
    """Give the seconds since 1970, which MySQL makes a TIMESTAMP of."""
    if at is None:
        return None
    if at > _LAST_TIMESTAMP:
        raise ValueError(f"{name} is {at.isoformat()}; a TIMESTAMP of MySQL ends at {_LAST_TIMESTAMP.isoformat()}")
    micros = (at - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)
    return Decimal(micros).scaleb(-6)


def _ascii(text: str | None) -> str | None:
    """Write JSON without what a connection may be unable to say: not all of them speak utf8mb4."""
    return text and re.sub(r"[^\x00-\x7f]", lambda found: json.dumps(found[0])[1:-1], text)


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
