"""The backend of django.tasks, and of its backport: the same story for both."""

from __future__ import annotations

import importlib
import uuid
from datetime import timedelta

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

from cresset.django.mirror.models import InferenceTask

pytestmark = pytest.mark.django_db
KINDS = ["backport", "builtin"] if django.VERSION >= (6, 0) else ["backport"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def site(kind, server):
    """The module with the site's tasks."""
    return importlib.import_module(f"site_tasks_{kind}")


@pytest.fixture
def framework(kind):
    return importlib.import_module({"backport": "django_tasks", "builtin": "django.tasks"}[kind])


@pytest.fixture
def exceptions(framework):
    return importlib.import_module(f"{framework.__name__}.exceptions")


@pytest.fixture
def backend(site, framework):
    return framework.task_backends[site.BACKEND]


def test_the_function_makes_the_input_and_the_model_the_result(site, server):
    result = site.greet.enqueue("Ada", greeting="hi")
    assert server.submitted("upper") == ["hi Ada"]
    assert (result.status, result.args, result.kwargs) == ("READY", ["Ada"], {"greeting": "hi"})
    assert result.enqueued_at is not None
    uuid.UUID(result.id)
    server.start_pending()
    result.refresh()
    assert (result.status, result.started_at is not None, result.attempts) == ("RUNNING", True, 1)
    server.run_pending()
    result.refresh()
    assert (result.status, result.return_value, result.is_finished) == ("SUCCESSFUL", "HI ADA", True)
    assert result.finished_at >= result.started_at


def test_a_function_that_makes_none_has_its_argument_taken(site, server, exceptions):
    site.shout.enqueue("one")
    site.shout.enqueue(text="two")
    assert server.submitted("upper") == ["one", {"text": "two"}]
    invalid = getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError
    with pytest.raises(invalid, match="nothing returned no input"):
        site.nothing.enqueue(1, 2)


def test_another_process_gets_the_result_by_its_id(site, server):
    made = site.greet.enqueue("Ada")
    server.run_pending()
    found = site.greet.get_result(made.id)
    assert (found.task.func, found.task.queue_name, found.task.priority) == (site.greet.func, "loud", 9)
    assert (found.return_value, found.args, found.kwargs, found.backend) == ("HELLO ADA", ["Ada"], {}, site.BACKEND)


def test_from_async_code(site, server):
    async def story():
        result = await site.agreet.aenqueue("Ada")
        server.run_pending()
        found = await site.agreet.aget_result(result.id)
        await result.arefresh()
        return found, result

    found, result = async_to_sync(story)()
    assert found.return_value == result.return_value == "AHOY ADA"
    assert site.agreet.enqueue("Bob").status == "READY"
    assert server.submitted("upper")[-1] == "ahoy Bob"


def test_a_failure_is_told_with_its_exception(site, server):
    result = site.boom.enqueue(1)
    server.run_pending()
    result.refresh()
    assert result.status == "FAILED"
    (error,) = result.errors
    assert error.exception_class is ZeroDivisionError
    assert "it went off" in error.traceback
    with pytest.raises(ValueError, match="failed"):
        result.return_value


def test_a_cancelled_task_has_failed(site, server):
    from cresset import TaskRevoked

    result = site.shout.enqueue("x")
    server.revoke(result.id)
    result.refresh()
    assert (result.status, result.errors[0].exception_class) == ("FAILED", TaskRevoked)


def test_priority_and_run_after_are_the_servers(site, server):
    later = timezone.now() + timedelta(hours=1)
    result = site.shout.using(priority=42, run_after=later).enqueue("x")
    task = server.client().task(result.id).status()
    assert (task.priority, task.eta) == (42, later)
    assert server.run_pending() == 0
    server.advance(3600)
    assert server.run_pending() == 1


def test_what_is_not_its_own_does_not_exist(site, server, exceptions, backend):
    unknown = exceptions.TaskResultDoesNotExist
    for task_id in (str(uuid.uuid4()), "nonsense"):
        with pytest.raises(unknown):
            backend.get_result(task_id)
    with server.client() as direct:
        plain = direct.submit("upper", "x").id
        forged = direct.submit("upper", "x", metadata={"site_task": "os.system:forged"}).id
    for task_id in (plain, forged):
        with pytest.raises(unknown, match="is none that TASKS"):
            backend.get_result(task_id)


def test_the_result_of_another_function_is_a_mismatch(site, server, exceptions):
    result = site.shout.enqueue("x")
    mismatch = exceptions.TaskResultMismatch
    with pytest.raises(mismatch):
        site.greet.get_result(result.id)


def test_large_arguments_are_not_kept_and_the_task_is_known_all_the_same(site, server):
    import random

    text = random.Random(1).randbytes(9000).hex()
    made = site.shout.enqueue(text)
    server.run_pending()
    found = site.shout.get_result(made.id)
    assert (found.args, found.return_value) == ([], text.upper())


def test_enqueue_on_commit(site, server, backend, monkeypatch, django_capture_on_commit_callbacks):
    monkeypatch.setattr(backend, "options", {**backend.options, "ENQUEUE_ON_COMMIT": True})
    with django_capture_on_commit_callbacks(execute=True), transaction.atomic():
        result = site.shout.enqueue("x")
        assert (result.id, server.submitted()) == ("", [])
    assert server.submitted() == ["x"]
    result.refresh()
    assert result.status == "READY"
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        site.shout.enqueue("lost")
        raise ZeroDivisionError
    assert server.submitted() == ["x"]


def test_the_framework_hears_of_it_and_the_table_has_it(site, server, framework):
    heard = []

    def hear(task_result, **_what):
        heard.append(task_result.id)

    signal = importlib.import_module(f"{framework.__name__}.signals").task_enqueued
    signal.connect(hear)
    try:
        result = site.shout.enqueue("x")
    finally:
        signal.disconnect(hear)
    assert heard == [result.id]
    assert str(InferenceTask.objects.get().pk) == result.id


def test_the_flags(backend):
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority


def test_a_context_is_refused(framework, site, exceptions):
    invalid = getattr(exceptions, "InvalidTask", None) or exceptions.InvalidTaskError
    with pytest.raises(invalid, match="there is no context"):
        framework.task(queue_name="upper", backend=site.BACKEND, takes_context=True)(with_context)


def with_context(context):
    return None


@pytest.mark.parametrize(
    ("params", "identifier", "hint"),
    [
        ({"QUEUES": ["a"], "OPTIONS": {"model": {}}}, "cresset.E011", "did you mean 'MODELS'?"),
        ({"QUEUES": ["a"], "OPTIONS": {"MODELS": "a"}}, "cresset.E012", '{"default": "digits"}'),
        ({}, "cresset.W013", '"QUEUES": ["digits"]'),
    ],
)
def test_mistakes_in_the_settings_are_told(backend, params, identifier, hint):
    (found,) = type(backend)("default", params).check()
    assert found.id == identifier
    assert hint in found.hint


def test_sound_settings_are_not_complained_of(backend):
    assert list(backend.check()) == []
    assert list(type(backend)("default", {"OPTIONS": {"MODELS": {"default": "digits"}}}).check()) == []


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="this Django has the framework")
def test_an_older_django_is_told_of_the_backport_and_celery_looks_past_the_module() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"needs Django 6\.0; .* cresset\.django\.backport") as caught:
        importlib.import_module("cresset.django.tasks")
    # What celery.loaders.base.find_related_module holds against the module's name before it goes on.
    assert caught.value.name == "cresset.django.tasks"
