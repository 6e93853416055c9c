"""The filters of this app's lists."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django_filters.filters import CharFilter, ChoiceFilter

from mayagen.common.api import (
    AliveFilterSet,
    IdFilter,
    MomentFilter,
    StrictBooleanFilter,
    StrictFilterSet,
    StrictNumberFilter,
)
from prompts.choices import Kind, Provider
from prompts.models import Label


class CreatedFilterSet(StrictFilterSet):
    """Rows by the time of their making: from `created_after` on, before `created_before`."""

    created_after = MomentFilter(field_name="created_at", lookup_expr="gte")
    created_before = MomentFilter(field_name="created_at", lookup_expr="lt")


class SoftDeleteFilterSet(AliveFilterSet, CreatedFilterSet):
    """Rows that are not deleted, unless `include_deleted=true`, by the time of their making."""


class PromptFilterSet(SoftDeleteFilterSet):
    """Prompts by slug, or by a label that they have."""

    slug = CharFilter()
    label = CharFilter(method="keep_labelled", label="Name of a label")

    def keep_labelled(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Keep the prompts that have a label of this name."""
        return queryset.filter(pk__in=Label.objects.filter(name=value).values("prompt"))


class PromptVersionFilterSet(SoftDeleteFilterSet):
    """Versions of a prompt or model, by number, or by a label that points to them."""

    prompt = IdFilter(field_name="prompt_id")
    image_model = IdFilter(field_name="image_model_id")
    number = StrictNumberFilter()
    label = CharFilter(method="keep_labelled", label="Name of a label")

    def keep_labelled(self, queryset: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """Keep the versions that a label of this name points to."""
        return queryset.filter(pk__in=Label.objects.filter(name=value).values("version"))


class ImageModelFilterSet(SoftDeleteFilterSet):
    """Models by provider, kind, slug, and whether they are switched on."""

    slug = CharFilter()
    provider = ChoiceFilter(choices=Provider.choices)
    kind = ChoiceFilter(choices=Kind.choices)
    is_active = StrictBooleanFilter()


class ProviderKeyFilterSet(CreatedFilterSet):
    """Keys by name."""

    name = CharFilter()


class LabelFilterSet(CreatedFilterSet):
    """Labels of a prompt, by name, or of the version that they point to."""

    prompt = IdFilter(field_name="prompt_id")
    version = IdFilter(field_name="version_id")
    name = CharFilter()
