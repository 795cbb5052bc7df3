"""Histories made by hand: a good one passes, and each way in which one can be bad is caught by the rule for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from faults.checker import check, report
from faults.history import (
    Answered,
    Apart,
    Asked,
    Cancelled,
    Carried,
    Event,
    Fault,
    Missing,
    Plan,
    Ran,
    Row,
    Seen,
    Stored,
    Wrong,
    digest_of,
    seen_of,
)

PLAN = Plan(op=1, model="pair", kind="echo", input="input 1", expected="right", key="key-1")
OTHER = replace(PLAN, op=2, key=None, expected="other")
ASKED = Asked(1.0, PLAN)
LOST = Answered(1.0, 1.1, 1, "lost")
ACCEPTED = Answered(1.2, 1.3, 1, "accepted", "t1")
RAN = Ran(1.4, 1, 100)
PENDING = Seen(1.35, 1.36, "t1", "PENDING", end="p")
SUCCESS = Seen(2.0, 2.1, "t1", "SUCCESS", end="e", result="right", attempts=1)
AGAIN = replace(SUCCESS, sent=3.0, at=3.1)


def stored(*rows: Row) -> Stored:
    return Stored(4.0, final=True, rows=rows)


ROW = Row("t1", 1, "SUCCESS", "key-1")
STORED = stored(ROW)
GOOD: tuple[Event, ...] = (ASKED, LOST, ACCEPTED, PENDING, RAN, SUCCESS, AGAIN, STORED)

REVOKED = Seen(2.0, 2.1, "t1", "REVOKED", end="r", error="revoked")
CANCELLED = Cancelled(1.5, 1.6, "t1", "before", "REVOKED")
STORED_REVOKED = stored(replace(ROW, state="REVOKED"))


def rules(*events: Event) -> set[str]:
    return {offence.rule for offence in check(events)}


def without(*left_out: Event) -> list[Event]:
    return [event for event in GOOD if event not in left_out]


def test_a_good_history_has_no_offences() -> None:
    assert check(GOOD) == []


def test_a_good_history_of_a_cancelled_task_has_none_either() -> None:
    assert check([ASKED, ACCEPTED, CANCELLED, REVOKED, STORED_REVOKED]) == []


def test_what_a_caller_cannot_know_is_allowed() -> None:
    """A lost submit may have made a task or none, each try without a key one; a lost cancel may have worked."""
    keyless = replace(PLAN, key=None)
    asked, rows = Asked(1.0, keyless), (Row("t1", 1, "SUCCESS", None), Row("t2", 1, "SUCCESS", None))
    assert check([asked, LOST, stored()]) == []
    assert check([asked, LOST, replace(LOST, sent=1.2), RAN, stored(*rows)]) == []
    lost = replace(CANCELLED, outcome="lost", status=None)
    assert check([ASKED, ACCEPTED, lost, REVOKED, STORED_REVOKED]) == []


def bad_histories() -> Iterator[tuple[str, str, list[Event]]]:  # noqa: PLR0915  (a table)
    other = Asked(1.0, OTHER)
    taken = Answered(1.2, 1.3, 2, "accepted", "t2")
    yield "a read misses it", "accepted_is_known", [*GOOD, Missing(2.5, 2.6, "t1", 404)]
    yield "a read calls it expired", "accepted_is_known", [*GOOD, Missing(2.5, 2.6, "t1", 410)]
    yield "the store lacks it", "accepted_is_known", [*without(STORED), stored()]
    yield "a cancel misses it", "accepted_is_known", [*GOOD, Cancelled(1.5, 1.6, "t1", "missing")]
    pending = stored(replace(ROW, state="PENDING"))
    yield "it is still queued at the end", "accepted_ends", [*without(STORED, SUCCESS, AGAIN), pending]
    yield "it was never seen ended", "accepted_ends", without(SUCCESS, AGAIN)
    yield "another result later", "ends_once", [*GOOD, replace(AGAIN, end="other")]
    yield "another state later", "ends_once", [*GOOD, replace(REVOKED, sent=3.0, at=3.1)]
    yield "it goes on after its end", "ends_once", [*GOOD, replace(PENDING, sent=3.0, at=3.1, status="STARTED")]
    earlier = Stored(3.5, final=False, rows=(replace(ROW, state="FAILURE"),))
    yield "its row ended twice", "ends_once", [*GOOD, earlier]
    stray = stored(ROW, Row("t9", 77, "SUCCESS", None))
    yield "nobody asked for it", "nothing_uncalled_for", [*without(STORED), stray]
    unmarked = stored(ROW, Row("t9", None, "SUCCESS", None))
    yield "nobody is named to have asked for it", "nothing_uncalled_for", [*without(STORED), unmarked]
    refused = Answered(1.0, 1.1, 2, "refused", code="queue_full")
    there = stored(ROW, Row("t2", 2, "SUCCESS", None))
    yield "it was refused and is there", "nothing_uncalled_for", [*without(STORED), other, refused, there]
    doubled = stored(ROW, Row("t3", 1, "SUCCESS", None))
    yield "one keyed submit made two", "nothing_uncalled_for", [*without(STORED), doubled]
    twice = stored(ROW, Row("t2", 2, "SUCCESS", None), Row("t3", 2, "SUCCESS", None))
    yield "one try made two", "nothing_uncalled_for", [*without(STORED), other, taken, twice]
    yield "two answers to one key", "one_task_per_key", [*GOOD, replace(ACCEPTED, task="t5")]
    keyed_twice = stored(ROW, replace(ROW, task="t6"))
    yield "two rows of one key", "one_task_per_key", [*without(STORED), keyed_twice]
    theirs = replace(SUCCESS, result="other", end="e")
    yield "another's result", "result_matches", [*without(SUCCESS, AGAIN), theirs]
    failed = replace(SUCCESS, status="FAILURE", result=None, error="instance_died")
    yield "an innocent input fails", "result_matches", [*without(SUCCESS, AGAIN), failed]
    yield "nobody revoked it", "revoked_for_a_reason", [ASKED, ACCEPTED, REVOKED, STORED_REVOKED]
    too_late = replace(CANCELLED, outcome="too_late", status="SUCCESS")
    yield "cancelled, and yet a success", "cancel_tells_the_truth", [*GOOD, CANCELLED]
    yield "too late, and yet revoked", "cancel_tells_the_truth", [ASKED, ACCEPTED, too_late, REVOKED, STORED_REVOKED]
    open_ = replace(CANCELLED, outcome="too_late", status="STARTED")
    yield "too late, and not ended", "cancel_tells_the_truth", [*GOOD, open_]
    runs: list[Event] = [ASKED, ACCEPTED, CANCELLED, Ran(1.7, 1, 100), REVOKED, STORED_REVOKED]
    yield "it ran after it was stopped", "cancelled_never_runs", runs
    apart = Apart(1.7, 9.0, (7,))
    yield "its server was apart only later", "cancelled_never_runs", [*runs, Ran(1.8, 1, 100, 7), apart]
    delayed = Asked(1.0, replace(PLAN, countdown=0.5))
    yield "it started early", "starts_when_due", [*without(ASKED), delayed]
    yield "a success that nobody computed", "success_has_run", without(RAN)
    retried = Asked(1.0, replace(PLAN, retries=2))
    yield "a success before its retries", "success_has_run", [*without(ASKED), retried]
    fewer = replace(AGAIN, sent=3.2, at=3.3, attempts=0)
    yield "attempts shrink", "counts_only_grow", [*GOOD, fewer]
    retry = replace(PENDING, status="RETRY", retries=1)
    yield "retries shrink", "counts_only_grow", [*without(PENDING), retry]
    known = replace(PENDING, attempts=1, history=(1,))
    yield "history shrinks", "counts_only_grow", [*without(PENDING), known]
    yield "history goes back", "counts_only_grow", [*GOOD, replace(PENDING, attempts=3, history=(2, 1))]
    yield "history runs ahead", "counts_only_grow", [*GOOD, replace(PENDING, attempts=1, history=(2,))]
    yield "something was left", "nothing_left_over", [*GOOD, Wrong(5.0, 8, "nothing_left_over", "a process")]


@pytest.mark.parametrize(
    ("rule", "events"), [(r, e) for _, r, e in bad_histories()], ids=[n for n, _, _ in bad_histories()]
)
def test_a_bad_history_is_caught(rule: str, events: list[Event]) -> None:
    assert rule in rules(*events)


def test_a_server_that_was_apart_may_run_what_was_cancelled_meanwhile() -> None:
    events = [ASKED, ACCEPTED, CANCELLED, Ran(1.7, 1, 100, 7), REVOKED, STORED_REVOKED]
    assert "cancelled_never_runs" not in rules(*events, Apart(1.4, 1.65, (7,)))
    assert "cancelled_never_runs" in rules(*events, Apart(1.4, 1.65, (8,)))


def test_a_copy_of_what_was_sent_by_a_broker_may_run_after_a_cancel() -> None:
    begun = replace(REVOKED, attempts=1)
    for ended, may in [(begun, True), (REVOKED, False)]:
        events = [ASKED, ACCEPTED, CANCELLED, Ran(1.7, 1, 100, 7), ended, STORED_REVOKED]
        assert ("cancelled_never_runs" not in rules(Carried(0.5), *events)) == may
        assert "cancelled_never_runs" in rules(*events)


def test_a_moved_clock_excuses_an_early_start() -> None:
    delayed = Asked(1.0, replace(PLAN, countdown=0.5))
    assert "starts_when_due" not in rules(*without(ASKED), delayed, Fault(1.1, "clock moved by +60.00 s"))


def test_a_report_shows_the_task_and_the_faults_around_it() -> None:
    events = [*GOOD, replace(AGAIN, end="other"), Fault(2.5, "kill -9 of the server"), Asked(1.0, OTHER)]
    [offence] = check(events)
    text = report(offence, events)
    assert "promise 2, ends_once (task t1, submit 1)" in text
    assert "kill -9 of the server" in text and "Accepted" not in text
    assert "op=2" not in text


def test_the_digest_of_an_end_leaves_out_what_may_change() -> None:
    body = {"status": "SUCCESS", "result": 1, "attempts": 1, "retries": 0, "history": [], "queue_position": None}
    first = seen_of(0, 1, "t1", body)
    assert first.end == seen_of(0, 1, "t1", {**body, "queue_position": 3}).end
    assert first.end != seen_of(0, 1, "t1", {**body, "attempts": 2}).end
    assert first.result == digest_of(1)
