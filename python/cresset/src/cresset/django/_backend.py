"""A backend of `django.tasks`, and of its backport `django-tasks`: the same for both, which name their classes apart.

What a worker of Django's would do, run the task's function, Cresset does not: it runs models. So the function of a task
is what turns its arguments into the model's input, in the process that enqueues; the queue's name is the model's. A
function that returns `None` has its arguments taken as they are.
"""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core import checks
from django.core.signing import BadSignature, Signer
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from cresset import errors
from cresset.django import _inbox
from cresset.django._clients import get_async_client, get_client
from cresset.django._submit import asubmit, submit

if TYPE_CHECKING:
    from django.dispatch import Signal

    from cresset.records import TaskStatus

METADATA_KEY: Final = "site_task"
"""The key of a task's metadata that says which function of the site it is, signed: it is imported by that."""
_SALT: Final = "cresset.django.tasks"
_ARGUMENTS_MAX: Final = 4096
"""Bytes of arguments that are kept with the task: its metadata has room for 16 KiB."""
_OPTIONS: Final = ("ENQUEUE_ON_COMMIT", "MODELS")
_WORKER: Final = "cresset"


class Backend:
    """What both have in common; mixed into the framework's base class, which names its own classes here."""

    supports_defer: ClassVar = True
    supports_async_task: ClassVar = True
    supports_get_result: ClassVar = True
    supports_priority: ClassVar = True

    result_class: ClassVar[Any]
    error_class: ClassVar[Any]
    states: ClassVar[Any]
    invalid_task: ClassVar[type[Exception]]
    no_result: ClassVar[type[Exception]]
    enqueued: ClassVar[Signal]

    alias: str
    queues: set[str]
    options: Mapping[str, Any]

    def model_of(self, queue: str) -> str:
        """Give the model of a queue: what the option `MODELS` says, else the one of the same name."""
        return self.options.get("MODELS", {}).get(queue, queue)

    def validate_task(self, task: Any) -> None:
        """Refuse what cannot be: see the framework's."""
        super().validate_task(task)  # pyright: ignore[reportAttributeAccessIssue]
        if task.takes_context:
            raise self.invalid_task("Cresset runs a model, not the function: there is no context to be taken.")

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Submit the task; with the option `ENQUEUE_ON_COMMIT` once the transaction that is open has committed.

        Until then the result has no id (it is empty), and gets it with the commit. With the setting `INBOX` the task is
        part of the transaction, whatever the option says, and has its id at once.
        """
        self.validate_task(task)
        value = self._input(task, task.call(*args, **kwargs), args, kwargs)
        result = self._result(task, args, kwargs)
        metadata, options = self._metadata(result), self._order(task)

        def go() -> None:
            handle = submit(self.model_of(task.queue_name), value, metadata=metadata, **options)
            self._accepted(result, handle.id)

        if self.options.get("ENQUEUE_ON_COMMIT", False) and _inbox.database() is None:
            transaction.on_commit(go)
        else:
            go()
        return result

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        """Submit the task from async code; in a thread where transactions matter (`ENQUEUE_ON_COMMIT`, `INBOX`)."""
        if self.options.get("ENQUEUE_ON_COMMIT", False) or _inbox.database() is not None:
            return await sync_to_async(self.enqueue)(task, args, kwargs)
        self.validate_task(task)
        value = self._input(task, await task.acall(*args, **kwargs), args, kwargs)
        result = self._result(task, args, kwargs)
        handle = await asubmit(
            self.model_of(task.queue_name), value, metadata=self._metadata(result), **self._order(task)
        )
        await sync_to_async(self._accepted)(result, handle.id)
        return result

    def get_result(self, result_id: str) -> Any:
        """Ask how a task stands."""
        try:
            status = get_client().task(result_id).status()
        except (errors.UnknownTask, errors.ExpiredTask) as error:
            raise self.no_result(str(error)) from error
        return self._known(status)

    async def aget_result(self, result_id: str) -> Any:
        """Ask how a task stands, from async code."""
        try:
            status = await get_async_client().task(result_id).status()
        except (errors.UnknownTask, errors.ExpiredTask) as error:
            raise self.no_result(str(error)) from error
        return await sync_to_async(self._known)(status)  # it may import the site's module

    def check(self, **_kwargs: Any) -> Iterator[checks.CheckMessage]:
        """Look at the backend's settings."""
        where = f"TASKS[{self.alias!r}]"
        models = self.options.get("MODELS", {})
        for name in self.options:
            if name not in _OPTIONS:
                near = difflib.get_close_matches(str(name).upper(), _OPTIONS, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(_OPTIONS)}"
                yield checks.Error(f"{where} has no option {name!r}", hint=hint, id="cresset.E011")
        if not isinstance(models, dict):
            hint = '"OPTIONS": {"MODELS": {"default": "digits"}}'
            yield checks.Error(f"{where}: MODELS is not a dict of queues to models", hint=hint, id="cresset.E012")
        elif "default" in self.queues and "default" not in models:
            yield checks.Warning(
                f"{where} sends the queue 'default' to a model of that name",
                hint='name the models: "QUEUES": ["digits"], or "OPTIONS": {"MODELS": {"default": "digits"}}',
                id="cresset.W013",
            )

    def _input(self, task: Any, returned: Any, args: Any, kwargs: Any) -> Any:
        if returned is not None:
            return returned
        if len(args) == 1 and not kwargs:
            return args[0]
        if kwargs and not args:
            return dict(kwargs)
        raise self.invalid_task(
            f"{task.module_path} returned no input for its model; without one it takes one positional argument, "
            "or only named ones"
        )

    def _order(self, task: Any) -> dict[str, Any]:
        eta = task.run_after
        if eta is not None and not settings.USE_TZ and timezone.is_naive(eta):
            eta = timezone.make_aware(eta, timezone.get_default_timezone())
        return {"priority": task.priority, "eta": eta}

    def _metadata(self, result: Any) -> dict[str, Any]:
        told: dict[str, Any] = {"path": result.task.module_path, "backend": self.alias, "queue": result.task.queue_name}
        whole = {**told, "args": result.args, "kwargs": result.kwargs}
        signed = Signer(salt=_SALT).sign_object(whole, compress=True)
        if len(signed) > _ARGUMENTS_MAX:
            signed = Signer(salt=_SALT).sign_object(told)
        return {METADATA_KEY: signed}

    def _result(self, task: Any, args: Any, kwargs: Any) -> Any:
        return self.result_class(
            task=task,
            id="",
            status=self.states.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )

    def _accepted(self, result: Any, task_id: str) -> None:
        # As the framework's own backends do: to the caller it is read-only.
        object.__setattr__(result, "id", task_id)
        object.__setattr__(result, "enqueued_at", timezone.now())
        self.enqueued.send(type(self), task_result=result)

    def _known(self, status: TaskStatus) -> Any:
        told = self._told(status)
        try:
            task: Any = import_string(told["path"])
        except ImportError as error:
            raise self.no_result(f"task {status.id} is of {told['path']}, which the site has no more") from error
        task = task.using(queue_name=told["queue"], priority=status.priority, run_after=status.eta)
        result = self._result(task, told.get("args", ()), told.get("kwargs", {}))
        now = {
            "id": status.id,
            "status": self._state(status),
            "enqueued_at": status.created_at,
            "started_at": status.started_at,
            "last_attempted_at": status.started_at,
            "finished_at": status.finished_at,
            "errors": self._errors(status),
            "worker_ids": [_WORKER] * status.attempts,
            "_return_value": status.result,
        }
        for name, value in now.items():
            object.__setattr__(result, name, value)
        return result

    def _told(self, status: TaskStatus) -> dict[str, Any]:
        signed = (status.metadata or {}).get(METADATA_KEY)
        try:
            told: dict[str, Any] = Signer(salt=_SALT).unsign_object(signed) if isinstance(signed, str) else {}
        except BadSignature:
            told = {}
        if told.get("backend") != self.alias:
            raise self.no_result(f"task {status.id} is none that TASKS[{self.alias!r}] enqueued")
        return told

    def _state(self, status: TaskStatus) -> Any:
        by_name = {"STARTED": self.states.RUNNING, "SUCCESS": self.states.SUCCESSFUL}
        failed = status.status in ("FAILURE", "REVOKED")
        return self.states.FAILED if failed else by_name.get(status.status, self.states.READY)

    def _errors(self, status: TaskStatus) -> list[Any]:
        error = status.error
        if error is None:
            return []
        kind = getattr(builtins, error.type, None)
        known = isinstance(kind, type) and issubclass(kind, Exception)
        ours = "TaskRevoked" if status.status == "REVOKED" else "TaskFailed"
        return [
            self.error_class(
                exception_class_path=f"builtins.{error.type}" if known else f"cresset.errors.{ours}",
                traceback=error.traceback or f"{error.type}: {error.message}",
            )
        ]
