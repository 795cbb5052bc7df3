"""`logging` of a model's code, as log lines of the tasks that it is about. Nothing but the standard library."""

from __future__ import annotations

import logging

from cresset._current import current

__all__ = ["TaskLogHandler"]


class TaskLogHandler(logging.Handler):
    """Writes what is logged while a batch runs as lines of its tasks, as `cresset.current().log` does.

    ```python
    class Model(cresset.Model):
        def load(self):
            logging.getLogger("mymodel").addHandler(cresset.TaskLogHandler())
    ```

    A record of `preprocess`, `postprocess` and the generator of one item is of that item, one of `predict` is of all
    items of the batch. What is logged while no batch runs is left to other handlers. The line is what the handler's
    formatter makes of the record; its level is `error` from ERROR on, `warning` from WARNING on, `info` from INFO on,
    `debug` below.

    Args:
        level: records below it are left out, as with any handler.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Fails as handlers do: into `logging`'s own report of errors."""
        try:
            context = current()
        except RuntimeError:
            return  # of no task
        try:
            context.log(self.format(record), level=_level(record.levelno))
        except Exception:  # noqa: BLE001  # whatever a formatter raises; the convention of handlers
            self.handleError(record)


def _level(number: int) -> str:
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
