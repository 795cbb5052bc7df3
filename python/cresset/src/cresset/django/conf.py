"""The setting `CRESSET`: what it may say, what is wrong with it, and what it means.

Read when it is first needed and kept; a test that changes it (`override_settings`) is noticed. What is wrong is found
by one function, so that the system checks and the first use say the same.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

NAME: Final = "CRESSET"
_SCHEMA: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_LONGEST_WAIT_S: Final = 60.0
"""A long poll through a site; proxies cut off what is silent for longer."""


@dataclass(frozen=True)
class Settings:
    """The setting, read."""

    url: str = "http://127.0.0.1:8700"
    """`URL`: where the Cresset server is."""
    key: str | None = None
    """`KEY`: sent as `Authorization: Bearer KEY`, for a server or a proxy in front of it that asks for one."""
    timeout: float = 10.0
    """`TIMEOUT`: seconds to connect, send, and wait for an answer that needs no computing."""
    retries: int = 2
    """`RETRIES`: how often a refused or lost request is sent again. Low: a visitor waits for it."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """`HEADERS`: sent with every request."""
    models: tuple[str, ...] = ()
    """`MODELS`: what callers of the site may name in a URL of `cresset.django.urls`. None unless told."""
    max_wait: float | None = None
    """`MAX_WAIT`: seconds that a long poll may hold a request of the site. Unless told: 20 under ASGI; 0 under WSGI,
    where every waiting caller would hold a thread."""
    accel: str | None = None
    """`ACCEL`: an internal location of nginx that leads to Cresset, as in `deploy/nginx`. Long polls and events are
    then handed to nginx, once the site has looked at whose task it is, and hold no process of the site."""
    webhook_secret: str | tuple[str, ...] | None = None
    """`WEBHOOK_SECRET`: what webhooks are signed with; several while one replaces the other."""
    inbox: str | None = None
    """`INBOX`: the alias in `DATABASES` of the PostgreSQL database that the server keeps its tasks in, or of a database
    in the same MySQL or MariaDB. Submits are then rows of its inbox, written in the transaction that is open: there is
    a task if and only if that commits."""
    inbox_schema: str = "cresset"
    """`INBOX_SCHEMA`: the schema that the server has there (`?schema=` of its `store.url`); in MySQL and MariaDB the
    database that its `store.url` names."""
    keep_input_bytes: int = 65536
    """`KEEP_INPUT_BYTES`: the mirror keeps inputs of up to this many bytes of JSON, so that a task can be run again."""


@dataclass(frozen=True)
class Wrong:
    """One mistake in the setting."""

    id: str
    message: str
    hint: str


@functools.cache
def get() -> Settings:
    """Give the settings.

    Raises:
        ImproperlyConfigured: something in them is wrong; the message has every mistake.
    """
    value: Any = getattr(settings, NAME, {})
    found = list(mistakes(value))
    if found:
        raise ImproperlyConfigured("; ".join(f"{wrong.message} ({wrong.hint})" for wrong in found))
    given = {name.lower(): item for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(given.get("timeout"), timedelta):
        given["timeout"] = given["timeout"].total_seconds()
    if isinstance(given.get("max_wait"), timedelta):
        given["max_wait"] = given["max_wait"].total_seconds()
    for name in ("models", "webhook_secret"):
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
    if given.get("accel"):
        given["accel"] = given["accel"].rstrip("/")
    return Settings(**given)


def mistakes(value: Any) -> Iterator[Wrong]:
    """Give everything that is wrong with the setting."""
    if not isinstance(value, dict):
        yield Wrong(
            "cresset.E001", f"{NAME} is a {type(value).__name__}, not a dict", f'{NAME} = {{"URL": "http://..."}}'
        )
        return
    for name, item in cast("dict[Any, Any]", value).items():
        rule = _RULES.get(name)
        if rule is None:
            near = difflib.get_close_matches(str(name).upper(), _RULES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(_RULES)}"
            yield Wrong("cresset.E002", f"{NAME} has no key {name!r}", hint)
        elif (hint := rule(item)) is not None:
            shown = "its value" if name in ("KEY", "WEBHOOK_SECRET") else repr(item)
            yield Wrong("cresset.E003", f"{NAME}[{name!r}] cannot be {shown}", hint)


def _url(value: Any) -> str | None:
    good = isinstance(value, str) and urlsplit(value).scheme in ("http", "https") and bool(urlsplit(value).hostname)
    return None if good else 'a URL such as "http://127.0.0.1:8700"'


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value and value.isprintable()):
        return None
    return "text without line breaks, or None"


def _seconds(most: float | None) -> Callable[[Any], str | None]:
    def rule(value: Any) -> str | None:
        number = value.total_seconds() if isinstance(value, timedelta) else value
        good = isinstance(number, (int, float)) and not isinstance(number, bool)
        if good and number >= 0 and (most is None or number <= most):
            return None
        return "seconds, or a timedelta" + ("" if most is None else f", of at most {most:g} s")

    return rule


def _optional(rule: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
    return lambda value: None if value is None else rule(value)


def _count(value: Any) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return None if good else "a whole number, 0 or more"


def _headers(value: Any) -> str | None:
    pairs: Any = value.items() if isinstance(value, dict) else (None,)
    good = all(pair and all(isinstance(text, str) for text in pair) for pair in pairs)
    return None if good else 'a dict of texts, such as {"X-Team": "shop"}'


def _names(value: Any) -> str | None:
    good = isinstance(value, (list, tuple)) and all(isinstance(name, str) and name for name in cast("list[Any]", value))
    return None if good else 'a list of models\' names, such as ["digits"]'


def _schema(value: Any) -> str | None:
    # Written into SQL, in quotes.
    good = isinstance(value, str) and _SCHEMA.fullmatch(value)
    return (
        None
        if good
        else "the name of a schema, or of a database of MySQL: a-z, A-Z, 0-9, _ and -, at most 64, no digit first"
    )


def _secrets(value: Any) -> str | None:
    several = cast("list[Any]", value) if isinstance(value, (list, tuple)) else [value]
    good = bool(several) and all(isinstance(secret, str) and secret.startswith("whsec_") for secret in several)
    return None if good else "a secret that the server signs with (whsec_...), or a list of them"


def _location(value: Any) -> str | None:
    good = isinstance(value, str) and value.startswith("/") and len(value) > 1
    return None if good else 'the path of an internal location of nginx, such as "/_cresset"'


_RULES: Final[Mapping[str, Callable[[Any], str | None]]] = {
    "URL": _url,
    "KEY": _text,
    "TIMEOUT": _seconds(None),
    "RETRIES": _count,
    "HEADERS": _headers,
    "MODELS": _names,
    "MAX_WAIT": _optional(_seconds(_LONGEST_WAIT_S)),
    "ACCEL": _optional(_location),
    "WEBHOOK_SECRET": _optional(_secrets),
    "INBOX": _text,
    "INBOX_SCHEMA": _schema,
    "KEEP_INPUT_BYTES": _count,
}


def _forget(*, setting: str, **_kwargs: Any) -> None:
    if setting == NAME:
        get.cache_clear()


setting_changed.connect(_forget, dispatch_uid="cresset.django.conf")
