"""Whose task it is: written into the task's metadata, signed with the site's secret, and read from there.

So it needs no table, and nobody who can submit to the server by another way can make a task look like a visitor's of
this site. A signed-in user is `user:ID`. Anyone else is `visitor:SECRET`, a random text in their session, which stays
theirs when they sign in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from django.core.signing import BadSignature, Signer
from django.utils.crypto import get_random_string

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

METADATA_KEY: Final = "site_owner"
"""The key of a task's metadata that says it."""
_SESSION_KEY: Final = "cresset_visitor"
_SALT: Final = "cresset.django.owner"
_LETTERS: Final = 22
"""Of a visitor's secret: 131 bits."""


def owner_of(request: HttpRequest) -> str | None:
    """Give who makes a request, as the owner of what they submit; begins a session for a visitor who has none.

    Returns:
        `None` where the site has neither users nor sessions: nobody can be told from anybody else.
    """
    user = _user(request)
    if user is not None:
        return user
    session: Any = getattr(request, "session", None)
    if session is None:
        return None
    visitor = session.get(_SESSION_KEY)
    if visitor is None:
        visitor = session[_SESSION_KEY] = get_random_string(_LETTERS)
    return f"visitor:{visitor}"


def owners_of(request: HttpRequest) -> frozenset[str]:
    """Give everyone whose tasks the maker of a request may see: as a user, and as the visitor that they were before."""
    session: Any = getattr(request, "session", None)
    visitor = None if session is None else session.get(_SESSION_KEY)
    names = (_user(request), f"visitor:{visitor}" if visitor else None)
    return frozenset(name for name in names if name is not None)


def stamped(metadata: Mapping[str, Any] | None, owner: str | None) -> dict[str, Any] | None:
    """Write an owner into metadata.

    Raises:
        ValueError: the metadata has a word of its own there.
    """
    if metadata and METADATA_KEY in metadata:
        raise ValueError(f"metadata cannot have the key {METADATA_KEY!r}: the owner of a task is written there")
    if owner is None:
        return None if metadata is None else dict(metadata)
    return {**(metadata or {}), METADATA_KEY: Signer(salt=_SALT).sign(owner)}


def read(metadata: Mapping[str, Any] | None) -> str | None:
    """Read the owner out of a task's metadata; `None` when there is none, or its signature is not this site's."""
    signed = (metadata or {}).get(METADATA_KEY)
    if not isinstance(signed, str):
        return None
    try:
        return Signer(salt=_SALT).unsign(signed)
    except BadSignature:
        return None


def without(metadata: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Give metadata as the site wrote it."""
    if metadata is None:
        return None
    return {key: value for key, value in metadata.items() if key != METADATA_KEY} or None


def user_of(owner: str | None) -> str | None:
    """Give the id of the user that an owner is, if it is one."""
    kind, _, name = (owner or "").partition(":")
    return name if kind == "user" else None


def _user(request: HttpRequest) -> str | None:
    user = cast("Any", getattr(request, "user", None))
    if user is None or not user.is_authenticated:
        return None
    return f"user:{user.pk}"
