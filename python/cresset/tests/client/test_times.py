"""Start, expiry, cancellation and idempotency keys, by both clients, against the stand-in server and its clock."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

import cresset
from cresset.testing import MockServer

HOUR = timedelta(hours=1)


def server(**options: Any) -> MockServer:
    return MockServer({"double": lambda x: x * 2}, **options)


def test_a_delayed_task_runs_when_its_time_has_come():
    mock = server()
    with mock.client() as client:
        at = datetime.now(timezone(timedelta(hours=9))) + HOUR
        by_eta, by_countdown = client.submit("double", 1, eta=at), client.submit("double", 2, countdown=HOUR)
        waiting = by_eta.status()
        assert (waiting.status, waiting.eta, waiting.attempts) == ("PENDING", at, 0)
        with pytest.raises(cresset.TaskTimeout):
            by_countdown.result(timeout=0)
        mock.advance(HOUR)
        assert (by_eta.result(timeout=0), by_countdown.result(timeout=0)) == (2, 4)
        ended = by_eta.status()
        assert ended.eta is None
        assert ended.started_at is not None
        assert ended.started_at >= at
        assert client.submit("double", 3, eta=at).status().status == "SUCCESS"


def test_delayed_tasks_run_in_the_order_of_their_times():
    ran: list[int] = []
    mock = MockServer({"note": ran.append})
    with mock.client() as client:
        for minutes in (30, 10, 20):
            client.submit("note", minutes, countdown=timedelta(minutes=minutes))
        mock.advance(HOUR)
    assert ran == [10, 20, 30]


def test_a_task_that_nobody_starts_in_time_is_revoked():
    mock = server(run_at_submit=False)
    with mock.client() as client:
        late, kept = client.submit("double", 1, expires=60), client.submit("double", 1, expires=HOUR)
        never = client.submit("double", 1)
        assert [handle.status().expires_at is None for handle in (late, kept, never)] == [False, False, True]
        mock.advance(60)
        assert mock.run_pending() == 2
        with pytest.raises(cresset.TaskRevoked, match="expired before it could run") as revoked:
            late.result()
        assert revoked.value.task.attempts == 0
        assert (kept.result(), never.result()) == (2, 2)


def test_a_deadline_is_for_what_waits_and_for_what_runs():
    mock = server(run_at_submit=False)
    with mock.client() as client:
        ran = client.submit("double", 1, deadline=60)
        mock.start_pending()
        waits, kept = client.submit("double", 1, deadline=60), client.submit("double", 1, deadline=HOUR)
        mock.advance(61)
        for handle, why in ((ran, "its deadline passed while it ran"), (waits, "it expired before it could run")):
            status = handle.status()
            assert status.error is not None
            assert (status.status, status.error.message) == ("REVOKED", why)
        mock.run_pending()
        assert kept.status().status == "SUCCESS"
        assert kept.status().deadline_at is not None


def test_a_delayed_task_starts_before_it_expires_however_far_the_clock_jumps():
    mock = server()
    with mock.client() as client:
        handle = client.submit("double", 1, countdown=60, expires=90)
        mock.advance(HOUR)
        assert handle.result(timeout=0) == 2


def test_times_that_make_no_sense_together_are_refused_by_the_server():
    now = datetime.now(timezone.utc)
    with server().client() as client:
        cases: list[tuple[dict[str, Any], str]] = [
            ({"countdown": 60, "expires": 60}, "it would never run"),
            ({"eta": now + HOUR, "expires": now + HOUR}, "it would never run"),
            ({"expires": now - HOUR}, "which has passed"),
        ]
        for options, text in cases:
            with pytest.raises(cresset.InvalidInput) as refused:
                client.submit("double", 1, **options)
            (error,) = refused.value.errors
            assert error.field == "expires"
            assert text in error.message


def test_a_task_is_cancelled_before_its_run_during_it_or_too_late():
    mock = server(run_at_submit=False)
    with mock.client() as client:
        during = client.submit("double", 1)
        assert mock.start_pending() == 1
        assert during.status().status == "STARTED"
        before = client.submit("double", 1)
        assert before.cancel() == cresset.Cancellation(before.id, "REVOKED", "before")
        assert client.cancel(during.id) == cresset.Cancellation(during.id, "REVOKED", "during", timedelta(seconds=30))
        assert during.cancel() == cresset.Cancellation(during.id, "REVOKED", "too_late")
        assert mock.run_pending() == 0
        for handle, attempts in ((before, 0), (during, 1)):
            with pytest.raises(cresset.TaskRevoked, match="it was cancelled") as revoked:
                handle.result()
            assert revoked.value.task.attempts == attempts
        done = client.submit("double", 1)
        mock.start_pending()
        assert mock.run_pending() == 1
        assert done.cancel() == cresset.Cancellation(done.id, "SUCCESS", "too_late")
        assert done.result() == 2
        with pytest.raises(cresset.UnknownTask):
            client.cancel("nope")


def test_what_a_cancelled_task_computes_is_thrown_away():
    handles: list[cresset.TaskHandle] = []
    mock = MockServer({"selfish": lambda _: handles[0].cancel().when}, run_at_submit=False)
    with mock.client() as client:
        handles.append(client.submit("selfish", 1))
        mock.run_pending()
        assert handles[0].wait().status == "REVOKED"


def test_one_key_is_one_task_for_each_model():
    mock = MockServer({"double": lambda x: x * 2, "negate": lambda x: -x}, run_at_submit=False)
    with mock.client() as client:
        key = 'an-"odd"-key\\'
        first = client.submit("double", 21, metadata={"a": 1}, idempotency_key=key)
        assert client.submit("double", 21, metadata={"a": 1}, countdown=5, idempotency_key=key).id == first.id
        assert mock.run_pending() == 1
        assert client.submit("double", 21, metadata={"a": 1}, idempotency_key=key).result() == 42
        others: list[tuple[int, dict[str, Any]]] = [
            (22, {"metadata": {"a": 1}}),
            (21, {}),
            (21, {"metadata": {"a": 1}, "priority": 1}),
        ]
        for value, options in others:
            with pytest.raises(cresset.IdempotencyKeyReused, match="idempotency_key_reused"):
                client.submit("double", value, idempotency_key=key, **options)
        assert client.submit("negate", 21, idempotency_key=key).id != first.id
        assert client.submit("double", 21).id != client.submit("double", 21).id
    assert mock.submitted() == [21] * 4


class Forgetful(httpx.BaseTransport):
    """Takes every request to the server, and loses the first answers."""

    def __init__(self, inner: httpx.BaseTransport, losses: int) -> None:
        self.inner = inner
        self.losses = losses

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self.inner.handle_request(request)
        if self.losses > 0:
            self.losses -= 1
            raise httpx.ReadError("connection reset")
        return answer


def test_a_submit_whose_answer_is_lost_is_still_one_task():
    mock = server()
    retries = cresset.Retries(base_delay=0)
    with cresset.Client("http://x.invalid", transport=Forgetful(mock.transport(), 3), retries=retries) as client:
        assert client.submit("double", 4).result() == 8
    assert mock.submitted() == [4]


def test_the_asyncio_client_does_all_of_it():
    async def main() -> None:
        mock = server(run_at_submit=False)
        async with mock.async_client() as client:
            delayed = await client.submit("double", 1, countdown=HOUR, expires=2 * HOUR)
            status = await delayed.status()
            assert status.eta is not None
            assert status.expires_at is not None
            assert status.expires_at - status.eta == HOUR
            keyed = await client.submit("double", 1, eta=datetime.now(timezone.utc), idempotency_key="k")
            assert (await client.submit("double", 1, idempotency_key="k")).id == keyed.id
            mock.start_pending()
            assert await delayed.cancel() == cresset.Cancellation(delayed.id, "REVOKED", "before")
            assert (await client.cancel(keyed.id)).when == "during"
            with pytest.raises(cresset.TaskRevoked):
                await keyed.result()
            with pytest.raises(ValueError, match="naive"):
                await client.submit("double", 1, expires=datetime(2026, 11, 25))  # noqa: DTZ001

    asyncio.run(main())


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("eta", "tomorrow", "must be an instant"),
        ("eta", "2026-01-31T08:00:00", "must be an instant"),
        ("countdown", "soon", "must be a duration"),
        ("countdown", True, "must be a duration"),
        ("expires", [1], "must be an instant"),
    ],
)
def test_callers_without_our_client_are_told_what_is_wrong(field: str, value: Any, text: str):
    with httpx.Client(transport=server().transport(), base_url="http://x.invalid") as client:
        answer = client.post("/v1/models/double/tasks", json={"input": 1, field: value})
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error["field"] == field
        assert text in error["message"]
        both = client.post(
            "/v1/models/double/tasks", json={"input": 1, "eta": "2099-01-31T08:00:00.5Z", "countdown": 1}
        )
        assert "given with the other" in both.text
        accepted = client.post("/v1/models/double/tasks", json={"input": 1, "countdown": "1.5m", "expires": "2h"})
        task = client.get(accepted.headers["location"]).json()
        assert (task["status"], task["retries"], task["history"]) == ("PENDING", 0, [])
