"""The query parameters of analytics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from rest_framework import serializers

from evaluations.analytics.history import Period, get_time_zone
from evaluations.analytics.scopes import DEFAULT_CRITERION, Blind, ScaleFacts, Scope, get_scale
from mayagen.common.api import MomentParameterField, StrictUUIDField

MAX_VERSIONS = 50


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
