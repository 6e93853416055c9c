"""Querysets of the hot path, turned into SQL once in the life of a process and run as such from then on.

Building a statement from a queryset costs several times what the database takes to answer it. The rule of
who may see what stays where it is, in the queryset; only its translation is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet

_FIRST_SLOT: Final = 0x6D61796167656E << 64


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement and its values."""

    text: str
    parameters: list[Any]


class KeptStatement:
    """A queryset over some ids, each given by name when it is run.

    Args:
        build: Makes the queryset, ending in `values_list`, from ids that stand for those to come. What it
            makes may depend on nothing else.
        slots: The names of its arguments.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *slots: str) -> None:
        self._build = build
        self._slots = {name: uuid.UUID(int=_FIRST_SLOT + n) for n, name in enumerate(slots)}
        self._kept: dict[str, tuple[str, list[tuple[str | None, Any]]]] = {}

    def run(self, **ids: uuid.UUID) -> list[tuple[Any, ...]]:
        """Return the rows for these ids, as the database gives them."""
        statement = self.write(**ids)
        return fetch(statement.text, statement.parameters)

    def write(self, **ids: uuid.UUID) -> Statement:
        """Return the statement for these ids."""
        vendor = connection.vendor
        if vendor not in self._kept:
            self._kept[vendor] = self._translate()
        text, parameters = self._kept[vendor]
        return Statement(
            text, [value if name is None else to_parameter(ids[name]) for name, value in parameters]
        )

    def _translate(self) -> tuple[str, list[tuple[str | None, Any]]]:
        statement, parameters = self._build(**self._slots).query.sql_with_params()
        names = {to_parameter(stand_in): name for name, stand_in in self._slots.items()}
        return statement, [(names.get(each) if _is_id(each) else None, each) for each in parameters]


def fetch(statement: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, as the database gives them.

    PostgreSQL plans it once for each connection: with a dozen tables in it, planning takes ten times as long
    as running. Django's own cursors cannot do that, since they send each statement with its values in it;
    where somebody listens to them (tests, debugging) they are used all the same.
    """
    with _open_cursor() as cursor:
        cursor.execute(statement, parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def fetch_planned_anew(statement: Statement) -> list[tuple[Any, ...]]:
    """Run a statement and return its rows, as the database gives them; it is planned for these values.

    For statements that a partial index answers, and for connections that live long: a plan that fits any
    value uses no such index, and one made while a table was empty would read all of it later.
    """
    with _get_database().cursor() as cursor:
        cursor.execute(statement.text, statement.parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


@contextmanager
def _open_cursor() -> Iterator[Any]:
    database = _get_database()
    is_watched = database.queries_logged or database.execute_wrappers
    if database.vendor != "postgresql" or is_watched:
        with database.cursor() as cursor:
            yield cursor
        return
    database.close_if_health_check_failed()
    database.ensure_connection()
    database.validate_no_broken_transaction()
    session: psycopg.Connection[tuple[Any, ...]] = database.connection
    # Off by Django's default; its own cursors prepare nothing in any case.
    session.prepare_threshold = 0
    with database.wrap_database_errors, psycopg.Cursor(session) as server_cursor:
        yield server_cursor


def read_and_write(read: Statement, writes: Sequence[Statement]) -> list[tuple[Any, ...]]:
    """Return what a statement reads and run others, none of which it sees; one round trip where that can be.

    Raises:
        IntegrityError: A constraint refuses one of the writes.
    """
    if connection.vendor == "postgresql":
        parts = ", ".join(f"write_{number} AS ({write.text})" for number, write in enumerate(writes))
        values = [value for write in writes for value in write.parameters]
        return fetch(f"WITH {parts} {read.text}", [*values, *read.parameters])
    rows = fetch(read.text, read.parameters)
    run_each(writes)
    return rows


def run_each(writes: Sequence[Statement]) -> None:
    """Run statements that return nothing, one after the other."""
    for write in writes:
        with connection.cursor() as cursor:
            cursor.execute(write.text, write.parameters)


def update_each(model: type[Model], changes: Mapping[uuid.UUID, Mapping[str, Any]]) -> None:
    """Give each row its own values of the same fields, in one round trip; the caller holds their locks."""
    if not changes:
        return
    database = _get_database()
    fields: list[Any] = [model._meta.get_field(name) for name in next(iter(changes.values()))]
    values = [
        [field.get_db_prep_save(row[field.name], database) for row in changes.values()] for field in fields
    ]
    ids = [to_parameter(each) for each in changes]
    if database.vendor == "postgresql":
        with _open_cursor() as cursor:
            cursor.execute(_write_update_each(model, tuple(fields)), [*values, ids])
        return
    assignments = ", ".join(f"{database.ops.quote_name(field.column)} = %s" for field in fields)
    statement = f"UPDATE {database.ops.quote_name(model._meta.db_table)} SET {assignments} WHERE id = %s"  # noqa: S608
    with database.cursor() as cursor:
        cursor.executemany(statement, list(zip(*values, ids, strict=True)))


def write_insert(row: Model) -> Statement:
    """Return what writes a new row whose values need no preparation, past all that `save()` does."""
    fields = row._meta.concrete_fields
    database = _get_database()
    values = [field.get_db_prep_save(getattr(row, field.attname), database) for field in fields]
    return Statement(_write_insert(type(row), database.vendor), values)


def write_update(model: type[Model], pk: uuid.UUID, **values: object) -> Statement:
    """Return what sets some columns of one row."""
    parameters = [
        model._meta.get_field(name).get_db_prep_save(value, connection)  # type: ignore[union-attr] # columns
        for name, value in values.items()
    ]
    text = _write_update(model, tuple(values), connection.vendor)
    return Statement(text, [*parameters, to_parameter(pk)])


def to_parameter(value: uuid.UUID) -> uuid.UUID | str:
    """Return a UUID as the database in use stores it."""
    return value if connection.features.has_native_uuid_field else value.hex


def to_uuid(value: uuid.UUID | str) -> uuid.UUID:
    """Return a UUID that a statement gave."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def to_duration(value: timedelta | int) -> timedelta:
    """Return a duration that a statement gave; SQLite counts it in microseconds."""
    return value if isinstance(value, timedelta) else timedelta(microseconds=value)


def _get_database() -> BaseDatabaseWrapper:
    """Return what `connection` stands for: each look through that proxy costs as much as a small function."""
    return connections[DEFAULT_DB_ALIAS]


def _is_id(parameter: object) -> bool:
    return isinstance(parameter, uuid.UUID | str)


@lru_cache(maxsize=32)
def _write_update_each(model: type[Model], fields: tuple[Any, ...]) -> str:
    quote = connection.ops.quote_name
    columns = [quote(field.column) for field in fields]
    arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
    return (
        f"UPDATE {quote(model._meta.db_table)} SET {', '.join(f'{each} = new.{each}' for each in columns)}"  # noqa: S608
        f" FROM unnest({arrays}, %s::uuid[]) AS new({', '.join(columns)}, row_id) WHERE id = new.row_id"
    )


@lru_cache(maxsize=32)
def _write_insert(model: type[Model], _vendor: str) -> str:
    quote = connection.ops.quote_name
    columns = [quote(str(field.column)) for field in model._meta.concrete_fields]
    marks = ", ".join(["%s"] * len(columns))
    return f"INSERT INTO {quote(model._meta.db_table)} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


@lru_cache(maxsize=32)
def _write_update(model: type[Model], names: tuple[str, ...], _vendor: str) -> str:
    quote = connection.ops.quote_name
    columns = [quote(str(model._meta.get_field(name).column)) for name in names]  # type: ignore[union-attr]
    changes = ", ".join(f"{column} = %s" for column in columns)
    return f"UPDATE {quote(model._meta.db_table)} SET {changes} WHERE id = %s"  # noqa: S608
