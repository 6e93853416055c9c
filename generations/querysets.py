"""Which datasets, runs, generations and images."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from accounts.permissions import can
from generations.choices import FINAL_STATUSES, Status
from mayagen.common.models import SoftDeleteQuerySet

if TYPE_CHECKING:
    from generations.models import (
        Attempt,
        Dataset,
        DatasetItem,
        DatasetVersion,
        Generation,
        InputImage,
        OutputImage,
        Run,
    )


class DatasetQuerySet(SoftDeleteQuerySet["Dataset"]):
    """Datasets."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_dataset") else self.none()


class DatasetVersionQuerySet(QuerySet["DatasetVersion"]):
    """Versions of datasets."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_datasetversion") else self.none()


class DatasetItemQuerySet(QuerySet["DatasetItem"]):
    """Cases."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_datasetitem") else self.none()


class RunQuerySet(QuerySet["Run"]):
    """Runs."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_run") else self.none()

    def with_counts(self) -> Self:
        """Annotate `n_<status>` for each status and `n_total`, superseded generations left out."""
        current = Q(generations__is_superseded=False)
        counts = {
            f"n_{status}": Count("generations", filter=current & Q(generations__status=status))
            for status in Status.values
        }
        return self.annotate(n_total=Count("generations", filter=current), **counts)


class GenerationQuerySet(QuerySet["Generation"]):
    """Generations."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_generation") else self.none()

    def current(self) -> Self:
        """Leave out the generations that a retry replaced."""
        return self.filter(is_superseded=False)

    def due(self, now: datetime | Now) -> Self:
        """Keep the queued generations whose time has come."""
        return self.filter(status=Status.QUEUED, due_at__lte=now)

    def abandoned(self, now: datetime | Now) -> Self:
        """Keep the generations in process whose lease has run out."""
        return self.filter(status=Status.PROCESSING, lease_expires_at__lt=now)

    def unfinished(self) -> Self:
        """Keep the generations that are not in a final status."""
        return self.exclude(status__in=FINAL_STATUSES)

    def unrated(self) -> Self:
        """Keep the completed generations that nobody has rated."""
        return self.filter(status=Status.COMPLETED, result_rating__isnull=True)


class AttemptQuerySet(QuerySet["Attempt"]):
    """Attempts."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_attempt") else self.none()

    def in_flight(self) -> Self:
        """Keep the attempts whose answer has not come."""
        return self.filter(answered_at__isnull=True)


class InputImageQuerySet(QuerySet["InputImage"]):
    """Input images."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_inputimage") else self.none()


class OutputImageQuerySet(QuerySet["OutputImage"]):
    """Output images."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_outputimage") else self.none()

    def unrated(self) -> Self:
        """Keep the outputs that nobody has rated."""
        return self.filter(rating__isnull=True)

    def prepared(self) -> Self:
        """Keep the outputs whose thumbnails and blind copy exist; only these are due for review."""
        return self.exclude(blind="")

    def unprepared(self) -> Self:
        """Keep the outputs whose copies are still to be made."""
        return self.filter(blind="")
