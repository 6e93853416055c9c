"""Querysets of the hot path, turned into SQL once in the life of a process and run as such from then on.

Building a statement from a queryset costs several times what the database takes to answer it. The rule of
who may see what stays where it is, in the queryset; only its translation is kept.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

import psycopg
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BooleanField, Func, Model, QuerySet
from django.db.models.fields.files import FieldFile
from django.db.models.sql import UpdateQuery
from django.db.models.sql.compiler import SQLCompiler

_FIRST_SLOT: Final = 0x6D61796167656E << 64


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement and its values."""

    text: str
    parameters: list[Any]


class IsAmong(Func):
    """Whether a column is one of some ids, which are one parameter of the statement however many they are.

    For the arguments of a `KeptStatement`: `.filter(IsAmong("pk", ids))`.
    """

    template = "%(expressions)s::uuid[])"
    arg_joiner = " = ANY("
    arity = 2
    output_field = BooleanField()

    def as_sqlite(
        self, compiler: SQLCompiler, connection: BaseDatabaseWrapper, **extra_context: Any
    ) -> tuple[str, tuple[str | int, ...]]:
        """Return the same for a database without arrays."""
        joiner, template = " IN (SELECT value FROM json_each(", "%(expressions)s))"
        return self.as_sql(compiler, connection, template=template, arg_joiner=joiner, **extra_context)


class KeptStatement:
    """A queryset over some ids, each given by name when it is run; a collection of ids for `IsAmong`.

    Args:
        build: Makes the queryset, ending in `values_list`, from ids that stand for those to come. What it
            makes may depend on nothing else.
        slots: The names of its arguments.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *slots: str) -> None:
        self._build = build
        self._slots = {name: uuid.UUID(int=_FIRST_SLOT + n) for n, name in enumerate(slots)}
        self._kept: dict[str, tuple[str, list[tuple[str | None, Any]]]] = {}

    def run(self, **ids: uuid.UUID | Collection[uuid.UUID]) -> list[tuple[Any, ...]]:
        """Return the rows for these ids, as the database gives them."""
        statement = self.write(**ids)
        return fetch(statement.text, statement.parameters)

    def run_planned_anew(self, **ids: uuid.UUID | Collection[uuid.UUID]) -> list[tuple[Any, ...]]:
        """Return the rows for these ids, as the database gives them; it is planned for these ids.

        For statements that a partial index answers, and for connections that live long: a plan that fits any
        value uses no such index, and one made while a table was empty would read all of it later.
        """
        statement = self.write(**ids)
        with _get_database().cursor() as cursor:
            cursor.execute(statement.text, statement.parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def write(self, **ids: uuid.UUID | Collection[uuid.UUID]) -> Statement:
        """Return the statement for these ids."""
        vendor = connection.vendor
        if vendor not in self._kept:
            self._kept[vendor] = self._translate()
        text, parameters = self._kept[vendor]
        given = {
            name: to_parameter(each) if isinstance(each, uuid.UUID) else _join(each)
            for name, each in ids.items()
        }
        return Statement(text, [value if name is None else given[name] for name, value in parameters])

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


def update_each(model: type[Model], changes: Mapping[uuid.UUID, Mapping[str, Any]], **alike: Any) -> None:
    """Give each row its own values of the same fields, in one round trip; the caller holds their locks.

    It is planned for these rows, for the reasons that `KeptStatement.run_planned_anew` gives.

    Args:
        model: Whose rows.
        changes: The values by row and field.
        alike: What all of them get; expressions over the row too.
    """
    if not changes:
        return
    database = _get_database()
    own: list[Any] = [model._meta.get_field(name) for name in next(iter(changes.values()))]
    assignments, values = _assign(model, alike, database) if alike else ("", [])
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            records = [
                {"id": row_id, **{field.column: row[field.name] for field in own}}
                for row_id, row in changes.items()
            ]
            text = _write_update_each(model, tuple(own), assignments)
            cursor.execute(text, [*values, *([_to_json(records)] if own else []), _join(changes)])
            return
        changed = ", ".join(filter(None, [assignments, *(f"{_quote(field)} = %s" for field in own)]))
        text = f"UPDATE {_quote(model)} SET {changed} WHERE id = %s"  # noqa: S608
        rows = [
            [*values, *_prepare(own, [row[field.name] for field in own], database), to_parameter(row_id)]
            for row_id, row in changes.items()
        ]
        cursor.executemany(text, rows)


def insert_each(rows: Sequence[Model]) -> None:
    """Write new rows of one model in one round trip, past all that `bulk_create` does.

    Their values need no preparation: files are stored already, and nothing is left to the database.
    """
    if not rows:
        return
    database = _get_database()
    model = type(rows[0])
    fields = model._meta.concrete_fields
    # Not by `getattr`, which makes an object of each name of a file.
    read = itemgetter(*(field.attname for field in fields))
    all_values = [read(vars(row)) for row in rows]
    with database.cursor() as cursor:
        if database.vendor == "postgresql":
            columns = [str(field.column) for field in fields]
            records = [dict(zip(columns, values, strict=True)) for values in all_values]
            cursor.execute(_write_insert_each(model), [_to_json(records)])
        else:
            text = _write_insert(model, database.vendor)
            cursor.executemany(text, [_prepare(fields, values, database) for values in all_values])


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


def _join(ids: Collection[uuid.UUID]) -> str:
    """Return ids as the one parameter that `IsAmong` is compared with."""
    texts = [each.hex for each in ids]
    return f"{{{','.join(texts)}}}" if connection.vendor == "postgresql" else json.dumps(texts)


def _assign(
    model: type[Model], values: Mapping[str, Any], database: BaseDatabaseWrapper
) -> tuple[str, Sequence[Any]]:
    """Return what stands between SET and WHERE for these values or expressions, and its parameters."""
    query = UpdateQuery(model)
    query.add_update_values(dict(values))
    text, parameters = query.get_compiler(connection=database).as_sql()
    return text.partition(" SET ")[2], parameters


def _prepare(fields: Iterable[Any], values: Iterable[Any], database: BaseDatabaseWrapper) -> list[Any]:
    return [field.get_db_prep_save(value, database) for field, value in zip(fields, values, strict=True)]


def _to_json(records: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as one document: arrays would be written out value by value, in Python."""
    return json.dumps(records, default=_to_text)


