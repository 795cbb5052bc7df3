"""The row of a new task, by a statement that is made once for each database: a view waits for it.

`bulk_create` makes its statement anew each time, and a transaction around it, which takes three times as long as the
database does (measured: 440 us beside 150, SQLite). What a value is to a database is its field's to say here too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from django.db import connections, router
from django.db.models.constants import OnConflict

from cresset.django.mirror.models import InferenceTask

_DATABASES_MAX: Final = 16
"""Databases whose statements are kept; a site has one that this table is in, and its tests another."""


def unless_there(**values: Any) -> None:
    """Insert a row, if there is none with its key; columns that are not named have their defaults.

    Args:
        values: by the names of the columns' attributes, as `user_id`.

    Raises:
        django.db.Error: the database refused.
    """
    alias = router.db_for_write(InferenceTask)
    connection = connections[alias]
    statement, fields, defaults = _statement(alias, connection.vendor)
    row = [
        field.get_db_prep_save(values[field.attname], connection) if field.attname in values else default
        for field, default in zip(fields, defaults, strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(statement, row)


@lru_cache(_DATABASES_MAX)
def _statement(alias: str, _vendor: str) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
    """Give the statement for a database, the fields of its columns in order, and their defaults as it has them."""
    connection = connections[alias]
    ops, meta = connection.ops, InferenceTask._meta  # noqa: SLF001
    fields = tuple(meta.concrete_fields)
    statement = " ".join(
        (
            ops.insert_statement(on_conflict=OnConflict.IGNORE),
            ops.quote_name(meta.db_table),
            f"({', '.join(ops.quote_name(str(field.column)) for field in fields)})",
            f"VALUES ({', '.join(['%s'] * len(fields))})",
            ops.on_conflict_suffix_sql(fields, OnConflict.IGNORE, (), ()),
        )
    )
    defaults = tuple(field.get_db_prep_save(field.get_default(), connection) for field in fields)
    return statement, fields, defaults
