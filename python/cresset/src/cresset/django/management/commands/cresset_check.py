"""`manage.py cresset_check`: asks the server whether the site can work with it. What needs no asking, `check` finds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from cresset.django import conf
from cresset.django._clients import get_client
from cresset.django.checks import check_inbox, inbox_mistakes
from cresset.errors import CressetError

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

    from cresset.client import Client


class Command(BaseCommand):
    """Asks the Cresset server for its health and its models."""

    help = "Ask the Cresset server whether the site can work with it; fails when it cannot."
    requires_system_checks = ["cresset"]

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what it takes."""
        parser.add_argument(
            "models", nargs="*", help="models that must be ready (default: those of the setting MODELS)"
        )

    def handle(self, *, models: list[str], **_options: Any) -> None:
        """Ask."""
        try:
            wanted = models or list(conf.get().models)
            self._look_into_the_database()
            self._ask(get_client(), wanted)
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from error
        except CressetError as error:
            raise CommandError(
                f"{error}\nIs the server running (`cresset serve`), and at {conf.get().url} (CRESSET['URL'])?"
            ) from error

    def _look_into_the_database(self) -> None:
        alias = conf.get().inbox
        found = [] if alias is None else [*check_inbox(), *inbox_mistakes(alias)]
        if found:
            raise CommandError(f"{found[0].msg}\n{found[0].hint}")

    def _ask(self, client: Client, wanted: list[str]) -> None:
        client.health()  # makes the connection, so that the time is that of a request
        started = time.perf_counter()
        health = client.health()
        took = (time.perf_counter() - started) * 1e3
        self.stdout.write(
            f"{conf.get().url}: {health.state or ('ready' if health.ready else 'not ready')}, {took:.1f} ms"
        )
        by_name = {model.name: model for model in health.models}
        for model in health.models:
            told = f": {model.reason}" if model.reason else ""
            self.stdout.write(f"  {model.name}: {model.state}{told}")
        missing = [name for name in wanted if name not in by_name]
        not_ready = [name for name in wanted if name in by_name and not by_name[name].ready]
        if health.store:
            raise CommandError(f"tasks cannot be stored: {health.store}")
        if health.broker:
            raise CommandError(f"Celery's tasks do not come: {health.broker}")
        if missing:
            raise CommandError(f"the server has no model {', '.join(missing)}; it has {', '.join(by_name) or 'none'}")
        if not_ready:
            raise CommandError(f"not ready: {', '.join(not_ready)}")
        if health.stopping:
            raise CommandError("the server is stopping")
