"""The query parameters of analytics."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, tzinfo
from typing import Any

from django import forms
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from evaluations.analytics.history import Period, get_time_zone
from evaluations.analytics.scopes import DEFAULT_CRITERION, Blind, ScaleFacts, Scope, get_scale
from mayagen.common.api import InvalidParameterError, MomentFilter, StrictUUIDField, check_query

MAX_VERSIONS = 50


@extend_schema_field(OpenApiTypes.DATETIME)
class MomentParameterField(serializers.Field):
    """A moment in ISO 8601; dates and times without an offset are UTC."""

    def to_internal_value(self, data: Any) -> datetime:
        """Return the moment in UTC."""
        try:
            moment: datetime = MomentFilter().field.clean(data)  # type: ignore[no-untyped-call]
        except forms.ValidationError as error:
            raise serializers.ValidationError(error.messages) from None
        return moment


class ScopeParametersSerializer(serializers.Serializer):
    """Which ratings are looked at."""

    prompt = StrictUUIDField(required=False, help_text="Versions of this prompt.")
    prompt_version = serializers.ListField(
        child=StrictUUIDField(),
        required=False,
        max_length=MAX_VERSIONS,
        help_text="These versions; the parameter may be given more than once.",
    )
    run = StrictUUIDField(required=False, help_text="What this run made.")
    dataset = StrictUUIDField(required=False, help_text="What was made for cases of this dataset.")
    criterion = serializers.SlugField(
        default=DEFAULT_CRITERION, max_length=80, help_text="Short name of what was judged."
    )
    blind = serializers.ChoiceField(
        choices=[each.value for each in Blind],
        default=Blind.AUTO.value,
        help_text="Which ratings count: `auto` is blind ones if there are any, else open ones.",
    )
    created_after = MomentParameterField(required=False, help_text="Generations made at this time or later.")
    created_before = MomentParameterField(required=False, help_text="Generations made earlier than this.")
    rated_after = MomentParameterField(required=False, help_text="Ratings given at this time or later.")
    rated_before = MomentParameterField(required=False, help_text="Ratings given earlier than this.")


class HistoryParametersSerializer(ScopeParametersSerializer):
    """Which ratings are looked at, and how they are set out over time."""

    period = serializers.ChoiceField(
        choices=[each.value for each in Period],
        default=Period.WEEK.value,
        help_text="What a point stands for; weeks begin on Monday.",
    )
    time_zone = serializers.CharField(
        default="UTC", max_length=64, help_text="Where days begin, such as `Europe/Berlin`."
    )


def read_parameters(
    request: Request, parameters: type[ScopeParametersSerializer], *, besides: Collection[str] = ()
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


def read_scope(values: Mapping[str, Any]) -> tuple[Scope, ScaleFacts]:
    """Return the scope and the criterion's scale that the values ask for.

    Raises:
        CriterionUnknownError: There is no such criterion.
    """
    scope = Scope(
        prompt_id=values.get("prompt"),
        version_ids=tuple(values.get("prompt_version", ())),
        run_id=values.get("run"),
        dataset_id=values.get("dataset"),
        created_after=values.get("created_after"),
        created_before=values.get("created_before"),
        rated_after=values.get("rated_after"),
        rated_before=values.get("rated_before"),
        blind=Blind(values["blind"]),
    )
    return scope, get_scale(values["criterion"])


def read_history(values: Mapping[str, Any]) -> tuple[Period, tzinfo]:
    """Return the period and the time zone that the values ask for.

    Raises:
        TimeZoneUnknownError: There is no such time zone.
    """
    return Period(values["period"]), get_time_zone(values["time_zone"])


def _flatten(messages: Any) -> list[str]:
    """Return the sentences of a parameter; those of a list come by position."""
    groups = messages.values() if isinstance(messages, Mapping) else [messages]
    return [str(sentence) for group in groups for sentence in group]
