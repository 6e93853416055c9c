"""Pages by keyset: each page starts after the last row of the one before, whatever was added meanwhile."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core import signing
from django.core.exceptions import FieldDoesNotExist
from django.db.models import F, Model, Q, QuerySet
from django.db.models.expressions import OrderBy
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from mayagen.common.api import PAGE_PARAMETERS, InvalidCursorError, InvalidParameterError

_MAX_CURSOR_LENGTH = 1_000
_VALUE_ALIAS = "cursor_value"


@dataclass(frozen=True, slots=True)
class _Ordering:
    """An order over one field, broken by id in the same direction; rows without a value come last."""

    name: str
    field: str
    is_descending: bool
    is_nullable: bool

    @property
    def attribute(self) -> str:
        """The attribute of a row that holds the value ordered by."""
        return _VALUE_ALIAS if "__" in self.field else self.field


@dataclass(frozen=True, slots=True)
class _Position:
    """The row that a page starts after, or ends before when `is_reverse`."""

    is_reverse: bool
    row_id: str
    value: Any


class IdCursorPagination(BasePagination):
    """Pages of 20, at most 100, newest first.

    A view declares further orders in `ordering_fields`: names, or a mapping of names to model fields or
    annotations; `id` is always one of them. Its default order is `ordering`, `-id` if it has none. The
    cursor is signed for the address, the order and the person, so that none of another list is accepted.
    """

    page_size = 20
    max_page_size = 100
    query_parameters = PAGE_PARAMETERS

    def paginate_queryset(  # type: ignore[override] # pages are read from rows, never from lists
        self, queryset: QuerySet[Model], request: Request, view: APIView | None = None
    ) -> list[Model]:
        """Return the rows of the page that the request asks for.

        Raises:
            InvalidCursorError: The cursor was made by something else than this list.
            InvalidParameterError: `page_size` or `ordering` can't be read.
        """
        self._request = request
        self._ordering = _read_ordering(request, queryset, view)
        size = self.get_page_size(request)
        position = self._read_cursor()
        rows = self._query(queryset, position, size + 1)
        has_more = len(rows) > size
        rows = rows[:size]
        if position is not None and position.is_reverse:
            rows.reverse()
            self._has_previous, self._has_next = has_more, True
        else:
            self._has_previous, self._has_next = position is not None, has_more
        self._rows = rows
        return rows

    def get_page_size(self, request: Request) -> int:
        """Return how many rows a page has."""
        text = request.query_params.get("page_size")
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit()) or int(text[:20]) == 0:
            raise InvalidParameterError(fields={"page_size": ["Give a whole number of at least 1."]})
        return min(int(text[:20]), self.max_page_size)

    def get_next_link(self) -> str | None:
        """Return the address of the page after this one."""
        return self._link(self._rows[-1], is_reverse=False) if self._has_next and self._rows else None

    def get_previous_link(self) -> str | None:
        """Return the address of the page before this one."""
        return self._link(self._rows[0], is_reverse=True) if self._has_previous and self._rows else None

    def get_paginated_response(self, data: Sequence[Any]) -> Response:
        """Return the page with its links."""
        return Response({"next": self.get_next_link(), "previous": self.get_previous_link(), "results": data})

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return the page's shape in OpenAPI 3.1, which has no `nullable`."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["next", "previous", "results"],
            "properties": {"next": link, "previous": dict(link), "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Return the query parameters of a list."""
        names = [sign + name for name in _list_orderings(view) for sign in ("", "-")]
        size = {"type": "integer", "minimum": 1, "maximum": self.max_page_size, "default": self.page_size}
        return [
            _describe(
                "cursor", "Where the page starts, from a page's `next` or `previous`.", {"type": "string"}
            ),
            _describe("page_size", "How many rows a page has; larger numbers give the maximum.", size),
            _describe(
                "ordering",
                "The order of the rows; ties are broken by id, and rows without a value come last.",
                {"type": "string", "enum": names, "default": getattr(view, "ordering", "-id")},
            ),
        ]

    def _query(self, queryset: QuerySet[Model], position: _Position | None, limit: int) -> list[Model]:
        ordering = self._ordering
        if ordering.attribute == _VALUE_ALIAS:
            queryset = queryset.annotate(**{_VALUE_ALIAS: F(ordering.field)})
        is_reverse = position is not None and position.is_reverse
        if position is not None:
            queryset = queryset.filter(_after(ordering, position))
        return list(queryset.order_by(*_order_by(ordering, is_reverse=is_reverse))[:limit])

    def _read_cursor(self) -> _Position | None:
        text = self._request.query_params.get("cursor")
        if text is None:
            return None
        if len(text) > _MAX_CURSOR_LENGTH or not text.isascii():
            raise InvalidCursorError
        try:
            is_reverse, row_id, kind, value = self._signer().unsign_object(text)
        except (signing.BadSignature, ValueError):
            raise InvalidCursorError from None
        return _Position(is_reverse=is_reverse, row_id=row_id, value=_decode(kind, value))

    def _link(self, row: Model, *, is_reverse: bool) -> str:
        kind, value = _encode(getattr(row, self._ordering.attribute))
        cursor = self._signer().sign_object([is_reverse, str(row.pk), kind, value])
        address = remove_query_param(self._request.build_absolute_uri(), "cursor")
        return replace_query_param(address, "cursor", cursor)

    def _signer(self) -> signing.Signer:
        user = self._request.user
        person = user.pk if user.is_authenticated else ""
        return signing.Signer(salt=f"mayagen.cursor:{person}:{self._ordering.name}:{self._request.path}")


