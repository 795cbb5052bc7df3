"""What was asked of a server and what was seen of it, in the words of a caller. Nothing here judges: see `checker`.

Times are seconds of the system's monotonic clock, which all processes of a machine share and no fault of ours moves.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, Literal

TERMINAL = ("SUCCESS", "FAILURE", "REVOKED")
#: Longest text of one field when an event is printed.
SHOWN = 200


@dataclass(frozen=True)
class Plan:
    """One submit, decided before it is sent: what is asked for, and what may come of it."""

    op: int
    model: str
    kind: str
    #: The input as it is sent, without the filling of large ones.
    input: str
    #: What a success answers, as `digest_of` tells it; none when it must not succeed.
    expected: str | None
    #: Codes with which it may fail; none when it must not.
    may_fail: tuple[str, ...] = ()
    key: str | None = None
    priority: int = 0
    #: Seconds.
    countdown: float | None = None
    expires: float | None = None
    #: Attempts that ask for another one before it succeeds.
    retries: int = 0


@dataclass(frozen=True)
class Asked:
    """A submit is about to be sent for the first time."""

    at: float
    plan: Plan


@dataclass(frozen=True)
class Answered:
    """The end of one try of a submit. A try whose answer was lost may have made a task; a refused one must not have."""

    sent: float
    at: float
    op: int
    outcome: Literal["accepted", "refused", "lost"]
    task: str | None = None
    code: str | None = None
    replayed: bool = False


@dataclass(frozen=True)
class Seen:
    """A task as it was read."""

    sent: float
    at: float
    task: str
    status: str
    #: Digest of all that must not change once a task has ended.
    end: str
    #: Digest of the result, when there is one.
    result: str | None = None
    error: str | None = None
    attempts: int = 0
    retries: int = 0
    #: Attempt numbers in the task's history, in its order.
    history: tuple[int, ...] = ()
    #: For people: what was read, cut short.
    text: str = ""


@dataclass(frozen=True)
class Missing:
    """A task that a read did not find."""

    sent: float
    at: float
    task: str
    http: int


@dataclass(frozen=True)
class Cancelled:
    """The answer to a cancel; `lost` when there was none."""

    sent: float
    at: float
    task: str
    outcome: Literal["before", "during", "too_late", "missing", "refused", "lost"]
    status: str | None = None


@dataclass(frozen=True)
class Ran:
    """A model began to compute an input."""

    at: float
    op: int
    pid: int
    #: The server whose process that is.
    server: int = 0


@dataclass(frozen=True)
class Row:
    """A task as the store of a stopped server has it."""

    task: str
    op: int | None
    state: str
    key: str | None


@dataclass(frozen=True)
class Stored:
    """All tasks of the store of a stopped server; `final` when every task had been waited for."""

    at: float
    final: bool
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Fault:
    """Something was done to the server, or begun or ended."""

    at: float
    what: str


@dataclass(frozen=True)
class Apart:
    """Servers (their process ids) that may have been taken for dead from `at` on, and did not know until `until`."""

    at: float
    until: float
    servers: tuple[int, ...]


@dataclass(frozen=True)
class Carried:
    """Tasks go to workers by a broker. Of what was once sent a copy may be there, whatever became of the task."""

    at: float


@dataclass(frozen=True)
class Wrong:
    """A fact that is an offence by itself: something left over, a stop that failed, a store that is damaged."""

    at: float
    promise: int
    rule: str
    what: str


Event = Asked | Answered | Seen | Missing | Cancelled | Ran | Stored | Fault | Apart | Carried | Wrong


class History:
    """Events in the order in which they were told; many threads may tell."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: list[Event] = []

    def tell(self, event: Event) -> None:
        with self._lock:
            self._events.append(event)

    def events(self) -> list[Event]:
        with self._lock:
            return list(self._events)


def digest_of(value: Any) -> str:
    """A short digest of a JSON value, the same for equal values."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def seen_of(sent: float, at: float, task: str, body: dict[str, Any]) -> Seen:
    """A read from the JSON of a task."""
    lasting = {k: v for k, v in body.items() if k not in ("queue_position", "metadata")}
    error = body.get("error")
    result = digest_of(body["result"]) if "result" in body else None
    shown = {k: v if len(str(v)) < SHOWN else f"{str(v)[:40]}..." for k, v in lasting.items()}
    return Seen(
        sent=sent,
        at=at,
        task=task,
        status=body["status"],
        end=digest_of(lasting),
        result=result,
        error=error["code"] if error else None,
        attempts=body["attempts"],
        retries=body["retries"],
        history=tuple(entry["attempt"] for entry in body["history"]),
        text=json.dumps(shown),
    )


def time_of(event: Event) -> float:
    return event.at


def line(event: Event, zero: float) -> str:
    """One event as one line; times count from `zero`."""
    words = [f"{event.at - zero:9.3f} {type(event).__name__:9}"]
    for field in fields(event):
        value = getattr(event, field.name)
        if field.name == "at" or value in (None, (), False):
            continue
        if field.name in ("sent", "until"):
            value = f"{value - zero:.3f}"
        if field.name == "rows":
            value = f"{len(value)} rows"
        text = str(value)
        words.append(f"{field.name}={text if len(text) <= SHOWN * 4 else text[: SHOWN * 4] + '...'}")
    return " ".join(words)


def render(events: Iterable[Event], zero: float) -> str:
    return "\n".join(line(event, zero) for event in sorted(events, key=time_of))
