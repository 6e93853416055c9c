"""Abstract models and querysets that every app stands on."""

from __future__ import annotations

from typing import Self, TypeVar

from django.db import models
from django.utils import timezone

from mayagen.common.ids import uuid7

ModelT = TypeVar("ModelT", bound=models.Model)


class UUIDModel(models.Model):
    """A row with a time-ordered primary key and the time of its making."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        abstract = True


class SoftDeleteQuerySet(models.QuerySet[ModelT]):
    """Rows that may have been soft-deleted; hiding them is always asked for, never a default."""

    def alive(self) -> Self:
        """Keep the rows that are not soft-deleted."""
        return self.filter(deleted_at__isnull=True)

    def deleted(self) -> Self:
        """Keep the soft-deleted rows."""
        return self.filter(deleted_at__isnull=False)


class SoftDeleteModel(models.Model):
    """A row that can be hidden from lists and pickers while history keeps it."""

    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        abstract = True

    @property
    def is_deleted(self) -> bool:
        """Whether the row has been soft-deleted."""
        return self.deleted_at is not None
