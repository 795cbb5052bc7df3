"""The plain views: submit, poll, cancel, and whose task it is."""

from __future__ import annotations

import json
import uuid

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from django.test.utils import override_script_prefix

from cresset.django import owners, signals, submit, submit_on_commit
from cresset.testing import MockServer

pytestmark = pytest.mark.django_db


def post(client, text="hi", path="/inference/models/upper/tasks", **more):
    return client.post(path, {"input": text}, content_type="application/json", **more)


def test_submit_poll_and_result(client, server):
    made = post(client)
    assert made.status_code == 202
    body = made.json()
    assert body == {
        "task_id": body["task_id"],
        "status": "PENDING",
        "model": "upper",
        "url": f"/inference/tasks/{body['task_id']}",
        "events_url": f"/inference/tasks/{body['task_id']}/events",
        "cancel_url": f"/inference/tasks/{body['task_id']}/cancel",
    }
    assert made["Location"] == body["url"]
    assert client.get(body["url"]).json()["status"] == "PENDING"
    server.run_pending()
    shown = client.get(body["url"])
    assert shown["Cache-Control"] == "no-store"
    assert (shown.json()["status"], shown.json()["result"], shown.json()["metadata"]) == ("SUCCESS", "HI", None)


def test_a_tasks_urls_are_those_of_the_site_as_it_is_now(client, server):
    def url(path):
        return client.post(path, {"text": "hi"}).json()["url"]

    task_id = url("/backwards").rpartition("/")[2][::-1]
    assert client.get(f"/backwards/{task_id[::-1]}").json()["task_id"] == task_id
    first, second = (url("/shout").rpartition("/") for _ in range(2))
    assert first[0] == second[0] == "/inference/tasks"
    assert first[2] != second[2]
    with override_script_prefix("/under/"):  # as WSGI does for a site that is mounted there
        assert url("/shout").startswith("/under/inference/tasks/")
    assert url("/shout").startswith("/inference/tasks/")


def test_a_failure_is_shown(client, server):
    url = post(client, path="/inference/models/boom/tasks").json()["url"]
    server.run_pending()
    shown = client.get(url).json()
    assert (shown["status"], shown["error"]["message"]) == ("FAILURE", "it went off")


def test_a_view_of_the_site_turns_a_form_into_the_input(client, server):
    made = client.post("/shout", {"text": "hello"})
    assert made.status_code == 202
    server.run_pending()
    shown = client.get(made.json()["url"]).json()
    assert (shown["result"], shown["priority"]) == ("HELLO", 7)
    refused = client.post("/shout", {})
    assert (refused.status_code, refused.json()["detail"]) == (400, "text is missing")
    assert refused["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("body", "detail"),
    [("{", "not JSON"), ("[]", '{"input": ...}'), ('{"inputs": 1}', '{"input": ...}'), ('{"input": NaN}', "no NaN")],
)
def test_a_body_without_an_input_is_refused(client, server, body, detail):
    refused = client.post("/inference/models/upper/tasks", body, content_type="application/json")
    assert (refused.status_code, refused.json()["code"]) == (400, "malformed_body")
    assert detail in refused.json()["detail"]
    assert server.submitted() == []


def test_only_models_that_are_named_can_be_asked(client, server):
    assert post(client, path="/inference/models/secret/tasks").status_code == 404
    assert server.submitted() == []


