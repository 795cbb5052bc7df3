"""The table of tasks: written at submit, brought up to date, looked at and acted on in the admin."""

from __future__ import annotations

import io
import uuid
from datetime import datetime, timezone

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from cresset.django import owners, signals, submit
from cresset.django.mirror import _rows
from cresset.django.mirror.models import FINAL, OPEN, InferenceTask
from cresset.records import TaskStatus

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin_page(client, django_user_model):
    client.force_login(django_user_model.objects.create_superuser("root", password="of root"))
    return client


def rows(**which):
    return InferenceTask.objects.filter(**which)


def call(name, *arguments):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_a_submit_writes_a_row(client, server, ada):
    client.force_login(ada)
    made = client.post("/inference/models/upper/tasks", {"input": "hi"}, content_type="application/json").json()
    row = InferenceTask.objects.get()
    assert (str(row.task_id), row.model, row.status, row.user, row.input) == (
        made["task_id"],
        "upper",
        "PENDING",
        ada,
        "hi",
    )


def test_an_array_is_kept_as_a_list_and_what_is_large_or_no_json_is_not(server, settings):
    class Array:
        nbytes = 16

        def tolist(self):
            return [1.0, 2.0]

    server.client().submit("upper", "x")
    settings.CRESSET = {**settings.CRESSET, "KEEP_INPUT_BYTES": 20}
    for value in (Array(), "x" * 30, {1, 2}, "short"):
        _rows.submitted(str(uuid.uuid4()), "upper", value, None)
    kept = list(rows().order_by("created_at").values_list("input", "has_input"))
    assert kept == [([1.0, 2.0], True), (None, False), (None, False), ("short", True)]


def test_a_row_is_what_the_table_would_write_itself(server, ada):
    task_id = uuid.uuid4()
    what = {"priority": 3, "metadata": {"a": ["b", None]}}
    _rows.submitted(str(task_id), "upper", {"text": "ä"}, f"user:{ada.pk}", **what)
    written = InferenceTask.objects.get()
    plain = InferenceTask(
        task_id=task_id,
        model="upper",
        owner=f"user:{ada.pk}",
        user=ada,
        input={"text": "ä"},
        has_input=True,
        created_at=written.created_at,
        synced_at=written.synced_at,
        **what,
    )
    assert written.created_at == written.synced_at
    names = [field.attname for field in InferenceTask._meta.concrete_fields]
    assert {name: getattr(written, name) for name in names} == {name: getattr(plain, name) for name in names}
    # What is missing is NULL in the database, and not the word of JSON for it.
    _rows.submitted(str(uuid.uuid4()), "upper", None, None)
    bare = InferenceTask.objects.get(owner="")
    assert (bare.input, bare.has_input, bare.metadata, bare.user) == (None, True, None, None)
    assert rows(metadata__isnull=True).count() == 1


def test_a_submit_under_a_known_key_keeps_its_row(server):
    first = submit("upper", "a", idempotency_key="k", owner="user:1")
    again = submit("upper", "a", idempotency_key="k", owner="user:1")
    assert first.id == again.id
    assert rows().count() == 1


def test_sync_asks_about_those_that_have_not_ended_and_tells_the_site(server):
    heard = []

    def hear(task, **_what):
        heard.append(task)

    submit("upper", "a")
    submit("boom", "b")
    server.run_pending()
    submit("upper", "c")
    signals.task_finished.connect(hear)
    try:
        assert "asked 3, ended 2, gone 0" in call("cresset_sync")
        assert "asked 1, ended 0" in call("cresset_sync")
    finally:
        signals.task_finished.disconnect(hear)
    assert sorted(task.status for task in heard) == ["FAILURE", "SUCCESS"]
    failed = rows(status="FAILURE").get()
    assert (failed.error_code, failed.error_message, failed.attempts) == ("model_error", "it went off", 1)
    assert failed.seconds is not None
    assert rows(status="PENDING").count() == 1


def test_a_task_that_the_server_forgot_is_gone(server):
    _rows.submitted(str(uuid.uuid4()), "upper", "x", None)
    assert "asked 1, ended 0, gone 1" in call("cresset_sync")
    assert rows().get().status == "GONE"
    assert "asked 0" in call("cresset_sync")


def test_what_comes_late_changes_no_end(server):
    handle = submit("upper", "a")
    before = handle.status()
    server.run_pending()
    ended = handle.status()
    signals.task_finished.send(sender=None, task=ended)
    assert rows().get().status == "SUCCESS"
    assert not _rows.heard(before)
    _rows.gone(rows().get().pk)
    assert rows().get().status == "SUCCESS"


def test_adopt_finds_this_sites_tasks_that_have_no_row(server, ada):
    submit("upper", "a", owner=f"user:{ada.pk}", metadata={"order": 7})
    submit("upper", "b", owner="user:999999")
    rows().delete()
    with server.client() as other:
        other.submit("upper", "of another application")
    assert "adopted 2" in call("cresset_sync", "--adopt", "100")
    assert "adopted 0" in call("cresset_sync", "--adopt", "100")
    row = rows(user=ada).get()
    assert (row.metadata, row.has_input, row.owner) == ({"order": 7}, False, f"user:{ada.pk}")
    assert rows(user=None).get().owner == "user:999999"