def _to_text(value: object) -> str:
    if isinstance(value, uuid.UUID):
        return value.hex
    if isinstance(value, Decimal | datetime | FieldFile):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no place in a record")


def _is_id(parameter: object) -> bool:
    return isinstance(parameter, uuid.UUID | str)


@lru_cache(maxsize=32)
def _write_update_each(model: type[Model], fields: tuple[Any, ...], assignments: str) -> str:
    own = (f"{_quote(field)} = new.{_quote(field)}" for field in fields)
    changed = ", ".join(filter(None, [assignments, *own]))
    if not fields:
        return f"UPDATE {_quote(model)} SET {changed} WHERE id = ANY(%s::uuid[])"  # noqa: S608
    # The ids once more: that a document holds few rows is nothing the planner can know.
    records = _write_records([model._meta.pk, *fields])
    row_id = f"{_quote(model)}.id"
    return (
        f"UPDATE {_quote(model)} SET {changed} FROM {records}"  # noqa: S608
        f" WHERE {row_id} = new.id AND {row_id} = ANY(%s::uuid[])"
    )


@lru_cache(maxsize=32)
def _write_insert_each(model: type[Model]) -> str:
    fields = model._meta.concrete_fields
    columns = ", ".join(map(_quote, fields))
    return f"INSERT INTO {_quote(model)} ({columns}) SELECT {columns} FROM {_write_records(fields)}"  # noqa: S608


def _write_records(fields: Sequence[Any]) -> str:
    columns = ", ".join(f"{_quote(field)} {field.db_type(connection)}" for field in fields)
    return f"json_to_recordset(%s::json) AS new({columns})"


def _quote(named: Any) -> str:
    """Return the name of a model's table or of a field's column."""
    name = named._meta.db_table if hasattr(named, "_meta") else named.column
    return connection.ops.quote_name(name)


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