def test_a_task_is_its_owners_alone(client, server, ada, bob):
    client.force_login(ada)
    body = post(client).json()
    client.force_login(bob)
    for answer in (
        client.get(body["url"]),
        client.get(body["url"], {"wait": "10"}),
        client.delete(body["url"]),
        client.post(body["cancel_url"]),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_task")
    client.logout()
    assert client.get(body["url"]).status_code == 404
    client.force_login(ada)
    assert client.get(body["url"]).status_code == 200


def test_an_unknown_task_looks_like_somebody_elses(client, server, ada, bob):
    client.force_login(ada)
    theirs = post(client).json()["task_id"]
    client.force_login(bob)
    unknown = str(uuid.uuid4())
    answers = [client.get(f"/inference/tasks/{task_id}").content.decode() for task_id in (theirs, unknown)]
    assert answers[0].replace(theirs, unknown) == answers[1]


def test_a_visitor_keeps_their_task_when_they_sign_in(client, server, ada):
    url = post(client).json()["url"]
    assert client.get(url).status_code == 200
    client.force_login(ada)
    assert client.get(url).status_code == 200
    client.cookies.clear()
    assert client.get(url).status_code == 404


def test_an_owner_that_was_forged_is_none(client, server, ada):
    client.force_login(ada)
    with server.client() as direct:
        forged = direct.submit("upper", "x", metadata={owners.METADATA_KEY: f"user:{ada.pk}:forged"}).id
        plain = direct.submit("upper", "x", metadata={owners.METADATA_KEY: 7}).id
    assert client.get(f"/inference/tasks/{forged}").status_code == 404
    assert client.get(f"/inference/tasks/{plain}").status_code == 404


def test_a_site_without_sessions_and_users_must_say_that_tasks_need_no_owner(server, settings, client):
    settings.MIDDLEWARE = []
    refused = post(client)
    assert (refused.status_code, refused.json()["code"]) == (403, "no_owner")
    from cresset.django import views

    request = RequestFactory().post("/", {"input": "a"}, content_type="application/json")
    made: HttpResponse = views.SubmitView.as_view(model="upper", allow_unowned=True)(request)
    task_id = json.loads(made.content)["task_id"]
    asked = RequestFactory().get("/")
    assert views.TaskView.as_view(allow_unowned=True)(asked, task_id=task_id).status_code == 200
    assert views.TaskView.as_view()(asked, task_id=task_id).status_code == 404


def test_a_view_of_one_model_shows_no_others(client, server):
    made = post(client).json()
    assert client.get(f"/other/{made['task_id']}").status_code == 404


def test_cancel(client, server):
    body = post(client).json()
    done = client.post(body["cancel_url"])
    assert (done.status_code, done.json()["cancelled"]) == (200, "before")
    assert client.get(body["url"]).json()["status"] == "REVOKED"
    again = client.delete(body["url"])
    assert again.json() == {"task_id": body["task_id"], "status": "REVOKED", "cancelled": "too_late"}


def test_csrf_is_checked(server):
    from django.test import Client

    strict = Client(enforce_csrf_checks=True)
    from django.conf import settings

    before = settings.MIDDLEWARE
    settings.MIDDLEWARE = [*before, "django.middleware.csrf.CsrfViewMiddleware"]
    try:
        assert post(strict).status_code == 403
    finally:
        settings.MIDDLEWARE = before
    assert server.submitted() == []


def test_a_wait_is_not_granted_under_wsgi_unless_told(client, server, settings):
    url = post(client).json()["url"]
    assert client.get(url, {"wait": "20s"}).json()["status"] == "PENDING"
    settings.CRESSET = {**settings.CRESSET, "MAX_WAIT": 0.05}
    assert client.get(url, {"wait": "20"}).json()["status"] == "PENDING"
    assert client.get(url, {"wait": "500ms"}).json()["status"] == "PENDING"
    server.run_pending()
    assert client.get(url, {"wait": "20"}).json()["status"] == "SUCCESS"
    for bad in ("soon", "-1", "nan"):
        assert client.get(url, {"wait": bad}).json()["code"] == "bad_query"


def test_with_nginx_waits_and_events_are_handed_over_once_the_owner_is_known(client, server, settings, ada):
    settings.CRESSET = {**settings.CRESSET, "ACCEL": "/_cresset"}
    body = post(client).json()
    waits = client.get(body["url"], {"wait": "60s"})
    assert waits["X-Accel-Redirect"] == f"/_cresset/v1/tasks/{body['task_id']}?wait=20s"
    assert not waits.has_header("Content-Type")
    events = client.get(body["events_url"])
    assert events["X-Accel-Redirect"] == f"/_cresset/v1/tasks/{body['task_id']}/events"
    assert client.get(body["url"]).json()["status"] == "PENDING"
    client.cookies.clear()
    for url in (body["url"] + "?wait=5", body["events_url"]):
        assert client.get(url).status_code == 404
        assert not client.get(url).has_header("X-Accel-Redirect")


def test_without_nginx_a_wsgi_site_has_no_events(client, server):
    refused = client.get(post(client).json()["events_url"])
    assert (refused.status_code, refused.json()["code"]) == (501, "no_events")


@pytest.mark.parametrize(
    ("code", "status", "shown", "retry"),
    [
        ("queue_full", 429, "queue_full", "7"),
        ("model_unavailable", 503, "unavailable", "7"),
        ("invalid_input", 422, "invalid_input", None),
        ("malformed_body", 500, "internal", None),
    ],
)
def test_errors_of_the_server_are_answers_of_the_site(client, server, code, status, shown, retry):
    server.refuse(code, times=9, retry_after=7 if retry else None)
    refused = post(client)
    assert (refused.status_code, refused.json()["code"], refused.get("Retry-After")) == (status, shown, retry)


def test_a_server_that_is_not_there_is_a_503_and_logged(client, settings, caplog):
    settings.CRESSET = {**settings.CRESSET, "RETRIES": 0}
    refused = post(client)
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "127.0.0.1" not in refused.content.decode()
    assert "ConnectionFailed: cannot connect" in caplog.text


def test_submit_tells_the_site(server, ada, rf):
    heard = []

    def hear(**what):
        heard.append(what)

    signals.task_submitted.connect(hear)
    request = rf.get("/")
    request.user = ada
    try:
        handle = submit("upper", "a", request=request, priority=3, metadata={"order": 7})
    finally:
        signals.task_submitted.disconnect(hear)
    (what,) = heard
    assert (what["task_id"], what["model"], what["input"], what["priority"]) == (handle.id, "upper", "a", 3)
    assert (what["owner"], what["user"], what["metadata"]) == (f"user:{ada.pk}", ada, {"order": 7})
    assert owners.read(handle.status().metadata) == f"user:{ada.pk}"
    assert owners.without(handle.status().metadata) == {"order": 7}


def test_a_receiver_that_fails_does_not_fail_the_submit(client, server, caplog):
    def fail(**_what):
        raise RuntimeError("the receiver is broken")

    signals.task_submitted.connect(fail)
    try:
        assert post(client).status_code == 202
    finally:
        signals.task_submitted.disconnect(fail)
    assert "the receiver is broken" in caplog.text


def test_the_owners_word_in_metadata_is_taken(server):
    with pytest.raises(ValueError, match="site_owner"):
        submit("upper", "a", metadata={"site_owner": "user:1"})


@pytest.mark.django_db(transaction=True)
def test_submit_on_commit(server: MockServer):
    from django.db import transaction

    ids = []
    with transaction.atomic():
        submit_on_commit("upper", "kept", then=lambda handle: ids.append(handle.id))
        assert server.submitted() == []
    assert server.submitted() == ["kept"]
    assert len(ids) == 1
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit_on_commit("upper", "lost")
        raise ZeroDivisionError
    submit_on_commit("upper", "at once")
    assert server.submitted() == ["kept", "at once"]
