"""The fixed cases that every version is run on."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from generations.querysets import DatasetItemQuerySet, DatasetQuerySet, DatasetVersionQuerySet
from mayagen.common.models import SoftDeleteModel, UUIDModel


class Dataset(SoftDeleteModel, UUIDModel):
    """A named set of cases; any change of its items makes a new version."""

    slug = models.SlugField(max_length=80)
    name = models.CharField(max_length=255)
    description = models.TextField(blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = DatasetQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["slug"], condition=Q(deleted_at__isnull=True), name="dataset_slug_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name


class DatasetVersion(UUIDModel):
    """The items of a dataset at one time; a run pins one. Never changes once made."""

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField()
    note = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = DatasetVersionQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["dataset", "number"], name="dataset_version_number_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="dataset_version_number_positive"),
        )

    def __str__(self) -> str:
        return f"{self.dataset} v{self.number}"


class DatasetItem(UUIDModel):
    """One case: variables and images for the prompt, tags for slices, and the brief that evaluators read.

    The brief is one plain sentence of what the picture should show, the same for every prompt version.
    """

    dataset_version = models.ForeignKey(DatasetVersion, on_delete=models.PROTECT, related_name="items")
    position = models.PositiveIntegerField()
    key = models.CharField(max_length=120)
    brief = models.TextField(blank=True)
    variables = models.JSONField(default=dict, blank=True)
    tags = models.JSONField(default=list, blank=True)

    objects = DatasetItemQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["dataset_version", "key"], name="dataset_item_key_unique"),
            models.UniqueConstraint(
                fields=["dataset_version", "position"], name="dataset_item_position_unique"
            ),
        )

    def __str__(self) -> str:
        return self.key
