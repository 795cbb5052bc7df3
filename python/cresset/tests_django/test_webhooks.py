"""The receiver of webhooks. Messages are signed here as Standard Webhooks says, not by the code that checks them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest

from cresset.django import signals, submit
from cresset.django.mirror.models import InferenceTask

pytestmark = pytest.mark.django_db
KEY = b"0123456789abcdef0123456789abcdef"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
OTHER = "whsec_" + base64.b64encode(b"another key of some length......").decode()


@pytest.fixture(autouse=True)
def secret(settings):
    settings.CRESSET = {**settings.CRESSET, "WEBHOOK_SECRET": [OTHER, SECRET]}


def deliver(client, kind, data, key=KEY, at=None):
    sent = str(int(time.time() if at is None else at))
    body = json.dumps({"type": kind, "timestamp": "2026-01-31T08:00:00Z", "data": data}).encode()
    signature = base64.b64encode(hmac.digest(key, b"msg_1." + sent.encode() + b"." + body, hashlib.sha256)).decode()
    headers = {"webhook-id": "msg_1", "webhook-timestamp": sent, "webhook-signature": f"v1,{signature}"}
    return client.post("/inference/webhook", body, content_type="application/json", headers=headers)


def test_the_end_of_a_task_is_told_to_the_site_and_written_to_its_row(client, server):
    heard = []

    def hear(task, **_what):
        heard.append(task.result)

    handle = submit("upper", "a")
    server.run_pending()
    data = dict(handle.status().raw)
    signals.task_finished.connect(hear)
    try:
        assert deliver(client, "task.succeeded", data).status_code == 204
        assert deliver(client, "task.succeeded", data).status_code == 204
    finally:
        signals.task_finished.disconnect(hear)
    assert heard == ["A", "A"]
    assert InferenceTask.objects.get().status == "SUCCESS"


def test_what_the_message_leaves_out_is_asked_for(client, server):
    handle = submit("boom", "a")
    server.run_pending()
    assert deliver(client, "task.failed", {"task_id": handle.id}).status_code == 204
    assert InferenceTask.objects.get().error_message == "it went off"


def test_what_is_no_end_changes_no_row_and_is_told(client, server):
    heard = []

    def hear(event, **_what):
        heard.append(event.type)

    handle = submit("upper", "a")
    signals.webhook_received.connect(hear)
    try:
        assert deliver(client, "task.started", dict(handle.status().raw)).status_code == 204
        assert deliver(client, "webhook.test", {}).status_code == 204
    finally:
        signals.webhook_received.disconnect(hear)
    assert heard == ["task.started", "webhook.test"]
    assert InferenceTask.objects.get().status == "PENDING"


@pytest.mark.parametrize("change", [{"key": b"k" * 32}, {"at": time.time() - 3600}])
def test_who_did_not_sign_it_or_sends_an_old_one_is_refused(client, server, change):
    handle = submit("upper", "a")
    server.run_pending()
    refused = deliver(client, "task.succeeded", dict(handle.status().raw), **change)
    assert (refused.status_code, refused.json()["code"]) == (401, "bad_signature")
    assert InferenceTask.objects.get().status == "PENDING"
    assert client.post("/inference/webhook", b"{}", content_type="application/json").status_code == 401
    assert client.get("/inference/webhook").status_code == 405


def test_without_a_secret_nothing_is_believed(client, server, settings):
    settings.CRESSET = {**settings.CRESSET, "WEBHOOK_SECRET": None}
    assert deliver(client, "webhook.test", {}).json()["code"] == "no_secret"


def test_a_receiver_that_fails_has_it_sent_again(client, server):
    def fail(**_what):
        raise RuntimeError("the receiver is broken")

    client.raise_request_exception = False
    signals.webhook_received.connect(fail)
    try:
        assert deliver(client, "webhook.test", {}).status_code == 500
    finally:
        signals.webhook_received.disconnect(fail)
