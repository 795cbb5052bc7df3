"""A Django site in one file, for uWSGI: its client has a connection before the fork; it tells which it has after it."""

from __future__ import annotations

import os
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="of a test",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["cresset.django"],
    CRESSET={"URL": os.environ["CRESSET_URL"]},
)

from cresset.django import get_client  # noqa: E402


def ports() -> list[int]:
    """The local ports of this process's own connections to Cresset: those that a request has just used."""
    with get_client()._pools.turn(is_wait=False) as http:  # pyright: ignore[reportPrivateUsage]
        stream: Any = http.get("/health/live").extensions["network_stream"]
        return [stream.get_extra_info("client_addr")[1]]


def ask(request: HttpRequest) -> JsonResponse:
    """Asks the model, and tells who it was that asked and by which connection."""
    word = request.GET["word"]
    answer = get_client().predict("echo", word)
    task = get_client().submit("echo", word)
    return JsonResponse(
        {
            "pid": os.getpid(),
            "answers": [answer, task.result(timeout=30)],
            "ports": ports(),
            "same_client": id(get_client()) == BEFORE["client"],
            "before": BEFORE["ports"],
            "master": BEFORE["pid"],
        }
    )


urlpatterns = [path("ask", ask)]
application = get_wsgi_application()
# In the master, before the fork.
BEFORE: dict[str, Any] = {"pid": os.getpid(), "ports": ports(), "client": id(get_client())}
KEPT = get_client()  # so that its id is nobody else's
