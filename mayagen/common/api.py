"""What the apps' API code stands on: query parameters and fields that refuse what they do not know."""

from __future__ import annotations

import datetime as dt
import math
import re
import uuid
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from django import forms
from django.db import models
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django_filters.fields import IsoDateTimeField, MultipleChoiceField
from django_filters.filters import BooleanFilter, Filter, IsoDateTimeFilter, NumberFilter, UUIDFilter
from django_filters.filterset import FilterSet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from mayagen.common.errors import DomainError

MAX_PARAMETER_LENGTH = 2_000
# What a detail action that pages through rows of its own names as its `query_parameters`.
PAGE_PARAMETERS = ("cursor", "page_size", "ordering")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,10})?\Z")
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")


class InvalidParameterError(DomainError):
    """A query parameter has a value that it can't have; `fields` names it."""

    code = "invalid_parameter"
    status = 400
    sentence = "A query parameter is not valid."


class UnknownParameterError(InvalidParameterError):
    """A query parameter is not one of this address; filters are never ignored silently."""

    code = "unknown_parameter"
    sentence = "There is no such query parameter here."


class InvalidCursorError(InvalidParameterError):
    """The cursor was not made by this list in this order for this person."""

    code = "invalid_cursor"
    sentence = "The cursor does not belong to this list. Start again without it."

    def __init__(self) -> None:
        super().__init__(fields={"cursor": [self.sentence]})


def check_query(request: Request, allowed: Collection[str], repeatable: Collection[str] = ()) -> None:
    """Do nothing when the query string holds known parameters only, each once and with a plain value.

    Raises:
        UnknownParameterError: A parameter is neither in `allowed` nor `format`.
        InvalidParameterError: A value is empty, too long or holds NUL, or a parameter outside
            `repeatable` stands there twice.
    """
    unknown = [name for name in request.query_params if name not in allowed and name != "format"]
    if unknown:
        sentence = UnknownParameterError.sentence
        raise UnknownParameterError(fields={name[:100]: [sentence] for name in unknown[:20]})
    for name, values in request.query_params.lists():
        if len(values) > 1 and name not in repeatable:
            raise InvalidParameterError(fields={name: ["This parameter may be given once only."]})
        for value in values:
            if not value or "\x00" in value or len(value) > MAX_PARAMETER_LENGTH:
                raise InvalidParameterError(fields={name: ["The value is empty, too long or holds NUL."]})


class StrictQueryMixin:
    """Checks the query string of a view that is no list: only its `query_parameters` are accepted."""

    query_parameters: tuple[str, ...] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Check the rights first, then the query string."""
        super().initial(request, *args, **kwargs)  # type: ignore[misc]
        check_query(request, self.query_parameters)


class _TextField(forms.Field):
    """A form field that reads its value from the whole text, or refuses it with one sentence."""

    # Widgets for choices turn what they do not know into nothing.
    widget = forms.TextInput
    sentence = ""

    def to_python(self, value: Any) -> Any:
        if value in self.empty_values:
            return None
        try:
            return self.read(str(value))
        except (ValueError, OverflowError):
            raise forms.ValidationError(self.sentence) from None

    def read(self, text: str) -> Any:
        raise NotImplementedError


class _IdField(_TextField, forms.UUIDField):
    sentence = "Give a UUID such as 0190a8a2-7f1e-7000-8000-000000000000."

    def read(self, text: str) -> uuid.UUID:
        return uuid.UUID(_match(_UUID, text))


class _NumberField(_TextField, forms.DecimalField):
    sentence = "Give a number in plain digits."

    def read(self, text: str) -> Decimal:
        return Decimal(_match(_NUMBER, text))


class _BooleanField(_TextField, forms.NullBooleanField):
    sentence = "Give true or false."

    def read(self, text: str) -> bool:
        return {"true": True, "false": False}[_match(re.compile("true|false"), text)]


class _MomentField(_TextField, IsoDateTimeField):
    sentence = "Give a time such as 2026-11-21T10:00:00Z, or a date; both are UTC unless an offset follows."

    def read(self, text: str) -> dt.datetime:
        text = _match(re.compile(r"[0-9TZ:.+-]{8,40}", re.IGNORECASE), text)
        moment = parse_datetime(text)
        if moment is None:
            moment = dt.datetime.combine(_known(parse_date(text)), dt.time.min)
        aware = timezone.make_aware(moment, dt.UTC) if timezone.is_naive(moment) else moment
        # Overflows for moments that lie in no year of the calendar once they are UTC.
        return aware.astimezone(dt.UTC)


def _match(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


def _known(date: dt.date | None) -> dt.date:
    if date is None:
        raise ValueError
    return date


class IdFilter(UUIDFilter):
    """Rows by an id in full; an id of nothing gives an empty list."""

    field_class = _IdField


class StrictNumberFilter(NumberFilter):
    """Rows by a number in ASCII digits, without exponent or underscores."""

    field_class = _NumberField

    def get_max_validator(self) -> None:
        """Return no validator: the field bounds the digits."""


class StrictBooleanFilter(BooleanFilter):
    """Rows by `true` or `false`."""

    field_class = _BooleanField


class MomentFilter(IsoDateTimeFilter):
    """Rows by a moment in ISO 8601."""

    field_class = _MomentField


class StrictFilterSet(FilterSet):
    """The base of every filter set: model fields get filters that refuse what they can't read exactly."""

    base_filters: ClassVar[Mapping[str, Filter]]

    FILTER_DEFAULTS = {
        **FilterSet.FILTER_DEFAULTS,
        **{
            field: {"filter_class": strict}
            for kinds, strict in (
                ((models.IntegerField, models.FloatField, models.DecimalField), StrictNumberFilter),
                ((models.UUIDField, models.ForeignKey), IdFilter),
                (models.BooleanField, StrictBooleanFilter),
                (models.DateTimeField, MomentFilter),
            )
            for field in FilterSet.FILTER_DEFAULTS
            if issubclass(field, kinds)
        },
    }

    @classmethod
    def list_repeatable(cls) -> set[str]:
        """Return the names of the parameters that may be given more than once."""
        return {
            name
            for name, declared in cls.base_filters.items()
            if issubclass(declared.field_class, MultipleChoiceField)
        }


