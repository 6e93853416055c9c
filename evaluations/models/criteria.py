"""What is judged, and on which scale."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from evaluations.querysets import CriterionQuerySet
from mayagen.common.models import UUIDModel


class Criterion(UUIDModel):
    """One question about an image; its newest scale is the one that new ratings use."""

    slug = models.SlugField(max_length=80, unique=True)
    name = models.CharField(max_length=120)
    description = models.TextField(blank=True)
    is_active = models.BooleanField(default=True)

    objects = CriterionQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "criteria"

    def __str__(self) -> str:
        return self.name


class Scale(UUIDModel):
    """One version of a criterion's ordered levels; never changes once made."""

    criterion = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="scales")
    number = models.PositiveIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["criterion", "number"], name="scale_number_unique"),
            models.CheckConstraint(condition=Q(number__gte=1), name="scale_number_positive"),
        )

    def __str__(self) -> str:
        return f"{self.criterion} scale {self.number}"


class ScaleLevel(models.Model):
    """One level of a scale, such as GOOD 4."""

    scale = models.ForeignKey(Scale, on_delete=models.PROTECT, related_name="levels")
    level = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=40)
    description = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["scale", "level"], name="scale_level_unique"),
            models.CheckConstraint(condition=Q(level__gte=1, level__lte=100), name="scale_level_range"),
        )

    def __str__(self) -> str:
        return f"{self.name} {self.level}"
