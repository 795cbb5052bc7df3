"""The core without input or output: what is sent, what is tried again, when waiting ends. Time is scripted."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import cresset
from cresset.client._core import Lost, Send
from cresset.client._messages import Response
from cresset.client._options import Retries, seconds
from scripted import Clock, Driver, answer, core, problem, task


def test_a_refused_submit_is_sent_again_after_the_time_the_server_says(clock: Clock):
    driver = Driver(
        clock,
        problem("queue_full", 429, retry_after="2"),
        problem("store_unavailable", 503, retry_after="0"),
        answer({"task_id": "t"}, 202),
    )
    assert driver.run(core().submit("m", 1, 0, None)) == "t"
    first, second = driver.slept
    assert 2.0 <= first <= 2.5
    assert 0.2 <= second <= 0.25


def test_a_refusal_that_stays_is_raised_after_the_retries(clock: Clock):
    driver = Driver(clock, *[problem("queue_full", 429, retry_after="1")] * 4)
    with pytest.raises(cresset.QueueFull) as error:
        driver.run(core(3).submit("m", 1, 0, None))
    assert (error.value.code, error.value.status, error.value.retry_after) == ("queue_full", 429, 1.0)
    assert len(driver.slept) == 3


def test_a_longer_wait_than_allowed_is_not_begun(clock: Clock):
    driver = Driver(clock, problem("queue_full", 429, retry_after="31"))
    with pytest.raises(cresset.QueueFull):
        driver.run(core().submit("m", 1, 0, None))
    assert driver.slept == []


def test_no_retries_means_none(clock: Clock):
    driver = Driver(clock, problem("overloaded", 429, retry_after="0"))
    with pytest.raises(cresset.Overloaded):
        driver.run(core(0).predict("m", 1, None, None))


@pytest.mark.parametrize(
    ("code", "status"),
    [("model_unavailable", 503), ("invalid_input", 422), ("internal", 500), ("unknown_model", 404)],
)
def test_errors_that_do_not_pass_by_themselves_are_raised_at_once(clock: Clock, code: str, status: int):
    driver = Driver(clock, problem(code, status))
    with pytest.raises(cresset.ApiError):
        driver.run(core().submit("m", 1, 0, None))
    assert driver.slept == []


def test_a_prediction_may_be_repeated_as_it_changes_nothing(clock: Clock):
    driver = Driver(clock, Lost("broke"), answer({"result": 5, "model": "m", "version": "1"}))
    assert driver.run(core().predict("m", 1, None, None)) == 5


def test_a_prediction_that_goes_on_as_a_task_is_told_with_its_id_and_is_one_task_however_often_it_is_sent(clock: Clock):
    driver = Driver(clock, Lost("broke"), answer({"task_id": "t", "model": "m", "status": "STARTED"}, 202))
    with pytest.raises(cresset.TaskTimeout, match="goes on as task t") as late:
        driver.run(core().predict("m", 1, None, None))
    assert (late.value.task_id, late.value.task) == ("t", None)
    first, second = [sent.request.headers["idempotency-key"] for sent in driver.sent]
    assert first == second


def test_cancel_is_sent_until_there_is_an_answer_and_says_when_it_came(clock: Clock):
    told = {"task_id": "t1", "status": "REVOKED", "cancelled": "during", "grace_ms": 1500}
    driver = Driver(clock, Lost("broke"), problem("store_unavailable", 503, retry_after="0"), answer(told))
    cancellation = driver.run(core().cancel("t 1"))
    assert cancellation == cresset.Cancellation("t1", "REVOKED", "during", timedelta(seconds=1.5))
    assert [(sent.request.method, sent.request.path) for sent in driver.sent] == [
        ("POST", "/v1/tasks/t%201/cancel")
    ] * 3
    with pytest.raises(cresset.UnknownTask):
        Driver(clock, problem("unknown_task", 404)).run(core().cancel("t1"))
    with pytest.raises(cresset.BadAnswer, match="cancelled"):
        Driver(clock, answer({"task_id": "t1", "status": "REVOKED"})).run(core().cancel("t1"))


def test_predict_passes_its_timeout_on_and_waits_longer_than_it(clock: Clock):
    driver = Driver(clock, answer({"result": None, "model": "m", "version": "1"}))
    assert driver.run(core().predict("m", 1, timedelta(seconds=4), None)) is None
    (sent,) = driver.sent
    assert sent.request.content == b'{"input":1,"timeout":4.0}'
    assert sent.read_timeout == 34.0


def test_waiting_polls_in_steps_until_the_end(clock: Clock):
    def full_wait(send: Send) -> Response:
        clock.now += 20
        return task(status="PENDING", result=None, finished_at=None)

    driver = Driver(clock, full_wait, full_wait, task())
    assert driver.run(core().result("t1", None, None)) == [1]
    assert [sent.request.path for sent in driver.sent] == ["/v1/tasks/t1?wait=20000ms"] * 3
    assert all(sent.request.is_wait for sent in driver.sent)
    assert driver.slept == []


def test_an_early_answer_does_not_make_it_spin(clock: Clock):
    pending = task(status="PENDING", result=None, finished_at=None)
    driver = Driver(clock, *[pending] * 6, task())
    driver.run(core().result("t1", None, None))
    assert driver.slept == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]


def test_the_timeout_is_honoured_and_carries_the_task(clock: Clock):
    def wait(send: Send) -> Response:
        clock.now += 5
        return task(status="STARTED", result=None, finished_at=None)

    driver = Driver(clock, wait)
    with pytest.raises(cresset.TaskTimeout) as error:
        driver.run(core().result("t1", 5, None))
    assert error.value.task_id == "t1"
    assert error.value.task is not None
    assert error.value.task.status == "STARTED"
    assert isinstance(error.value, TimeoutError)
    (sent,) = driver.sent
    assert sent.request.path.endswith("?wait=5000ms")
    assert sent.read_timeout <= 7.5


def test_a_timeout_of_zero_asks_once_without_waiting(clock: Clock):
    driver = Driver(clock, task())
    assert driver.run(core().result("t1", 0, None)) == [1]
    assert driver.sent[0].request.path == "/v1/tasks/t1"
    driver = Driver(clock, task(status="PENDING", finished_at=None))
    with pytest.raises(cresset.TaskTimeout):
        driver.run(core().result("t1", 0, None))


def test_a_server_that_hangs_past_the_timeout_is_a_timeout_too(clock: Clock):
    def hang(send: Send) -> Lost:
        clock.now += send.read_timeout
        return Lost("the server did not answer in time")

    with pytest.raises(cresset.TaskTimeout, match="the server has not answered"):
        Driver(clock, hang).run(core().result("t1", 5, None))


def test_waiting_rides_out_a_restart_of_the_server(clock: Clock):
    lost = Lost("cannot connect")
    driver = Driver(clock, Lost("broke"), lost, lost, task())
    assert driver.run(core().result("t1", None, None)) == [1]
    assert len(driver.slept) == 3


def test_a_server_that_stays_away_is_a_failed_connection(clock: Clock):
    driver = Driver(clock, *[Lost("cannot connect")] * 4)
    with pytest.raises(cresset.ConnectionFailed, match="cannot connect"):
        driver.run(core(3).result("t1", None, None))


def test_failed_and_revoked_tasks_raise_with_the_task(clock: Clock):
    error = {"code": "model_error", "type": "ValueError", "message": "no", "stage": "predict", "traceback": "tb"}
    failed = task(status="FAILURE", error=error)
    with pytest.raises(cresset.TaskFailed, match=r"task t1 failed: ValueError: no \[model_error\]") as caught:
        Driver(clock, failed).run(core().result("t1", None, None))
    assert caught.value.error == cresset.TaskFailure("model_error", "ValueError", "no", "predict", "tb")
    assert caught.value.task.attempts == 1
    revoked = task(status="REVOKED", error={"code": "revoked", "type": "Revoked", "message": "cancelled"})
    with pytest.raises(cresset.TaskRevoked, match="cancelled"):
        Driver(clock, revoked).run(core().result("t1", None, None))


def test_status_reads_every_field(clock: Clock):
    status = Driver(clock, task()).run(core().status("t1"))
    assert (status.id, status.model, status.version, status.status, status.result) == ("t1", "m", "2", "SUCCESS", [1])
    assert status.created_at.isoformat() == "2026-11-23T01:02:03.500000+00:00"
    assert status.started_at is None
    assert status.finished_at.isoformat() == "2026-11-23T01:02:04.123456+00:00"
    assert (status.attempts, status.priority, status.queue_position, status.metadata) == (1, -3, None, {"a": 1})
    assert status.is_final
    assert status.raw["task_id"] == "t1"


def test_status_reads_when_it_is_due_and_why_it_ran_again(clock: Clock):
    history = [{"attempt": 1, "at": "2026-11-23T01:02:04Z", "reason": "its process died"}]
    times = {"eta": "2026-11-23T02:00:00.000001Z", "expires_at": "2026-11-24T00:00:00.000000Z"}
    found = task(status="RETRY", result=None, finished_at=None, retries=2, history=history, **times)
    status = Driver(clock, found).run(core().status("t1"))
    at = datetime(2026, 11, 23, 1, 2, 4, tzinfo=timezone.utc)
    assert status.history == (cresset.Redelivery(1, at, "its process died"),)
    assert (status.retries, status.eta, status.expires_at) == (
        2,
        datetime(2026, 11, 23, 2, 0, 0, 1, tzinfo=timezone.utc),
        datetime(2026, 11, 24, tzinfo=timezone.utc),
    )
    bare = Driver(clock, task()).run(core().status("t1"))  # of a server that knows none of it
    assert (bare.retries, bare.history, bare.eta, bare.expires_at) == (0, (), None, None)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("malformed_body", 400, cresset.BadRequest),
        ("invalid_input", 422, cresset.InvalidInput),
        ("idempotency_key_reused", 422, cresset.IdempotencyKeyReused),
        ("body_too_large", 413, cresset.BodyTooLarge),
        ("unknown_model", 404, cresset.UnknownModel),
        ("unknown_task", 404, cresset.UnknownTask),
        ("expired_task", 410, cresset.ExpiredTask),
        ("queue_full", 429, cresset.QueueFull),
        ("overloaded", 429, cresset.Overloaded),
        ("client_limit", 429, cresset.Overloaded),
        ("server_full", 503, cresset.Overloaded),
        ("server_busy", 503, cresset.Overloaded),
        ("model_unavailable", 503, cresset.ModelUnavailable),
        ("predict_timeout", 504, cresset.PredictTimeout),
        ("shutting_down", 503, cresset.ShuttingDown),
        ("store_unavailable", 503, cresset.StoreUnavailable),
        ("model_error", 500, cresset.PredictFailed),
        ("non_finite_output", 500, cresset.PredictFailed),
        ("internal", 500, cresset.ServerError),
        ("a_code_of_a_later_version", 503, cresset.Unavailable),
        ("a_code_of_a_later_version", 418, cresset.BadRequest),
    ],
)
def test_every_code_has_its_exception(clock: Clock, code: str, status: int, kind: type[cresset.ApiError]):
    with pytest.raises(cresset.ApiError) as error:
        Driver(clock, problem(code, status)).run(core(0).predict("m", 1, None, None))
    assert type(error.value) is kind
    assert (error.value.code, error.value.status, error.value.detail) == (code, status, "D")
    assert str(error.value) == f"D [{code}, HTTP {status}]"


def test_wrong_fields_and_the_models_failure_come_with_the_exception(clock: Clock):
    body = {
        "code": "invalid_input",
        "errors": [{"field": "input[3]", "message": "must be a number"}],
        "request_id": "r",
    }
    with pytest.raises(cresset.InvalidInput) as invalid:
        Driver(clock, answer(body, 422)).run(core().submit("m", 1, 0, None))
    assert invalid.value.errors == (cresset.FieldError("input[3]", "must be a number"),)
    assert invalid.value.request_id == "r"
    body = {"code": "model_error", "detail": "x", "error": {"code": "model_error", "type": "E", "message": "m"}}
    with pytest.raises(cresset.PredictFailed) as failed:
        Driver(clock, answer(body, 500)).run(core().predict("m", 1, None, None))
    assert failed.value.error == cresset.TaskFailure("model_error", "E", "m")


def test_what_is_not_cresset_is_told_as_such(clock: Clock):
    page = Response(200, b"<html>hello</html>", {})
    with pytest.raises(cresset.BadAnswer, match="<html>hello"):
        Driver(clock, page).run(core().status("t"))
    with pytest.raises(cresset.BadAnswer, match="task_id"):
        Driver(clock, answer({})).run(core().submit("m", 1, 0, None))
    with pytest.raises(cresset.ServerError, match="<h1>Bad Gateway</h1>"):
        Driver(clock, Response(502, b"<h1>Bad Gateway</h1>", {})).run(core().status("t"))


def test_health_takes_503_for_an_answer_and_never_repeats(clock: Clock):
    body = {
        "ready": False,
        "stopping": True,
        "store": "full",
        "models": [{"name": "m", "state": "failed", "reason": "r"}],
    }
    health = Driver(clock, answer(body, 503, retry_after="1")).run(core().health())
    assert (health.ready, health.stopping, health.store) == (False, True, "full")
    assert health.models == (cresset.ModelHealth("m", "failed", "r"),)
    with pytest.raises(cresset.ConnectionFailed):
        Driver(clock, Lost("cannot connect")).run(core().health())
    with pytest.raises(cresset.Unavailable):
        Driver(clock, Response(503, b"no upstream", {})).run(core().health())


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda c: c.submit("m", float("nan"), 0, None), ValueError, "input is nan"),
        (lambda c: c.submit("m", {"a": [1, {2}]}, 0, None), TypeError, r"input.a\[1\] is a set"),
        (lambda c: c.submit("m", 1, 101, None), ValueError, "from -100"),
        (lambda c: c.submit("m", 1, 1.5, None), TypeError, "priority must be an int"),
        (lambda c: c.submit("", 1, 0, None), ValueError, "model name"),
        (lambda c: c.submit(7, 1, 0, None), TypeError, "model name must be text"),
        (lambda c: c.cancel(7), TypeError, "task id must be text"),
        (lambda c: c.status("../models"), None, None),
        (lambda c: c.predict("m", 1, -1, None), ValueError, "timeout must be 0 or more"),
        (lambda c: c.predict("m", 1, 0, None), ValueError, "more than 0"),
        (lambda c: c.predict("m", 1, "5s", None), TypeError, "seconds or a timedelta"),
        (lambda c: c.result("t", float("inf"), None), ValueError, "None for no limit"),
        (lambda c: c.result("t", None, "jax"), ValueError, "'numpy', 'torch' or None"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_sent(call: Any, kind: type[Exception] | None, text: str):
    flow = call(core())
    if kind is None:  # a strange id is escaped, and can name nothing else
        assert next(flow).request.path == "/v1/tasks/..%2Fmodels"
        return
    with pytest.raises(kind, match=text):
        next(flow)


def test_durations_are_seconds_or_timedeltas():
    assert seconds(timedelta(minutes=1), "x") == 60.0
    assert seconds(2, "x") == 2.0
    with pytest.raises(TypeError):
        seconds(True, "x")


def test_retries_grow_and_end():
    retries = Retries(attempts=4, base_delay=1.0, max_delay=3.0)
    delays = [retries.delay(n, None) for n in range(5)]
    assert delays[4] is None
    for delay, low in zip(delays[:4], (1, 2, 3, 3), strict=True):
        assert delay is not None
        assert low <= delay <= 1.25 * low
    with pytest.raises(ValueError, match="0 or more"):
        Retries(attempts=-1)
