"""Querysets of the hot path, turned into SQL once in the life of a process and run as such from then on.

Building a statement from a queryset costs several times what the database takes to answer it. The rule of
who may see what stays where it is, in the queryset; only its translation is kept.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, Final

from django.db import connection
from django.db.models import QuerySet

_FIRST_SLOT: Final = 0x6D61796167656E << 64


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
        vendor = connection.vendor
        if vendor not in self._kept:
            self._kept[vendor] = self._translate()
        statement, parameters = self._kept[vendor]
        values = [value if name is None else to_parameter(ids[name]) for name, value in parameters]
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows

    def _translate(self) -> tuple[str, list[tuple[str | None, Any]]]:
        statement, parameters = self._build(**self._slots).query.sql_with_params()
        names = {to_parameter(stand_in): name for name, stand_in in self._slots.items()}
        return statement, [(names.get(each) if _is_id(each) else None, each) for each in parameters]


def to_parameter(value: uuid.UUID) -> uuid.UUID | str:
    """Return a UUID as the database in use stores it."""
    return value if connection.features.has_native_uuid_field else value.hex


def to_uuid(value: uuid.UUID | str) -> uuid.UUID:
    """Return a UUID that a statement gave."""
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _is_id(parameter: object) -> bool:
    return isinstance(parameter, uuid.UUID | str)
