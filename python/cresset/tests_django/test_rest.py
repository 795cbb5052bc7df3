"""The view for Django REST framework."""

from __future__ import annotations

import pytest

from cresset.testing import MockServer

pytestmark = pytest.mark.django_db


def post(client, path="/api/shout", text="hi"):
    return client.post(path, {"text": text}, content_type="application/json")


def test_post_validates_and_submits_and_get_polls(client, server, ada):
    client.force_login(ada)
    refused = post(client, text="")
    assert (refused.status_code, list(refused.json())) == (400, ["text"])
    made = post(client)
    assert made.status_code == 202
    body = made.json()
    assert made["Location"] == body["url"] == f"/api/shout/{body['task_id']}"
    assert (body["events_url"], "cancel_url" in body) == (f"/api/shout/{body['task_id']}/events", False)
    server.run_pending()
    shown = client.get(body["url"]).json()
    assert (shown["status"], shown["result"], shown["metadata"]) == ("SUCCESS", "HI!", None)


def test_without_a_serializer_input_is_the_input(client, server, ada):
    client.force_login(ada)
    assert client.post("/api/plain", {"input": "x"}, content_type="application/json").status_code == 202
    assert client.post("/api/plain", {"in": "x"}, content_type="application/json").json() == {
        "input": ["This field is required."]
    }
    assert server.submitted() == ["x"]


def test_permissions_apply(client, server):
    assert post(client).status_code == 403
    assert server.submitted() == []


def test_a_task_is_its_owners_alone(client, server, ada, bob):
    client.force_login(ada)
    url = post(client).json()["url"]
    client.force_login(bob)
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404
    client.force_login(ada)
    assert client.delete(url).json()["cancelled"] == "before"


def test_a_view_of_one_model_shows_no_others(client, server, ada):
    client.force_login(ada)
    task_id = client.post("/api/boom", {"input": "x"}, content_type="application/json").json()["task_id"]
    assert client.get(f"/api/boom/{task_id}").status_code == 200
    assert client.get(f"/api/shout/{task_id}").status_code == 404


def test_throttles_apply_to_submits_and_not_to_polls(client, server, ada):
    from django.core.cache import cache

    cache.clear()
    client.force_login(ada)
    made = [client.post("/api/slow", {"input": "x"}, content_type="application/json") for _ in range(3)]
    assert [answer.status_code for answer in made] == [202, 202, 429]
    assert int(made[2]["Retry-After"]) > 0
    assert {client.get(made[0].json()["url"]).status_code for _ in range(5)} == {200}


def test_object_permissions_apply(client, server, ada):
    client.force_login(ada)
    url = client.post("/api/private", {"input": "x"}, content_type="application/json").json()["url"]
    assert client.get(url).status_code == 403


def test_waits_and_events(client, server, ada, settings):
    client.force_login(ada)
    body = post(client).json()
    assert client.get(body["url"], {"wait": "x"}).status_code == 400
    assert client.get(body["events_url"]).status_code == 501
    settings.CRESSET = {**settings.CRESSET, "MAX_WAIT": 0.05}
    assert client.get(body["url"], {"wait": "5"}).json()["status"] == "PENDING"
    settings.CRESSET = {**settings.CRESSET, "ACCEL": "/_cresset"}
    events = client.get(body["events_url"])
    assert events["X-Accel-Redirect"] == f"/_cresset/v1/tasks/{body['task_id']}/events"
    assert client.get(body["url"], {"wait": "5"})["X-Accel-Redirect"].endswith("?wait=5s")


@pytest.mark.parametrize(
    ("code", "status", "shown"),
    [("queue_full", 429, "7"), ("store_unavailable", 503, "7"), ("invalid_input", 422, None)],
)
def test_errors_of_the_server_are_the_frameworks(client, server, ada, code, status, shown):
    client.force_login(ada)
    server.refuse(code, retry_after=7 if shown else None)
    refused = post(client)
    assert (refused.status_code, refused.get("Retry-After")) == (status, shown)


def test_other_methods_are_refused(client, server, ada):
    client.force_login(ada)
    url = post(client).json()["url"]
    assert [client.get("/api/shout").status_code, client.delete("/api/shout").status_code] == [405, 405]
    assert client.post(url).status_code == 405
    assert client.options("/api/shout").json()["actions"]["POST"]["text"]["required"] is True


def test_an_anonymous_api_needs_sessions_or_says_that_it_needs_no_owner(client, server, settings):
    settings.MIDDLEWARE = []
    assert client.post("/api/boom", {"input": "x"}, content_type="application/json").status_code == 403
    made = client.post("/api/open", {"input": "x"}, content_type="application/json")
    assert made.status_code == 202
    assert client.get(made.json()["url"]).status_code == 200


def test_the_fake_for_the_sites_tests(client, ada):
    from cresset.django.testing import fake

    client.force_login(ada)
    with fake({"upper": str.upper}) as server:
        url = post(client).json()["url"]
        assert client.get(url).json()["result"] == "HI!"
    assert server.submitted("upper") == ["hi!"]


def test_the_fixture_for_the_sites_tests(client, ada, cresset_server: MockServer):
    client.force_login(ada)
    assert post(client).status_code == 500
    cresset_server.add("upper", str.lower)
    assert client.get(post(client, text="A").json()["url"]).json()["result"] == "a!"