class AliveFilterSet(StrictFilterSet):
    """Rows that are not deleted, unless `include_deleted=true`."""

    include_deleted = StrictBooleanFilter(  # type: ignore[no-untyped-call]
        method="keep_all", label="Deleted ones too"
    )

    def keep_all(self, queryset: models.QuerySet[Any], name: str, value: bool) -> models.QuerySet[Any]:  # noqa: FBT001
        """Return all rows; `filter_queryset` decides."""
        return queryset

    def filter_queryset(self, queryset: models.QuerySet[Any]) -> models.QuerySet[Any]:
        """Apply the filters, then hide what is deleted unless it was asked for."""
        found: models.QuerySet[Any] = super().filter_queryset(queryset)  # type: ignore[no-untyped-call]
        if self.form.cleaned_data.get("include_deleted"):
            return found
        return found.filter(deleted_at__isnull=True)


class StrictIntegerField(serializers.IntegerField):
    """A whole number that fits 64 bits: a JSON number, or ASCII digits where a form sends text."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if isinstance(data, str) and _INTEGER.match(data):
            return int(data)
        if not isinstance(data, int) or isinstance(data, bool) or not -(2**63) <= data < 2**63:
            self.fail("invalid")
        return data


class StrictFloatField(serializers.FloatField):
    """A finite number: a JSON number, or plain ASCII digits where a form sends text."""

    def to_internal_value(self, data: Any) -> float:
        """Return the number."""
        is_number = isinstance(data, int | float) and not isinstance(data, bool) and math.isfinite(data)
        if not is_number and not (isinstance(data, str) and _NUMBER.match(data)):
            self.fail("invalid")
        return float(data)


class StrictDecimalField(serializers.DecimalField):
    """A decimal number in plain ASCII digits."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the number."""
        if isinstance(data, bool) or (isinstance(data, str) and not _NUMBER.match(data)):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictUUIDField(serializers.UUIDField):
    """A UUID in its usual text form; a number is none."""

    def to_internal_value(self, data: Any) -> uuid.UUID:
        """Return the id."""
        if not isinstance(data, str) or not _UUID.match(data):
            self.fail("invalid", value=str(data)[:100])
        return uuid.UUID(data)


@extend_schema_field(OpenApiTypes.DATETIME)
class MomentParameterField(serializers.Field):
    """A moment in ISO 8601; dates and times without an offset are UTC."""

    def to_internal_value(self, data: Any) -> dt.datetime:
        """Return the moment in UTC."""
        try:
            moment: dt.datetime = MomentFilter().field.clean(data)  # type: ignore[no-untyped-call]
        except forms.ValidationError as error:
            raise serializers.ValidationError(error.messages) from None
        return moment


class StrictPrimaryKeyField(serializers.PrimaryKeyRelatedField):
    """A reference to a row by its UUID."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the row."""
        if not isinstance(data, str) or not _UUID.match(data):
            self.fail("incorrect_type", data_type=type(data).__name__)
        return super().to_internal_value(data)


class StrictSerializer(serializers.Serializer):
    """A serializer that refuses names it does not know, instead of dropping what the client meant."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values."""
        if isinstance(data, Mapping):
            unknown = [str(name)[:100] for name in data if name not in self.fields]
            if unknown:
                raise serializers.ValidationError(
                    {name: ["There is no such field."] for name in unknown[:20]}
                )
        return super().to_internal_value(data)


class StrictModelSerializer(StrictSerializer, serializers.ModelSerializer):
    """A model serializer with the strict fields."""

    serializer_related_field = StrictPrimaryKeyField
    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        **{
            field: StrictIntegerField
            for field in serializers.ModelSerializer.serializer_field_mapping
            if issubclass(field, models.IntegerField)
        },
        models.FloatField: StrictFloatField,
        models.DecimalField: StrictDecimalField,
        models.UUIDField: StrictUUIDField,
    }


def read_parameters(
    request: Request, parameters: type[serializers.Serializer], *, besides: Collection[str] = ()
) -> dict[str, Any]:
    """Return the values of the query string, defaults included.

    Args:
        request: Whose query string is read.
        parameters: What it may hold.
        besides: Names of parameters that are read elsewhere.

    Raises:
        UnknownParameterError: There is a parameter of another name.
        InvalidParameterError: A value can't be read.
    """
    reader = parameters(data=request.query_params)
    lists = [name for name, each in reader.fields.items() if isinstance(each, serializers.ListField)]
    check_query(request, {*reader.fields, *besides}, repeatable=lists)
    if not reader.is_valid():
        raise InvalidParameterError(
            fields={name: _flatten(messages) for name, messages in reader.errors.items()}
        )
    values: dict[str, Any] = reader.validated_data
    return values


def _flatten(messages: Any) -> list[str]:
    """Return the sentences of a parameter; those of a list come by position."""
    groups = messages.values() if isinstance(messages, Mapping) else [messages]
    return [str(sentence) for group in groups for sentence in group]
