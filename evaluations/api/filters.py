"""The filters of this app's lists."""

from __future__ import annotations

from typing import Any

from django.db.models import Q, QuerySet

from evaluations.models import Rating, ReviewQueue
from mayagen.common.api import (
    AliveFilterSet,
    IdFilter,
    MomentFilter,
    StrictBooleanFilter,
    StrictFilterSet,
    StrictNumberFilter,
)


class OwnRatingFilterSet(StrictFilterSet):
    """Standing ratings, unless `include_history=true`: nothing here tells apart what a blind queue hides."""

    level = StrictNumberFilter(field_name="level")
    queue = IdFilter(field_name="queue")
    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")
    include_history = StrictBooleanFilter(method="keep_all", label="Revised and withdrawn ones too")

    class Meta:
        model = Rating
        fields: tuple[str, ...] = ()

    def keep_all(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:  # noqa: FBT001
        """Return all rows; `filter_queryset` decides."""
        return queryset

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the filters, then leave out what no longer stands unless it was asked for."""
        found: QuerySet[Any] = super().filter_queryset(queryset)
        return found if self.form.cleaned_data.get("include_history") else found.filter(is_standing=True)


class RatingFilterSet(OwnRatingFilterSet):
    """Ratings by what was rated and how."""

    prompt_version = IdFilter(field_name="prompt_version")
    output = IdFilter(field_name="output_image")
    generation = IdFilter(method="keep_generation", label="Generation")
    blind = StrictBooleanFilter(field_name="is_blind")

    def keep_generation(self, queryset: QuerySet[Any], name: str, value: Any) -> QuerySet[Any]:
        """Keep the ratings of a generation's outputs and inputs."""
        return queryset.filter(Q(output_image__generation=value) | Q(input_image__generation=value))


class RaterFilterSet(RatingFilterSet):
    """The same, and by who rated."""

    rater = IdFilter(field_name="rater")


class QueueFilterSet(AliveFilterSet):
    """Queues that are not deleted, unless `include_deleted=true`."""

    is_active = StrictBooleanFilter(field_name="is_active")

    class Meta:
        model = ReviewQueue
        fields: tuple[str, ...] = ()