def test_sync_says_what_is_wrong(settings):
    _rows.submitted(str(uuid.uuid4()), "upper", "x", None)
    with pytest.raises(CommandError, match="cannot ask the server: cannot connect"):
        call("cresset_sync")
    assert rows().get().status == "PENDING"


def test_the_admin_lists_filters_and_searches(admin_page, server, ada):
    mine = submit("upper", "a", owner=f"user:{ada.pk}")
    submit("boom", "b", owner="visitor:hush")
    page = admin_page.get("/admin/cresset_mirror/inferencetask/")
    assert page.status_code == 200
    text = page.content.decode()
    assert mine.id in text
    assert "a visitor" in text
    assert "hush" not in text
    found = {"?model__exact=boom": 1, "?q=lovelace": 1, f"?q={mine.id}": 1, "?status__exact=SUCCESS": 0}
    for query, count in found.items():
        page = admin_page.get(f"/admin/cresset_mirror/inferencetask/{query}")
        assert page.context["cl"].result_count == count, query
    assert admin_page.get("/admin/cresset_mirror/inferencetask/add/").status_code == 403


def test_the_admin_shows_a_task_with_its_result(admin_page, server):
    handle = submit("upper", "<b>")
    server.run_pending()
    call("cresset_sync")
    text = admin_page.get(f"/admin/cresset_mirror/inferencetask/{handle.id}/change/").content.decode()
    assert "&lt;B&gt;" in text
    assert "<B>" not in text
    saved = admin_page.post(f"/admin/cresset_mirror/inferencetask/{handle.id}/change/", {"status": "REVOKED"})
    assert saved.status_code == 403


def act(page, action, *ids):
    data = {"action": action, "_selected_action": ids}
    answer = page.post("/admin/cresset_mirror/inferencetask/", data, follow=True)
    assert answer.status_code == 200
    return [str(message) for message in answer.context["messages"]]


def test_the_admin_cancels(admin_page, server):
    one, two = submit("upper", "a"), submit("upper", "b")
    server.start_pending()
    three = submit("upper", "c")
    server.run_pending()
    four = submit("upper", "d")
    assert act(admin_page, "cancel", one.id, two.id, three.id, four.id) == ["cancelled: 1 before, 3 too late"]
    assert rows(status="SUCCESS").count() == 3
    assert str(rows(status="REVOKED").get().pk) == four.id


def test_the_admin_runs_again_for_the_same_owner(admin_page, server, ada):
    first = submit("boom", "x", owner=f"user:{ada.pk}", metadata={"order": 7}, priority=5)
    without = str(uuid.uuid4())
    _rows.submitted(without, "upper", {1, 2}, None)
    said = act(admin_page, "run_again", first.id, without)
    assert said[-1] == "1 submitted again"
    assert "its input was not kept" in said[0]
    again = rows(rerun_of=first.id).get()
    assert (again.user, again.metadata, again.priority, again.input) == (ada, {"order": 7}, 5, "x")
    task = server.client().task(str(again.pk)).status()
    assert owners.read(task.metadata) == f"user:{ada.pk}"


def test_who_may_only_look_cannot_act(client, server, django_user_model):
    from django.contrib.auth.models import Permission

    viewer = django_user_model.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_inferencetask"))
    client.force_login(viewer)
    handle = submit("upper", "a")
    act(client, "cancel", handle.id)
    assert handle.status().status == "PENDING"
    assert act(client, "refresh", handle.id) == ["1 asked about, 0 had ended"]


def test_the_admin_says_when_the_server_is_not_there(admin_page):
    _rows.submitted(str(uuid.uuid4()), "upper", "x", None)
    (said,) = act(admin_page, "refresh", rows().get().pk)
    assert "cannot connect" in said


def test_check_asks_the_server(server):
    said = call("cresset_check")
    assert "upper: ready" in said
    assert "http://127.0.0.1:1: ready" in said
    with pytest.raises(CommandError, match="the server has no model digits; it has boom, secret, upper"):
        call("cresset_check", "digits")


def test_check_says_what_to_do_when_nobody_answers(settings):
    with pytest.raises(CommandError, match=r"cannot connect(.|\n)*Is the server running \(`cresset serve`\)"):
        call("cresset_check")


def test_a_row_tells_of_itself():
    task = TaskStatus.of(
        {
            "task_id": str(uuid.uuid4()),
            "model": "upper",
            "status": "SUCCESS",
            "created_at": "2026-01-31T08:00:00Z",
            "finished_at": "2026-01-31T08:00:02.5Z",
        }
    )
    _rows.submitted(task.id, "upper", "x", None)
    assert _rows.heard(task)
    row = rows().get()
    assert (str(row), row.seconds, row.is_final) == (f"upper {task.id}", 2.5, True)
    assert row.created_at == datetime(2026, 1, 31, 8, tzinfo=timezone.utc)


def test_the_migrations_are_those_of_the_models():
    assert "No changes" in call("makemigrations", "--check", "--dry-run")


def test_what_is_open_is_found_by_an_index_and_is_all_that_has_not_ended():
    assert sorted((*OPEN, *FINAL)) == sorted(InferenceTask.Status.values)
    if connection.vendor == "sqlite":
        assert "cresset_mirror_status" in rows(status__in=OPEN).order_by().explain()
