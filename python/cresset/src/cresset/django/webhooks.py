"""Receives the server's webhooks: what tasks come to, without asking.

In `cresset.django.urls` as `webhook`; `callback_url` of a submit is its URL, and the setting `WEBHOOK_SECRET` has the
secret that the server signs with. Messages may come twice and in any order: receivers of the signals must bear that, as
the mirror does.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from cresset import errors, webhooks
from cresset.django import _answers as answers, conf
from cresset.django._clients import get_client
from cresset.django.signals import task_finished, webhook_received


@method_decorator(csrf_exempt, name="dispatch")
class WebhookView(View):
    """POST: 204 once the site has been told; anything else has the server try again, or tells it what is wrong."""

    http_method_names = ("post", "options")

    def post(self, request: HttpRequest, **_kwargs: Any) -> HttpResponse:
        """Check who it is from, and tell the site. A receiver that raises is a 500: the server sends it again."""
        secret = conf.get().webhook_secret
        if secret is None:
            return answers.problem(503, "no_secret", "the site has no WEBHOOK_SECRET to check a signature with")
        try:
            event = webhooks.verify(request.body, request.headers, secret)
        except webhooks.BadSignature as error:
            return answers.problem(401, "bad_signature", str(error))
        webhook_received.send(sender=None, event=event)
        if event.is_final and event.task_id is not None:
            try:
                task = event.task() or get_client().task(event.task_id).status()
            except (errors.UnknownTask, errors.ExpiredTask):
                return HttpResponse(status=204)  # it ended so long ago that there is nothing to tell
            except errors.CressetError as error:
                return answers.of_error(error)
            task_finished.send(sender=None, task=task)
        return HttpResponse(status=204)
