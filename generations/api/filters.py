"""The filters of this app's lists."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django_filters.filters import CharFilter, ChoiceFilter

from generations.choices import FINAL_STATUSES, BreakerState, ErrorCode, ImportState, RunKind, Source, Status
from generations.models import OutputImage
from mayagen.common.api import IdFilter, StrictBooleanFilter, StrictNumberFilter
from prompts.api.filters import CreatedFilterSet, SoftDeleteFilterSet


class DatasetFilterSet(SoftDeleteFilterSet):
    """Datasets by short name."""

    slug = CharFilter()


class DatasetImportFilterSet(CreatedFilterSet):
    """Imports of a dataset, or in a state."""

    dataset = IdFilter(field_name="dataset_id")
    state = ChoiceFilter(choices=ImportState.choices)


class RunFilterSet(CreatedFilterSet):
    """Runs of a version, a dataset version or a kind, or those that are not finished."""

    prompt_version = IdFilter(field_name="prompt_versions", distinct=True)
    dataset_version = IdFilter(field_name="dataset_version_id")
    kind = ChoiceFilter(choices=RunKind.choices)
    is_finished = StrictBooleanFilter(method="keep_finished", label="Nothing is queued or in process")

    def keep_finished(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:  # noqa: FBT001
        """Keep the runs that are finished, or those that are not."""
        is_open = Q(generations__is_superseded=False) & ~Q(generations__status__in=FINAL_STATUSES)
        open_ids = queryset.model.objects.filter(is_open).values("pk")
        return queryset.exclude(pk__in=open_ids) if value else queryset.filter(pk__in=open_ids)


class ProviderHealthFilterSet(CreatedFilterSet):
    """Provider addresses by whether they are called."""

    provider = CharFilter()
    state = ChoiceFilter(choices=BreakerState.choices)


class GenerationFilterSet(CreatedFilterSet):
    """Generations by what they came from, where they stand, and how they were rated."""

    prompt_version = IdFilter(field_name="prompt_version_id")
    prompt = IdFilter(field_name="prompt_version__prompt_id")
    image_model = IdFilter(field_name="image_model_id")
    run = IdFilter(field_name="run_id")
    dataset_item = IdFilter(field_name="dataset_item_id")
    case_key = CharFilter()
    status = ChoiceFilter(choices=Status.choices)
    source = ChoiceFilter(choices=Source.choices)
    error_code = ChoiceFilter(choices=ErrorCode.choices)
    rating = StrictNumberFilter(field_name="result_rating", label="Exactly this rating")
    rating_min = StrictNumberFilter(field_name="result_rating", lookup_expr="gte")
    rating_max = StrictNumberFilter(field_name="result_rating", lookup_expr="lte")
    unrated = StrictBooleanFilter(method="keep_unrated", label="Completed and not rated by anybody")
    is_superseded = StrictBooleanFilter()
    has_near_duplicate = StrictBooleanFilter(
        method="keep_near_duplicates", label="An image looks nearly the same as another one of the run"
    )

    def keep_near_duplicates(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:  # noqa: FBT001
        """Keep what has an output that is marked so, or what has none."""
        marked = Exists(OutputImage.objects.filter(generation=OuterRef("pk"), is_near_duplicate=True))
        return queryset.filter(marked if value else ~marked)

    def keep_unrated(self, queryset: QuerySet[Any], name: str, value: bool) -> QuerySet[Any]:  # noqa: FBT001
        """Keep what is completed and has no rating, or what has one."""
        if value:
            return queryset.filter(status=Status.COMPLETED, result_rating__isnull=True)
        return queryset.filter(result_rating__isnull=False)
