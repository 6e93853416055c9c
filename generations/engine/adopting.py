"""Take up the jobs of cancelled generations whose worker is gone, so that they are stopped or kept."""

from __future__ import annotations

from datetime import timedelta

from django.db import transaction
from django.db.models.functions import Now

from generations.choices import Status
from generations.engine.claiming import to_model_spec, to_work
from generations.engine.clock import read_clock
from generations.engine.holding import LEASE
from generations.engine.work import Work
from generations.models import Attempt, Generation
from generations.querysets import AttemptQuerySet

BATCH_SIZE = 100
OLDEST = timedelta(hours=2)


def adopt_cancelled(*, worker: str) -> list[Work]:
    """Return the jobs of cancelled generations that nobody looks after, now leased to this worker."""
    claimed_at = read_clock()
    with transaction.atomic():
        attempts = list(
            list_forsaken()
            .select_related("generation__image_model")
            .order_by("id")
            .select_for_update(skip_locked=True, of=("self",))[:BATCH_SIZE]
        )
        if not attempts:
            return []
        Generation.objects.filter(id__in=[attempt.generation_id for attempt in attempts]).update(
            worker=worker, lease_expires_at=Now() + LEASE
        )
        Attempt.objects.filter(id__in=[attempt.pk for attempt in attempts]).update(worker=worker)
    return [
        to_work(
            attempt.generation,
            attempt,
            to_model_spec(attempt.generation.image_model),
            claimed_at=claimed_at,
            # As it was before a person cancelled it, which takes one step on the fence.
            fence=attempt.generation.fence - 1,
            is_cancelled=True,
        )
        for attempt in attempts
    ]


def list_forsaken() -> AttemptQuerySet:
    """Return the open attempts with a job id whose generation is cancelled and whose lease has run out."""
    return (
        Attempt.objects.in_flight()
        .filter(
            generation__status=Status.CANCELLED,
            generation__lease_expires_at__lt=Now(),
            started_at__gt=Now() - OLDEST,
        )
        .exclude(provider_job_id="")
    )
