"""Leases: confirm one just before a call leaves, beat it meanwhile, and let go of it without losing a job."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Self

from django.conf import settings
from django.db import transaction
from django.db.models import BooleanField, DurationField, ExpressionWrapper, F, Q, Value
from django.db.models.functions import Now

from generations.choices import Status
from generations.engine.work import Work
from generations.models import Attempt, Generation

LEASE: Final = timedelta(seconds=settings.LEASE_SECONDS)


class LeaseLostError(Exception):
    """The generation is not this worker's any more, or the worker stood still too long to know."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The call is about to leave: it may, if the lease has not run out and nobody else has the generation.

    A lease that has run out but that nobody took up is given back at once: the call never left, so the
    generation is queued again with its attempt open, and nothing about it is unknown.
    """

    work: Work

    def apply(self) -> bool:
        """Confirm it; return whether the call may leave."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, wishes: Sequence[Self]) -> list[bool]:
        """Confirm them on the database's clock; return for each whether its call may leave."""
        fences = {wish.work.generation_id: wish.work.fence for wish in wishes}
        is_lapsed = ExpressionWrapper(Q(lease_expires_at__lte=Now()), output_field=BooleanField())
        rows = (
            Generation.objects.filter(id__in=fences, status=Status.PROCESSING)
            .order_by("id")
            .select_for_update()
            .values_list("id", "fence", is_lapsed)
        )
        ours = {row_id: lapsed for row_id, fence, lapsed in rows if fences[row_id] == fence}
        held = {row_id for row_id, lapsed in ours.items() if not lapsed}
        Generation.objects.filter(id__in=held).update(lease_expires_at=Now() + LEASE)
        if lapsed := ours.keys() - held:
            Generation.objects.filter(id__in=lapsed).update(
                status=Status.QUEUED, lease_expires_at=None, due_at=Now(), fence=F("fence") + 1, worker=""
            )
            leave_attempts(lapsed)
        return [wish.work.generation_id in held for wish in wishes]


@dataclass(frozen=True, slots=True)
class Postponed:
    """The attempt goes on later under its job id or its idempotency key; any worker may take it up."""

    work: Work
    delay_seconds: float

    def apply(self) -> bool:
        """Write it; return whether this worker still held the generation."""
        queued = {"status": Status.QUEUED, "lease_expires_at": None, "worker": ""}
        due_at = after(self.delay_seconds)
        held = Generation.objects.filter(
            pk=self.work.generation_id, fence=self.work.fence, status=Status.PROCESSING
        )
        if held.update(due_at=due_at, fence=F("fence") + 1, **queued):
            leave_attempts([self.work.generation_id])
            return True
        # A cancelled one stays cancelled; its job is asked for again once the lease has run out.
        late = Generation.objects.filter(
            pk=self.work.generation_id, fence=self.work.fence + 1, status=Status.CANCELLED
        )
        late.update(lease_expires_at=due_at, worker="")
        return False


@dataclass(frozen=True, slots=True)
class LeftOpen:
    """The answer to a submit was lost, but a webhook may still name the job: wait for it, held by nobody.

    One that has done so already leaves nothing to wait for: the job is asked for at once.
    """

    work: Work
    patience_seconds: float

    def apply(self) -> bool:
        """Write it; return whether this worker still held the generation."""
        # Locked first, as by a webhook: either that finds nobody waiting, or its job id is found here.
        attempt = Attempt.objects.filter(pk=self.work.attempt_id).select_for_update().first()
        held = Generation.objects.filter(
            pk=self.work.generation_id, fence=self.work.fence, status=Status.PROCESSING
        )
        if attempt is None or not attempt.provider_job_id:
            lease = {"lease_expires_at": after(self.patience_seconds)}
            return bool(held.update(worker="", fence=F("fence") + 1, **lease))
        queued = {"status": Status.QUEUED, "lease_expires_at": None, "due_at": Now()}
        if not held.update(worker="", fence=F("fence") + 1, **queued):
            return False
        leave_attempts([self.work.generation_id])
        return True


@dataclass(frozen=True, slots=True)
class Holdings:
    """Which of the generations are still this worker's, and which of its own a person has cancelled."""

    held: frozenset[uuid.UUID]
    cancelled: frozenset[uuid.UUID]


def look_after(*, generation_ids: Sequence[uuid.UUID], worker: str) -> Holdings:
    """Return what has become of the generations that this worker claimed."""
    rows = Generation.objects.filter(
        Q(status=Status.PROCESSING, lease_expires_at__gt=Now()) | Q(status=Status.CANCELLED),
        id__in=generation_ids,
        worker=worker,
    ).values_list("id", "status")
    found = list(rows)
    return Holdings(
        held=frozenset(row_id for row_id, status in found if status == Status.PROCESSING),
        cancelled=frozenset(row_id for row_id, status in found if status == Status.CANCELLED),
    )


def extend_leases(*, generation_ids: Sequence[uuid.UUID], worker: str) -> None:
    """Beat the leases that this worker still holds, those of cancelled work in flight too."""
    Generation.objects.filter(
        id__in=generation_ids,
        worker=worker,
        status__in=(Status.PROCESSING, Status.CANCELLED),
        lease_expires_at__gt=Now(),
    ).update(lease_expires_at=Now() + LEASE)


@transaction.atomic
def give_back_unheard(*, worker: str, begun: Collection[uuid.UUID]) -> int:
    """Queue again what this worker holds without knowing it, and return how many that were.

    A claim whose commit arrived but not its answer leaves such rows. Nothing was sent for them, since only
    this worker could have; left to their lease, their outcome would count as unknown.

    Args:
        begun: The attempts that this worker has ever begun to drive.
    """
    ours = Attempt.objects.in_flight().filter(worker=worker).values_list("id", "generation_id")
    unheard = [generation_id for attempt_id, generation_id in ours if attempt_id not in begun]
    held = Generation.objects.filter(id__in=unheard, worker=worker, status=Status.PROCESSING)
    ids = list(held.order_by("id").select_for_update().values_list("id", flat=True))
    Generation.objects.filter(id__in=ids).update(
        status=Status.QUEUED, lease_expires_at=None, due_at=Now(), fence=F("fence") + 1, worker=""
    )
    leave_attempts(ids)
    return len(ids)


def leave_attempts(generation_ids: Collection[uuid.UUID]) -> None:
    """Say that nobody waits for the open attempts of these generations, so that they are taken up again."""
    Attempt.objects.in_flight().filter(generation_id__in=generation_ids).update(worker="")


def is_ours(work: Work, status: str, fence: int) -> bool:
    """Whether the row is as this worker's claim left it, or as a person's cancelling then left it."""
    return (status, fence) in {(Status.PROCESSING, work.fence), (Status.CANCELLED, work.fence + 1)}


def after(seconds: float) -> ExpressionWrapper[Any]:
    """Return the time so many seconds from now, on the database's clock."""
    return ExpressionWrapper(
        Now() + Value(timedelta(seconds=seconds), output_field=DurationField()),
        output_field=Generation._meta.get_field("due_at"),
    )
