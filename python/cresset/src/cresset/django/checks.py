"""System checks: `manage.py check` finds what is wrong before a visitor does. Only `cresset_check` asks the server."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.db import DatabaseError, connections

from cresset.django import _inbox, conf

_POSTGRESQL: Final = """
SELECT current_user, has_schema_privilege(n.oid, 'USAGE'), c.oid IS NOT NULL, has_any_column_privilege(c.oid, 'INSERT')
FROM (SELECT %s AS name) AS asked
LEFT JOIN pg_namespace AS n ON n.nspname = asked.name
LEFT JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = 'inbox' AND c.relkind = 'r'"""
"""What the connection's role may do; it needs no right to ask."""

_FIRST_START: Final = "the first start of `cresset serve`"
_NO_TABLE: Final = (1049, 1146)
_NO_RIGHT: Final = (1044, 1142, 1143)
"""What MySQL and MariaDB say of what is not there, and of what may not be done. Without any right it is the latter."""


def register() -> None:
    """Have Django run them."""
    checks.register(check_setting, "cresset")
    checks.register(check_transport, "cresset", deploy=True)
    checks.register(check_inbox, "cresset")
    checks.register(check_inbox_table, "cresset", checks.Tags.database)


def check_setting(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Look at the setting."""
    if not hasattr(settings, conf.NAME):
        default = conf.Settings().url
        hint = f'{conf.NAME} = {{"URL": "{default}"}}'
        return [checks.Warning(f"{conf.NAME} is not set; {default} is used", hint=hint, id="cresset.W001")]
    value = getattr(settings, conf.NAME)
    return [checks.Error(wrong.message, hint=wrong.hint, id=wrong.id) for wrong in conf.mistakes(value)]


def check_transport(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Look at what matters where the site is deployed."""
    value = getattr(settings, conf.NAME, {})
    return [] if list(conf.mistakes(value)) else list(_deployed(conf.get()))


def check_inbox(**_kwargs: Any) -> list[checks.CheckMessage]:
    """Look whether submits can be written where the setting says, as far as settings tell."""
    alias = _inbox_alias()
    where = f"{conf.NAME}['INBOX']"
    if alias is None:
        return []
    if alias not in connections:
        hint = f"it is one of {', '.join(connections)}: the database that the server's store.url names"
        return [checks.Error(f"{where} is {alias!r}, which DATABASES does not have", hint=hint, id="cresset.E021")]
    if (vendor := connections[alias].vendor) not in _inbox.VENDORS:
        hint = (
            "the server keeps its tasks in PostgreSQL then (store.url), and the site uses the same database; or in "
            "MySQL or MariaDB, and the site has a database there as well"
        )
        return [checks.Error(f"{where} is {alias!r}, which is {vendor}", hint=hint, id="cresset.E022")]
    return []


def check_inbox_table(databases: Collection[str] | None = None, **_kwargs: Any) -> list[checks.CheckMessage]:
    """Look whether the inbox is there and the site may write into it. Runs where databases may be asked."""
    alias = _inbox_alias()
    if alias is None or alias not in (databases or ()) or check_inbox():
        return []
    return list(inbox_mistakes(alias))


def inbox_mistakes(alias: str) -> Iterator[checks.CheckMessage]:
    """Ask the database whether the inbox is there and may be written into."""
    return _in_mysql(alias) if connections[alias].vendor == "mysql" else _in_postgresql(alias)


def _in_postgresql(alias: str) -> Iterator[checks.CheckMessage]:
    schema = conf.get().inbox_schema
    with connections[alias].cursor() as cursor:
        cursor.execute(_POSTGRESQL, [schema])
        role, may_use, has_table, may_insert = cursor.fetchone()
    if may_use is None or not has_table:
        what = f"there is no schema {schema!r}" if may_use is None else f"the schema {schema!r} has no inbox"
        hint = f"{_FIRST_START} with its store.url at this database (and INBOX_SCHEMA) makes it"
        yield checks.Error(f"the database {alias!r}: {what}", hint=hint, id="cresset.E023")
    elif not may_use:
        hint = f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"'
        yield checks.Error(f"the role {role!r} may not use the schema {schema!r}", hint=hint, id="cresset.E024")
    elif not may_insert:
        hint = f'GRANT INSERT ON {_inbox.table(alias)} TO "{role}"'
        yield checks.Error(f"the role {role!r} may not write into the inbox", hint=hint, id="cresset.E025")


def _in_mysql(alias: str) -> Iterator[checks.CheckMessage]:
    table = _inbox.table(alias)
    # Needs the right that the statement needs, and does nothing.
    asked = f"EXPLAIN INSERT INTO {table} (id, model, input) VALUES ('', '', '')"  # noqa: S608  # a checked name
    with connections[alias].cursor() as cursor:
        try:
            cursor.execute(asked)
        except DatabaseError as error:
            if error.args[:1] and error.args[0] in _NO_TABLE:
                what = f"there is no table {table}"
                hint = f"{_FIRST_START} with its store.url at the database {conf.get().inbox_schema!r} makes it"
                yield checks.Error(f"the database {alias!r}: {what}", hint=hint, id="cresset.E023")
            elif error.args[:1] and error.args[0] in _NO_RIGHT:
                cursor.execute("SELECT CURRENT_USER()")
                user = "@".join(f"'{part}'" for part in cursor.fetchone()[0].rsplit("@", 1))
                what = f"the user {user} may not write into the inbox, if there is one"
                hint = f"GRANT INSERT ON {table} TO {user}; {_FIRST_START} makes the table"
                yield checks.Error(what, hint=hint, id="cresset.E025")
            else:
                raise


def _inbox_alias() -> str | None:
    """Give the alias that the setting names, if the setting can be read."""
    value = getattr(settings, conf.NAME, {})
    return None if list(conf.mistakes(value)) else conf.get().inbox


def _deployed(read: conf.Settings) -> Iterator[checks.CheckMessage]:
    url = urlsplit(read.url)
    if url.scheme == "http" and read.key and not _is_near(url.hostname or ""):
        yield checks.Warning(
            f"the key goes to {url.hostname} in clear text",
            hint="use https, or a private address, or a tunnel",
            id="cresset.W002",
        )


def _is_near(host: str) -> bool:
    """Tell whether an address is of this machine or of a private network. A name is not looked up."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost" or "." not in host
