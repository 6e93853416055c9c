"""Runs: versions × items × repeats."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from generations.choices import Priority
from generations.models.datasets import DatasetVersion
from generations.querysets import RunQuerySet
from mayagen.common.models import UUIDModel
from prompts.models import PromptVersion


class Run(UUIDModel):
    """One launch of prompt versions over cases; its state is always derived from its generations."""

    name = models.CharField(max_length=255)
    note = models.TextField(blank=True)
    prompt_versions: models.ManyToManyField[PromptVersion, models.Model] = models.ManyToManyField(
        PromptVersion, related_name="runs"
    )
    dataset_version = models.ForeignKey(
        DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="runs"
    )
    variables = models.JSONField(default=dict, blank=True)
    brief = models.TextField(blank=True)
    repeats = models.PositiveSmallIntegerField(default=1)
    base_seed = models.BigIntegerField(default=0)
    priority = models.SmallIntegerField(choices=Priority.choices, default=Priority.NORMAL)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="runs")
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = (models.CheckConstraint(condition=Q(repeats__gte=1), name="run_repeats_positive"),)

    def __str__(self) -> str:
        return self.name
