"""Which datasets, runs, generations and images."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import User
from accounts.permissions import can
from generations.choices import (
    FINAL_IMPORT_STATES,
    FINAL_STATUSES,
    WORKED_IMPORT_STATES,
    BreakerState,
    ErrorCode,
    Status,
)
from mayagen.common.models import SoftDeleteQuerySet

if TYPE_CHECKING:
    from generations.models import (
        Attempt,
        Dataset,
        DatasetImport,
        DatasetItem,
        DatasetVersion,
        Generation,
        InputImage,
        MonthlySpend,
        OutputImage,
        ProviderHealth,
        Quota,
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


class DatasetImportQuerySet(QuerySet["DatasetImport"]):
    """Files on their way to dataset versions."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_dataset") else self.none()

    def open(self) -> Self:
        """Keep those that are not in a final state."""
        return self.exclude(state__in=FINAL_IMPORT_STATES)

    def due(self, now: datetime | Now) -> Self:
        """Keep those that wait for a worker: nobody holds a lease on them, or it has run out."""
        is_free = Q(lease_expires_at__isnull=True) | Q(lease_expires_at__lt=now)
        return self.filter(is_free, state__in=WORKED_IMPORT_STATES)

    def held(self, now: datetime | Now) -> Self:
        """Keep those that somebody works on."""
        return self.filter(lease_expires_at__gte=now, state__in=WORKED_IMPORT_STATES)


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

    def ended_early(self) -> Self:
        """Keep what failed, and what the ceiling of its run stopped; what a retry replaced is left out."""
        stopped = Q(status=Status.CANCELLED, error_code=ErrorCode.CEILING_REACHED)
        return self.current().filter(Q(status=Status.FAILED) | stopped)

    def at_risk(self) -> Self:
        """Keep those whose call may have been charged, and nobody knows or has decided whether it was."""
        return self.filter(
            status=Status.FAILED, error_code=ErrorCode.OUTCOME_UNKNOWN, reserved_usd__isnull=False
        )

    def undecided(self) -> Self:
        """Keep those of unknown outcome that nobody has accepted as lost or sent again."""
        return self.current().filter(
            status=Status.FAILED, error_code=ErrorCode.OUTCOME_UNKNOWN, accepted_as_lost_at__isnull=True
        )

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

    def uncompared(self) -> Self:
        """Keep the outputs whose copies exist, but which were not compared with the others of their run."""
        return self.prepared().filter(is_near_duplicate__isnull=True)


class ProviderHealthQuerySet(QuerySet["ProviderHealth"]):
    """Provider addresses that were ever in trouble."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_providerhealth") else self.none()

    def blocked(self, now: datetime | Now) -> Self:
        """Keep the addresses that nobody may call now, not even to try."""
        return self.exclude(state=BreakerState.CLOSED).filter(blocked_until__gt=now)

    def close(self) -> int:
        """Close the breakers that are not closed and forget failures; return how many that concerned."""
        in_trouble = self.exclude(state=BreakerState.CLOSED, n_failures=0)
        return in_trouble.update(
            state=BreakerState.CLOSED, n_failures=0, n_openings=0, opened_at=None, blocked_until=None
        )


class QuotaQuerySet(QuerySet["Quota"]):
    """Quotas."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_quota") else self.none()

    def of(self, user_id: uuid.UUID | None) -> Self:
        """Keep the quotas that hold for a person: their own and the installation's."""
        return self.filter(Q(user__isnull=True) | Q(user=user_id))


class MonthlySpendQuerySet(QuerySet["MonthlySpend"]):
    """The ledger's months."""

    def visible_to(self, actor: User) -> Self:
        """Keep what the actor may see."""
        return self if can(actor, "generations.view_quota") else self.none()

    def of(self, user_id: uuid.UUID | None) -> Self:
        """Keep the months of a person and of the installation."""
        return self.filter(Q(user__isnull=True) | Q(user=user_id))
