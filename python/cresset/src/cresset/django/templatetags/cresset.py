"""Tags for templates: `{% load cresset %}`.

`{% cresset_client %}` loads the browser's client, once a page. `{% cresset_task task_id %}` is a task that shows its
state and then its result without a reload; `{% cresset_task task_id events="" %}` only polls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import template
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html

if TYPE_CHECKING:
    from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def cresset_client(nonce: str = "") -> SafeString:
    """Load the browser's client; `nonce` is for a Content-Security-Policy."""
    given = format_html(' nonce="{}"', nonce) if nonce else ""
    return format_html('<script type="module" src="{}"{}></script>', static("cresset/client.js"), given)


@register.simple_tag(takes_context=True)
def cresset_task(
    context: template.Context, task_id: Any, url_name: str = "cresset:task", events: str | None = None
) -> SafeString:
    """Show a task.

    Args:
        context: the template's.
        task_id: the task's id.
        url_name: the name of the URL of a task.
        events: the URL of its events. Default that of the name `url_name` with `-events`; empty: poll.
    """
    request = context.get("request")
    match = getattr(request, "resolver_match", None)
    here = match.namespace if match else None
    given = {"task_id": str(task_id)}
    if events is None:
        try:
            events = reverse(f"{url_name}-events", kwargs=given, current_app=here)
        except NoReverseMatch:
            events = ""
    src = reverse(url_name, kwargs=given, current_app=here)
    return format_html('<cresset-task src="{}" events="{}"></cresset-task>', src, events)
