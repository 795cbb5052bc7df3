"""Tags for templates, and the browser's client that they load."""

from __future__ import annotations

import uuid

from django.contrib.staticfiles import finders
from django.template import Context, Template

TASK = uuid.UUID("018f7a00-0000-7000-8000-000000000001")


def render(text, **context):
    return Template("{% load cresset %}" + text).render(Context(context))


def test_the_client_is_loaded_as_a_module_and_is_there():
    assert render("{% cresset_client %}") == '<script type="module" src="/static/cresset/client.js"></script>'
    assert 'nonce="n&quot;1"' in render("{% cresset_client nonce=n %}", n='n"1')
    found = finders.find("cresset/client.js")
    assert found is not None
    with open(found) as file:
        assert "export async function follow(" in file.read()


def test_a_task_is_an_element_with_its_urls():
    assert render("{% cresset_task task %}", task=TASK) == (
        f'<cresset-task src="/inference/tasks/{TASK}" events="/inference/tasks/{TASK}/events"></cresset-task>'
    )
    assert 'events=""' in render('{% cresset_task task events="" %}', task=TASK)


def test_a_view_without_events_is_polled():
    assert render('{% cresset_task task url_name="other" %}', task=TASK) == (
        f'<cresset-task src="/other/{TASK}" events=""></cresset-task>'
    )
