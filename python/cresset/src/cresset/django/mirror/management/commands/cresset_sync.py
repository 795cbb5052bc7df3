"""`manage.py cresset_sync`: brings the table of tasks up to date. For cron, or with --watch for a supervisor."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from django.db import close_old_connections

from cresset.errors import CressetError

if TYPE_CHECKING:
    from django.core.management.base import CommandParser


class Command(BaseCommand):
    """Asks the Cresset server how the tasks stand that have not ended."""

    help = "Bring the table of inference tasks up to date with the Cresset server."

    def add_arguments(self, parser: CommandParser) -> None:
        """Say what it takes."""
        parser.add_argument("--watch", type=float, metavar="SECONDS", help="go on, with this pause, until interrupted")
        adopt = "look at the server's N newest tasks for rows that are missing"
        parser.add_argument("--adopt", type=int, default=0, metavar="N", help=adopt)

    def handle(self, *, watch: float | None, adopt: int, **_options: Any) -> None:
        """Sync once, or again and again."""
        if watch is None:
            return self._once(adopt)
        pause = threading.Event()
        try:
            while True:
                close_old_connections()
                try:
                    self._once(adopt)
                except CommandError as error:  # the server may be back the next time
                    self.stderr.write(str(error))
                pause.wait(watch)
        except KeyboardInterrupt:
            return None

    def _once(self, newest: int) -> None:
        from cresset.django.mirror import _sync

        try:
            done = _sync.sync()
            if newest:
                _sync.adopt(done, newest)
        except CressetError as error:
            raise CommandError(f"cannot ask the server: {error}") from error
        self.stdout.write(f"asked {done.asked}, ended {done.ended}, gone {done.gone}, adopted {done.adopted}")
