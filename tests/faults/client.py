"""A caller that notes everything: each request, when it was sent, and what came of it. Standard library only, one
connection at a time, so that a cut connection is seen as what it is."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from typing import Any

from faults.history import Answered, Cancelled, History, Missing, Plan, Seen, seen_of
from faults.models import input_of

#: Longer than any wait that is asked for, and than a stopped server is kept stopped.
TIMEOUT = 10.0
#: Errors after which nobody knows what came of a submit: a store that failed to flush may have its task in the log.
UNCERTAIN = ("store_unavailable", "internal")


Address = tuple[str, int]


class Client:
    """One connection to one door (a server's, or the proxy's before it); to the next when it is away or refuses."""

    def __init__(self, doors: Sequence[Address], history: History, timeout: float = TIMEOUT) -> None:
        """`timeout`: seconds for each answer."""
        self._doors = list(doors)
        self._history = history
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any] | None:
        """Status and body; none when there was no whole answer."""
        sent = {"content-type": "application/json", **(headers or {})}
        if self._connection is None:
            self._connection = http.client.HTTPConnection(*self._doors[0], timeout=self._timeout)
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = self._connection.getresponse()
            text = answer.read()
            if answer.status == http.client.SERVICE_UNAVAILABLE and len(self._doors) > 1:
                self._next_door()
            elif answer.will_close:
                self.close()
            return answer.status, json.loads(text)
        except (OSError, http.client.HTTPException, ValueError):
            self._next_door()
            return None

    def _next_door(self) -> None:
        self.close()
        self._doors = [*self._doors[1:], self._doors[0]]

    def submit(self, plan: Plan, times: int, seconds: float) -> Answered:
        body: dict[str, Any] = {
            "input": input_of(plan.op, plan.kind, seconds, times),
            "metadata": {"op": plan.op},
            "priority": plan.priority,
        }
        if plan.countdown is not None:
            body["countdown"] = plan.countdown
        if plan.expires is not None:
            body["expires"] = plan.expires
        headers = {} if plan.key is None else {"idempotency-key": plan.key}
        sent = time.monotonic()
        answer = self.request("POST", f"/v1/models/{plan.model}/tasks", body, headers)
        at = time.monotonic()
        if answer is None:
            told = Answered(sent, at, plan.op, "lost")
        elif answer[0] == 202:
            told = Answered(sent, at, plan.op, "accepted", answer[1]["task_id"])
        else:
            code = str(answer[1].get("code"))
            told = Answered(sent, at, plan.op, "lost" if code in UNCERTAIN else "refused", code=code)
        self._history.tell(told)
        return told

    def read(self, task: str, wait: str | None = None) -> Seen | Missing | None:
        """A task as it is; none when that could not be learnt."""
        sent = time.monotonic()
        answer = self.request("GET", f"/v1/tasks/{task}" + (f"?wait={wait}" if wait else ""))
        at = time.monotonic()
        if answer is None:
            return None
        if answer[0] == 200:
            seen = seen_of(sent, at, task, answer[1])
            self._history.tell(seen)
            return seen
        if answer[0] in (404, 410):
            missing = Missing(sent, at, task, answer[0])
            self._history.tell(missing)
            return missing
        return None

    def cancel(self, task: str) -> None:
        sent = time.monotonic()
        answer = self.request("POST", f"/v1/tasks/{task}/cancel")
        at = time.monotonic()
        if answer is None:
            told = Cancelled(sent, at, task, "lost")
        elif answer[0] == 200:
            told = Cancelled(sent, at, task, answer[1]["cancelled"], answer[1]["status"])
        elif answer[0] in (404, 410):
            told = Cancelled(sent, at, task, "missing")
        else:
            code = str(answer[1].get("code"))
            told = Cancelled(sent, at, task, "lost" if code in UNCERTAIN else "refused", code)
        self._history.tell(told)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