def _list_orderings(view: APIView | None) -> dict[str, str]:
    declared = getattr(view, "ordering_fields", ())
    named = declared if isinstance(declared, Mapping) else {name: name for name in declared}
    return {"id": "id", **named}


def _read_ordering(request: Request, queryset: QuerySet[Model], view: APIView | None) -> _Ordering:
    fields = _list_orderings(view)
    text = request.query_params.get("ordering") or getattr(view, "ordering", None) or "-id"
    name = text.removeprefix("-")
    if name not in fields:
        sentence = f"Order by one of: {', '.join(sorted(fields))}; a leading - turns the order round."
        raise InvalidParameterError(fields={"ordering": [sentence]})
    return _Ordering(
        name=text,
        field=fields[name],
        is_descending=text.startswith("-"),
        is_nullable=_is_nullable(queryset, fields[name]),
    )


def _is_nullable(queryset: QuerySet[Model], field: str) -> bool:
    """Say whether a row may have no value; of annotations and related rows it has to be assumed."""
    try:
        return bool(getattr(queryset.model._meta.get_field(field), "null", True))
    except FieldDoesNotExist:
        return True


def _order_by(ordering: _Ordering, *, is_reverse: bool) -> list[OrderBy]:
    is_descending = ordering.is_descending != is_reverse
    # Said only where there can be nulls: an index in the database's own null order serves the rest.
    nulls = {"nulls_first" if is_reverse else "nulls_last": True} if ordering.is_nullable else {}
    by_id = OrderBy(F("pk"), descending=is_descending)
    if ordering.field == "id":
        return [by_id]
    return [OrderBy(F(ordering.attribute), descending=is_descending, **nulls), by_id]


def _after(ordering: _Ordering, position: _Position) -> Q:
    """Return the condition for the rows beyond a position, in the direction that it looks to."""
    direction = "lt" if ordering.is_descending != position.is_reverse else "gt"
    beyond_id = Q(**{f"pk__{direction}": position.row_id})
    field = ordering.attribute
    if ordering.field == "id":
        return beyond_id
    if position.value is None:
        same = Q(**{f"{field}__isnull": True}) & beyond_id
        return same | Q(**{f"{field}__isnull": False}) if position.is_reverse else same
    beyond = Q(**{f"{field}__{direction}": position.value}) | (Q(**{field: position.value}) & beyond_id)
    if not ordering.is_nullable:
        # Says nothing new, but gives the planner one range to seek instead of two branches to join.
        return Q(**{f"{field}__{direction}e": position.value}) & beyond
    return beyond if position.is_reverse else beyond | Q(**{f"{field}__isnull": True})


def _encode(value: Any) -> tuple[str, Any]:
    if isinstance(value, dt.datetime):
        return "datetime", value.isoformat()
    if isinstance(value, Decimal):
        return "decimal", str(value)
    if isinstance(value, uuid.UUID):
        return "uuid", str(value)
    if value is None or isinstance(value, str | int | float):
        return "plain", value
    raise TypeError(f"lists can't be ordered by a {type(value).__name__}")


_DECODERS: Mapping[str, Callable[[str], Any]] = {
    "datetime": dt.datetime.fromisoformat,
    "decimal": Decimal,
    "uuid": uuid.UUID,
}


def _decode(kind: str, value: Any) -> Any:
    return _DECODERS[kind](value) if kind in _DECODERS else value


def _describe(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": schema}
