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
from django.db import IntegrityError, connection, connections, transaction

from cresset.django import _inbox, asubmit, checks, owners, submit, submit_on_commit
from cresset.django.mirror.models import InferenceTask
from cresset.django.testing import fake
from cresset.records import RetryPolicy

CRATES = Path(__file__).parents[3] / "crates"
JSON = ("input", "metadata", "retry")

pytestmark = pytest.mark.django_db
on_a_server = pytest.mark.skipif(
    "connection.vendor not in ('postgresql', 'mysql')", reason="the tests' database is neither PostgreSQL nor MySQL"
)
on_postgres = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="the tests' database is not PostgreSQL")
on_mysql = pytest.mark.skipif("connection.vendor != 'mysql'", reason="the tests' database is not MySQL")


@pytest.fixture(scope="session")
def mysql_inbox(django_db_setup, django_db_blocker):
    """The table as a server makes it, in a database of its own: what makes tables ends transactions there."""
    if connection.vendor != "mysql":
        yield None
        return
    import pymysql
    from pymysql.constants import CLIENT

    where = {name: connection.settings_dict[name.upper()] for name in ("host", "user", "password")}
    name = f"test_cresset_inbox_{uuid.uuid4().hex}"
    strict = {"init_command": "SET sql_mode = 'STRICT_ALL_TABLES'", "client_flag": CLIENT.MULTI_STATEMENTS}
    with pymysql.connect(**where, **strict) as client, client.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}; USE {name}")
        sql = CRATES / "queue-mysql" / "sql"
        for script in (sql / "migrations" / "0001_tasks.sql", *sorted((sql / "inbox").glob("*.sql"))):
            cursor.execute(script.read_text())
            while cursor.nextset():
                pass
    yield name
    with pymysql.connect(**where) as client, client.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name}")


@pytest.fixture
def inbox(settings, db, mysql_inbox):
    """The table as a server makes it, and the setting that names it."""
    settings.CRESSET = {"URL": "http://127.0.0.1:1", "RETRIES": 0, "INBOX": "default"}
    if mysql_inbox:
        settings.CRESSET = {**settings.CRESSET, "INBOX_SCHEMA": mysql_inbox}
        return
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA cresset; SET LOCAL search_path TO cresset, pg_temp")
        (script,) = (CRATES / "queue-postgres" / "sql" / "migrations").glob("*_inbox.sql")
        cursor.execute(script.read_text())
        cursor.execute("SET LOCAL search_path TO DEFAULT")


def rows(*columns):
    """What is in the table; JSON as text, instants (`eta!`) in seconds since 1970."""
    is_mysql = connection.vendor == "mysql"

    def said(column):
        if column.endswith("!"):
            return f"UNIX_TIMESTAMP({column[:-1]})" if is_mysql else f"extract(epoch FROM {column[:-1]})"
        return column if is_mysql or column not in JSON else f"{column}::text"

    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(map(said, columns or ('id',)))} FROM {_inbox.table('default')} ORDER BY seq")
        return list(cursor.fetchall())


def test_an_id_is_a_uuid_of_version_7():
    before = time.time_ns() // 1_000_000
    ids = [_inbox.fresh_id() for _ in range(100)]
    assert {(one.version, one.variant) for one in ids} == {(7, uuid.RFC_4122)}
    assert before <= ids[0].int >> 80 <= time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)


@on_a_server
def test_a_submit_is_a_row_of_the_transaction_and_gone_with_it(inbox):
    with transaction.atomic():
        handle = submit("upper", {"text": "ä", "n": [1, 2.5]}, owner="user:7", metadata={"order": 3})
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit("upper", "lost")
        assert len(rows()) == 2
        raise ZeroDivisionError
    ((task, model, value, metadata),) = rows("id", "model", "input", "metadata")
    assert (str(task), model, json.loads(value)) == (handle.id, "upper", {"text": "ä", "n": [1, 2.5]})
    assert json.loads(metadata)["order"] == 3
    assert owners.read(json.loads(metadata)) == "user:7"


