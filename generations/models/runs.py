"""Runs: versions × items × repeats."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from generations.choices import Priority, RunKind
from generations.models.datasets import DatasetVersion
from generations.querysets import RunQuerySet
from mayagen.common.models import UUIDModel
from prompts.models import PromptVersion


class Run(UUIDModel):
    """One launch of prompt versions over cases; its state is always derived from its generations.

    Once what it has cost, and what is under way is expected to cost, leaves no room for the next generation
    under `ceiling_usd`, those not yet begun are cancelled. `settled_usd` is kept for that, only in runs with
    a ceiling: what those of its begun generations have cost that have no `OpenCharge` any more.
    """

    name = models.CharField(max_length=255)
    kind = models.CharField(max_length=10, choices=RunKind.choices, default=RunKind.LAUNCHED)
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
    ceiling_usd = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)
    settled_usd = models.DecimalField(
        max_digits=16, decimal_places=6, default=0, db_default=0, editable=False
    )
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="runs")
    cancelled_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = RunQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(repeats__gte=1), name="run_repeats_positive"),
            models.CheckConstraint(
                condition=Q(ceiling_usd__isnull=True) | Q(ceiling_usd__gt=0), name="run_ceiling_positive"
            ),
        )

    def __str__(self) -> str:
        return self.name
