"""Submits that are rows of the server's inbox, in the site's own transactions. The server takes no part in these."""

from __future__ import annotations

import json
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from cresset.django import _inbox, asubmit, checks, owners, submit, submit_on_commit
from cresset.django.mirror.models import InferenceTask
from cresset.django.testing import fake
from cresset.records import RetryPolicy

MIGRATIONS = Path(__file__).parents[3] / "crates" / "queue-postgres" / "sql" / "migrations"

pytestmark = pytest.mark.django_db
on_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' database is not PostgreSQL")


@pytest.fixture
def inbox(settings, db):
    """The table as a server makes it, and the setting that names it."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA cresset; SET LOCAL search_path TO cresset, pg_temp")
        (script,) = MIGRATIONS.glob("*_inbox.sql")
        cursor.execute(script.read_text())
        cursor.execute("SET LOCAL search_path TO DEFAULT")
    settings.CRESSET = {"URL": "http://127.0.0.1:1", "RETRIES": 0, "INBOX": "default"}


def rows(columns="id"):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM cresset.inbox ORDER BY seq")
        return cursor.fetchall()


def test_an_id_is_a_uuid_of_version_7():
    before = time.time_ns() // 1_000_000
    ids = [_inbox.fresh_id() for _ in range(100)]
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert before <= ids[0].int >> 80 <= time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)


@on_postgres
def test_a_submit_is_a_row_of_the_transaction_and_gone_with_it(inbox):
    with transaction.atomic():
        handle = submit("upper", {"text": "ä", "n": [1, 2.5]}, owner="user:7", metadata={"order": 3})
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit("upper", "lost")
        assert len(rows()) == 2
        raise ZeroDivisionError
    ((task, model, value, metadata),) = rows("id, model, input::text, metadata::text")
    assert (str(task), model, json.loads(value)) == (handle.id, "upper", {"text": "ä", "n": [1, 2.5]})
    assert json.loads(metadata)["order"] == 3
    assert owners.read(json.loads(metadata)) == "user:7"


@on_postgres
def test_what_a_submit_says_is_in_the_row(inbox):
    eta = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    submit(
        "upper",
        [[1.5, 2.0]],
        priority=-3,
        eta=eta,
        expires=timedelta(days=2000 // 2),
        deadline=datetime(2040, 1, 1, tzinfo=timezone.utc),
        retry=RetryPolicy(max_retries=4),
        callback_url="https://example.com/hook",
        callback_events=["failed"],
    )
    submit("upper", None, countdown=90)
    first, second = rows(
        "input::text, priority, eta, expires - now(), deadline, retry::text, callback_url, callback_events, eta - now()"
    )
    assert (json.loads(first[0]), first[1], first[2]) == ([[1.5, 2.0]], -3, eta)
    assert timedelta(days=999) < first[3] < timedelta(days=1001)
    assert first[4] == datetime(2040, 1, 1, tzinfo=timezone.utc)
    assert json.loads(first[5])["max_retries"] == 4
    assert (first[6], first[7]) == ("https://example.com/hook", ["failed"])
    assert second[0] == "null"
    assert timedelta(seconds=80) < second[8] < timedelta(seconds=100)


@on_postgres
@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"priority": 101}, ValueError, "from -100"),
        ({"eta": datetime(2030, 1, 1)}, ValueError, "naive"),  # noqa: DTZ001
        ({"idempotency_key": "a"}, ValueError, "idempotency_key goes with submits by HTTP only"),
        ({"cache": "no-store"}, ValueError, "cache goes with submits by HTTP only"),
        ({"wait": 3}, TypeError, "wait"),
    ],
)
def test_a_mistake_is_told_at_once_and_breaks_no_transaction(inbox, options, kind, words):
    with pytest.raises(kind, match=words):
        submit("upper", "x", **options)
    with pytest.raises(ValueError, match="is nan"):
        submit("upper", [float("nan")])
    with pytest.raises(IntegrityError, match="not the name of a model"), transaction.atomic():
        submit("Upper", "x")
    assert rows() == []


@on_postgres
def test_the_mirror_s_row_is_of_the_same_transaction(inbox, ada):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit("upper", "lost", owner=f"user:{ada.pk}")
        assert InferenceTask.objects.count() == 1
        raise ZeroDivisionError
    assert InferenceTask.objects.count() == 0


@on_postgres
def test_on_commit_is_at_once_and_async_code_writes_too(inbox):
    handles = []
    submit_on_commit("upper", "x", then=handles.append)
    assert [str(one) for (one,) in rows()] == [handles[0].id]
    handle = async_to_sync(asubmit)("upper", "y")
    assert str(rows()[-1][0]) == handle.id


@on_postgres
def test_a_task_of_django_tasks_has_its_id_before_the_commit(inbox):
    import site_tasks_backport as site

    result = site.greet.enqueue("Ada", greeting="hi")
    assert (str(uuid.UUID(result.id)), result.status) == (result.id, "READY")
    ((task, value),) = rows("id, input::text")
    assert (str(task), json.loads(value)) == (result.id, "hi Ada")


@on_postgres
def test_the_view_answers_with_the_id_of_the_row(inbox, settings, client, ada):
    settings.CRESSET = {**settings.CRESSET, "MODELS": ["upper"]}
    client.force_login(ada)
    answer = client.post("/inference/models/upper/tasks", {"input": "x"}, content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert answer.json()["task_id"] == str(rows()[0][0])


@on_postgres
def test_a_stand_in_for_the_server_is_asked_instead(inbox):
    with fake({"upper": str.upper}) as server:
        assert submit("upper", "x").wait().result == "X"
        assert len(server.submitted("upper")) == 1
    assert rows() == []


@pytest.mark.parametrize(
    ("setting", "identifier", "words"),
    [
        ({"INBOX": "other"}, "cresset.E021", "DATABASES does not have"),
        ({"INBOX": 3}, "cresset.E003", "cannot be 3"),
        ({"INBOX": "default", "INBOX_SCHEMA": 'a"b'}, "cresset.E003", "INBOX_SCHEMA"),
    ],
)
def test_a_mistake_in_the_settings_is_found_without_a_database(settings, setting, identifier, words):
    settings.CRESSET = setting
    found = [*checks.check_setting(), *checks.check_inbox()]
    assert [one.id for one in found] == [identifier]
    assert words in found[0].msg


@pytest.mark.skipif("connection.vendor == 'postgresql'", reason="it is one that will do")
def test_a_database_of_another_kind_is_refused(settings):
    settings.CRESSET = {"INBOX": "default"}
    (found,) = checks.check_inbox()
    assert (found.id, found.msg) == ("cresset.E022", "CRESSET['INBOX'] is 'default', which is sqlite")


@on_postgres
def test_a_missing_table_and_missing_rights_are_found_where_the_database_may_be_asked(settings, inbox):
    def found():
        return [(one.id, one.hint) for one in checks.check_inbox_table(databases=["default"])]

    assert found() == []
    assert checks.check_inbox_table(databases=None) == []
    settings.CRESSET = {**settings.CRESSET, "INBOX_SCHEMA": "elsewhere"}
    assert [one for one, _ in found()] == ["cresset.E023"]
    settings.CRESSET = {**settings.CRESSET, "INBOX_SCHEMA": "cresset"}
    role = f"site_{uuid.uuid4().hex}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}; SET LOCAL ROLE {role}")
    assert found() == [("cresset.E024", f'GRANT USAGE ON SCHEMA "cresset" TO "{role}"')]
    with connection.cursor() as cursor:
        cursor.execute(f"RESET ROLE; GRANT USAGE ON SCHEMA cresset TO {role}; SET LOCAL ROLE {role}")
    ((identifier, hint),) = found()
    assert (identifier, hint) == ("cresset.E025", f'GRANT INSERT ON "cresset".inbox TO "{role}"')
    with pytest.raises(CommandError, match="may not write into the inbox"):
        call_command("cresset_check")
    with connection.cursor() as cursor:
        cursor.execute(f"RESET ROLE; {hint}; SET LOCAL ROLE {role}")
    assert found() == []
    _inbox.write("default", "upper", "x")
    with connection.cursor() as cursor:
        cursor.execute("RESET ROLE")
    assert len(rows()) == 1
