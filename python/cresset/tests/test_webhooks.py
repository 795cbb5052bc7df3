"""Webhooks are verified: what is signed is believed, and nothing else; other people's code agrees on both."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

import cresset
from cresset import webhooks

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another secret of ours, 32 bytes").decode()
ID = "evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_succeeded"
TASK = {
    "task_id": "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10",
    "model": "digits",
    "status": "SUCCESS",
    "result": 7,
    "created_at": "2026-01-31T07:59:59.000000Z",
    "metadata": {"order": 7},
}
BODY = json.dumps({"type": "task.succeeded", "timestamp": "2026-01-31T08:00:00.000000Z", "data": TASK}).encode()


def signed(body: bytes = BODY, secret: str = SECRET, at: float | None = None, name: str = ID) -> dict[str, str]:
    """The headers of a message, signed by somebody else's code."""
    when = datetime.fromtimestamp(time.time() if at is None else at, tz=timezone.utc)
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(when.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, when, body.decode()),
    }


def test_a_signed_message_is_read():
    event = webhooks.verify(BODY, signed(), SECRET)
    assert (event.id, event.type, event.is_final) == (ID, "task.succeeded", True)
    assert event.timestamp == datetime(2026, 1, 31, 8, tzinfo=timezone.utc)
    assert event.task_id == TASK["task_id"]
    assert event.data["metadata"] == {"order": 7}
    task = event.task()
    assert isinstance(task, cresset.TaskStatus)
    assert (task.id, task.result, task.status) == (TASK["task_id"], 7, "SUCCESS")


def test_the_published_example_is_signed_as_we_would(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(time, "time", lambda: 1614265330.0)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    # It is by the secret; what it says is none of ours.
    with pytest.raises(webhooks.BadSignature, match="not one of a Cresset server"):
        webhooks.verify(b'{"test": 2432232314}', headers, SECRET)


@pytest.mark.parametrize("form", [str.title, str.upper, str.lower])
def test_headers_may_be_written_in_any_case(form: Any):
    headers = {form(name): value for name, value in signed().items()}
    assert webhooks.verify(bytearray(BODY), headers, SECRET).id == ID


def test_any_of_several_secrets_and_signatures_will_do():
    both = signed(secret=OTHER)
    both["webhook-signature"] += " v1a,whatever " + signed()["webhook-signature"]
    for secret in (SECRET, OTHER, [SECRET, OTHER], (OTHER,)):
        assert webhooks.verify(BODY, both, secret).id == ID
    assert webhooks.verify(BODY, signed(secret=OTHER), iter([SECRET, OTHER])).id == ID


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_what_is_changed_or_missing_is_refused(name: str):
    for other in (None, "", "0", signed(name="evt_2")[name] + "0"):
        headers = signed()
        if other is None:
            del headers[name]
        else:
            headers[name] = other
        with pytest.raises(webhooks.BadSignature):
            webhooks.verify(BODY, headers, SECRET)


def test_a_message_of_another_is_refused():
    cases = [
        (BODY + b" ", signed(), SECRET),
        (BODY.replace(b"7", b"8", 1), signed(), SECRET),
        (BODY, signed(), OTHER),
        (BODY, {**signed(), "webhook-signature": "v1, v1,é v2," + "A" * 44}, SECRET),
    ]
    for body, headers, secret in cases:
        with pytest.raises(webhooks.BadSignature, match="from somebody else"):
            webhooks.verify(body, headers, secret)


def test_a_message_of_another_time_is_refused(monkeypatch: pytest.MonkeyPatch):
    now = int(time.time())
    # Stopped: what is told is in seconds, and one more may begin at any moment.
    monkeypatch.setattr(webhooks.time, "time", lambda: float(now))
    for at, words in ((-400, "400 seconds ago"), (400, "400 seconds from now")):
        headers = signed(at=now + at)
        with pytest.raises(webhooks.BadSignature, match=words):
            webhooks.verify(BODY, headers, SECRET)
        assert webhooks.verify(BODY, headers, SECRET, tolerance=timedelta(minutes=10))
    for when in ("12.5", "-1", "soon", "\u0661"):
        headers = signed()
        # Signed all the same: whoever has the secret may still send nonsense.
        headers["webhook-timestamp"] = when
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        import hashlib
        import hmac

        text = f"{ID}.{when}.".encode() + BODY
        headers["webhook-signature"] = "v1," + base64.b64encode(hmac.digest(key, text, hashlib.sha256)).decode()
        with pytest.raises(webhooks.BadSignature, match="no number of seconds"):
            webhooks.verify(BODY, headers, SECRET)


def test_what_is_signed_and_makes_no_sense_is_refused():
    bodies = [
        b"",
        b"[]",
        b"{}",
        b'{"type":1,"timestamp":"2026-01-31T08:00:00Z","data":{}}',
        b'{"type":"t","timestamp":"?","data":{}}',
    ]
    for body in bodies:
        with pytest.raises(webhooks.BadSignature, match="not one of a Cresset server"):
            webhooks.verify(body, signed(body), SECRET)


def test_mistakes_of_ours_are_told_as_such():
    for secret in ("hunter2", "whsec_%", "whsec_", []):
        with pytest.raises(ValueError, match="secret"):
            webhooks.verify(BODY, signed(), secret)
    for tolerance in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="tolerance must be"):
            webhooks.verify(BODY, signed(), SECRET, tolerance=tolerance)
    text: Any = BODY.decode()
    with pytest.raises(TypeError, match="body must be the bytes as they came, not str"):
        webhooks.verify(text, signed(), SECRET)


def test_a_start_and_a_test_have_no_whole_task():
    for kind, data in (
        ("task.started", TASK),
        ("webhook.test", {}),
        ("task.failed", {"task_id": "t", "expired": True}),
    ):
        body = json.dumps({"type": kind, "timestamp": "2026-01-31T08:00:00Z", "data": data}).encode()
        event = webhooks.verify(body, signed(body), SECRET)
        assert event.task() is None
        assert event.task_id == data.get("task_id")
