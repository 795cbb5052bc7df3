"""Submitting from a site: the client's submit, with the owner written into the task, and the site told of it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import DEFAULT_DB_ALIAS, transaction

from cresset.django import _inbox, owners
from cresset.django._clients import get_async_client, get_client
from cresset.django.signals import task_submitted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from django.http import HttpRequest

    from cresset.client import AsyncTaskHandle, TaskHandle


def submit(
    model: str,
    input: Any,  # noqa: A002  # the word of the API
    *,
    request: HttpRequest | None = None,
    owner: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> TaskHandle:
    """Submit a task from the site.

    Args:
        model: the model's name.
        input: as in `cresset.Client.submit`.
        request: whoever made it owns the task: the views of this app show it to nobody else.
        owner: instead of a request, such as `"user:42"`.
        metadata: as in `cresset.Client.submit`.
        options: the others of `cresset.Client.submit`: `priority`, `countdown`, `expires`, `idempotency_key`, ...

    With the setting `INBOX` the task is written into the server's database instead, in the transaction that is open: it
    is there if and only if that commits. What a submit would be refused for, such as an input that does not fit its
    model, it fails with then.

    Returns:
        The task's handle; the task is on stable storage, with `INBOX` once the transaction has committed.

    Raises:
        CressetError, TypeError, ValueError: as in `cresset.Client.submit`.
        django.db.Error: with `INBOX`, the database refused.
        ImproperlyConfigured: the setting `CRESSET` is wrong.
    """
    owner = owners.owner_of(request) if owner is None and request is not None else owner
    stamped = owners.stamped(metadata, owner)
    if (alias := _inbox.database()) is not None:
        handle = get_client().task(_inbox.write(alias, model, input, metadata=stamped, **options))
    else:
        handle = get_client().submit(model, input, metadata=stamped, **options)
    _tell(handle.id, model, input, owner=owner, request=request, metadata=metadata, options=options)
    return handle


async def asubmit(
    model: str,
    input: Any,  # noqa: A002
    *,
    request: HttpRequest | None = None,
    owner: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncTaskHandle:
    """Submit a task from an async view; see `submit`."""
    if owner is None and request is not None:
        owner = await sync_to_async(owners.owner_of)(request)  # looks the session and the user up
    stamped = owners.stamped(metadata, owner)
    if (alias := _inbox.database()) is not None:
        write = sync_to_async(_inbox.write)
        handle = get_async_client().task(await write(alias, model, input, metadata=stamped, **options))
    else:
        handle = await get_async_client().submit(model, input, metadata=stamped, **options)
    if task_submitted.has_listeners():
        tell = sync_to_async(_tell)
        await tell(handle.id, model, input, owner=owner, request=request, metadata=metadata, options=options)
    return handle


def submit_on_commit(
    model: str,
    input: Any,  # noqa: A002
    *,
    then: Callable[[TaskHandle], object] | None = None,
    using: str | None = None,
    **options: Any,
) -> None:
    """Submit a task once the transaction that is open has committed; at once when none is. Never if it is rolled back.

    A server that cannot be reached then raises after the commit, from the end of the `atomic` block. Between the commit
    and the submit a crash of this process loses the submit, as with every `transaction.on_commit`. None of that is so
    with the setting `INBOX`, for a transaction of that database: the task is written in it, and `then` called, at once.

    Args:
        model: the model's name.
        input: as in `submit`; do not change it before the commit.
        then: called with the handle, to store the id.
        using: the database whose transaction it is. Default the default one.
        options: as in `submit`.
    """

    def go() -> None:
        handle = submit(model, input, **options)
        if then is not None:
            then(handle)

    if _inbox.database() == (using or DEFAULT_DB_ALIAS):
        go()
    else:
        transaction.on_commit(functools.partial(go), using=using)


def _tell(
    task_id: str,
    model: str,
    value: Any,
    *,
    owner: str | None,
    request: HttpRequest | None,
    metadata: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> None:
    """Send the signal. The task is there, or written: a receiver that fails (and is logged) makes it look no other."""
    user = getattr(request, "user", None)
    task_submitted.send_robust(
        sender=None,
        task_id=task_id,
        model=model,
        input=value,
        owner=owner,
        user=user if user is not None and user.is_authenticated else None,
        metadata=metadata,
        priority=options.get("priority", 0),
    )