@on_a_server
def test_what_a_submit_says_is_in_the_row(inbox):
    eta = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=2)))
    submit(
        "upper",
        [[1.5, 2.0]],
        priority=-3,
        eta=eta,
        expires=timedelta(days=2000 // 2),
        deadline=datetime(2035, 1, 1, tzinfo=timezone.utc),
        retry=RetryPolicy(max_retries=4),
        callback_url="https://example.com/hook",
        callback_events=["failed"],
    )
    submit("upper", None, countdown=90)
    first, second = rows(
        "input", "priority", "eta!", "expires!", "deadline!", "retry", "callback_url", "callback_events"
    )
    assert (json.loads(first[0]), first[1], float(first[2])) == ([[1.5, 2.0]], -3, eta.timestamp())
    assert 999 < (float(first[3]) - time.time()) / 86_400 < 1001
    assert float(first[4]) == datetime(2035, 1, 1, tzinfo=timezone.utc).timestamp()
    assert json.loads(first[5])["max_retries"] == 4
    assert first[6] == "https://example.com/hook"
    assert first[7] in (["failed"], '["failed"]')
    assert second[0] == "null"
    assert -600 < float(second[2]) - time.time() < 100


@on_a_server
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


@on_a_server
def test_the_mirror_s_row_is_of_the_same_transaction(inbox, ada):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        submit("upper", "lost", owner=f"user:{ada.pk}")
        assert InferenceTask.objects.count() == 1
        raise ZeroDivisionError
    assert InferenceTask.objects.count() == 0


@on_a_server
def test_on_commit_is_at_once_and_async_code_writes_too(inbox):
    handles = []
    submit_on_commit("upper", "x", then=handles.append)
    assert [str(one) for (one,) in rows()] == [handles[0].id]
    handle = async_to_sync(asubmit)("upper", "y")
    assert str(rows()[-1][0]) == handle.id


@on_a_server
def test_a_task_of_django_tasks_has_its_id_before_the_commit(inbox):
    import site_tasks_backport as site

    result = site.greet.enqueue("Ada", greeting="hi")
    assert (str(uuid.UUID(result.id)), result.status) == (result.id, "READY")
    ((task, value),) = rows("id", "input")
    assert (str(task), json.loads(value)) == (result.id, "hi Ada")


@on_a_server
def test_the_view_answers_with_the_id_of_the_row(inbox, settings, client, ada):
    settings.CRESSET = {**settings.CRESSET, "MODELS": ["upper"]}
    client.force_login(ada)
    answer = client.post("/inference/models/upper/tasks", {"input": "x"}, content_type="application/json")
    assert answer.status_code == 202, answer.content
    assert answer.json()["task_id"] == str(rows()[0][0])


@on_a_server
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


@pytest.mark.skipif("connection.vendor in ('postgresql', 'mysql')", reason="it is one that will do")
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


@on_mysql
def test_any_json_and_any_instant_goes_over_any_connection(inbox):
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '-07:00'")
    try:
        eta = datetime(2030, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)
        submit("upper", {"ä": "\N{PILE OF POO}\\%s'\""}, metadata={"é": "\N{PILE OF POO}"}, eta=eta)
        ((value, metadata, found),) = rows("input", "metadata", "eta!")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = DEFAULT")
    assert json.loads(value) == {"ä": "\N{PILE OF POO}\\%s'\""}
    assert json.loads(metadata)["é"] == "\N{PILE OF POO}"
    assert float(found) == eta.timestamp()
    with pytest.raises(ValueError, match="deadline is 2040-01-01"):
        submit("upper", "x", deadline=datetime(2040, 1, 1, tzinfo=timezone.utc))


@on_mysql
def test_in_mysql_a_missing_table_and_missing_rights_are_found_too(settings, inbox):
    assert checks.check_inbox_table(databases=["default"]) == []
    there = settings.CRESSET
    settings.CRESSET = {**there, "INBOX_SCHEMA": "cresset_elsewhere"}
    (found,) = checks.check_inbox_table(databases=["default"])
    assert (found.id, "no table `cresset_elsewhere`.inbox" in found.msg) == ("cresset.E023", True)
    settings.CRESSET = there
    user = f"site_{uuid.uuid4().hex[:16]}"
    app = connection.copy("app")
    app.settings_dict = {**connection.settings_dict, "USER": user, "NAME": ""}
    connections["app"] = app
    other = connection.copy("root")
    try:
        with other.cursor() as cursor:
            cursor.execute(f"CREATE USER {user}@'%%'", [])
        (found,) = checks.inbox_mistakes("app")
        table = _inbox.table("app")
        grant = f"GRANT INSERT ON {table} TO '{user}'@'%'"
        assert (found.id, found.hint.split(";")[0]) == ("cresset.E025", grant)
        with other.cursor() as cursor:
            cursor.execute(grant)
        assert list(checks.inbox_mistakes("app")) == []
        app.close()
        _inbox.write("app", "upper", "x")
        with other.cursor() as cursor:
            cursor.execute(f"SELECT inserted_by FROM {table}")
            assert cursor.fetchone()[0].startswith(user)
            cursor.execute(f"DELETE FROM {table}")
    finally:
        app.close()
        del connections["app"]
        with other.cursor() as cursor:
            cursor.execute(f"DROP USER {user}@'%%'", [])
        other.close()
