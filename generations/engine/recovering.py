"""Take up work whose worker is gone: ask for its result, repeat what is harmless, name what is unknown."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, Subquery
from django.db.models.functions import Now
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.adopting import OLDEST
from generations.engine.capabilities import expects_webhooks, get_capabilities, is_harmless_to_repeat
from generations.engine.holding import LEASE
from generations.engine.webhooks import PATIENCE
from generations.models import Attempt, Generation
from generations.providers.base import ERROR_FACTS
from generations.providers.base import ErrorCode as ProviderErrorCode
from generations.querysets import GenerationQuerySet
from generations.services.ledger import settle

BATCH_SIZE = 200


def recover_abandoned() -> int:
    """Free the generations whose lease has run out, and return how many there were.

    One whose attempt has a provider job id is queued to ask for that job; one that may be sent again
    without being paid twice is queued with the same idempotency key; one whose job a webhook may yet name
    waits for it; any other fails as `outcome_unknown` and waits for a person.
    """
    n_recovered = 0
    for generation in (
        Generation.objects.abandoned(Now())
        .select_related("image_model")
        .order_by("lease_expires_at")[:BATCH_SIZE]
    ):
        n_recovered += _recover(generation)
    return n_recovered


@transaction.atomic
def _recover(generation: Generation) -> int:
    attempt = Attempt.objects.filter(generation=generation).order_by("-number").first()
    if attempt is not None:
        locked = Attempt.objects.filter(pk=attempt.pk).select_for_update(skip_locked=True)
        attempt = locked.first()
        if attempt is None:
            return 0
    lapsed = Generation.objects.abandoned(Now()).filter(pk=generation.pk, fence=generation.fence)
    # What somebody has locked is not waited for: a worker that stands still may hold it for ever.
    if not lapsed.select_for_update(skip_locked=True):
        return 0
    if attempt is None or attempt.provider_job_id or is_harmless_to_repeat(generation.image_model):
        won = lapsed.update(
            status=Status.QUEUED, lease_expires_at=None, due_at=Now(), fence=F("fence") + 1, worker=""
        )
        if won and attempt is not None:
            Attempt.objects.filter(pk=attempt.pk).update(
                state=AttemptState.SUBMITTED if attempt.provider_job_id else AttemptState.STARTED,
                answered_at=None,
                worker="",
            )
        return won
    patience = _get_patience(generation, attempt)
    if patience > timedelta(0):
        lapsed.update(lease_expires_at=Now() + patience, fence=F("fence") + 1, worker="")
        return 0
    return _fail_as_unknown(lapsed, attempt)


def _get_patience(generation: Generation, attempt: Attempt) -> timedelta:
    """Return for how long a webhook may still name the job of an attempt whose submit's answer was lost."""
    model = generation.image_model
    if attempt.answered_at is not None or not expects_webhooks(get_capabilities(model)):
        return timedelta(0)
    return attempt.started_at + timedelta(seconds=model.timeout_seconds) + PATIENCE - timezone.now()


def _fail_as_unknown(lapsed: GenerationQuerySet, attempt: Attempt) -> int:
    fields = {
        "error_code": ErrorCode.OUTCOME_UNKNOWN,
        "error_message": ERROR_FACTS[ProviderErrorCode.OUTCOME_UNKNOWN].sentence,
    }
    won = lapsed.update(
        status=Status.FAILED, finished_at=Now(), lease_expires_at=None, fence=F("fence") + 1, **fields
    )
    if won:
        Attempt.objects.filter(pk=attempt.pk).update(state=AttemptState.UNKNOWN, answered_at=Now(), **fields)
    return won


@transaction.atomic
def close_cancelled_attempts() -> int:
    """Close the attempts of cancelled generations whose worker died before it noticed; return how many.

    What such a call may have cost counts as spent, since nobody can find out any more. Those with a job id
    are left to `adopting`, as long as it looks for them. Where the answer had come, but not what it brought,
    its cost is booked.
    """
    orphans = Attempt.objects.in_flight().filter(
        Q(generation__lease_expires_at__lt=Now() - LEASE)
        | Q(generation__lease_expires_at__isnull=True, generation__finished_at__lt=Now() - 2 * LEASE),
        Q(provider_job_id="") | Q(started_at__lte=Now() - OLDEST),
        generation__status=Status.CANCELLED,
    )
    ids = list(orphans.values_list("generation_id", flat=True)[:BATCH_SIZE])
    ids += _list_unsettled()
    chosen = orphans.filter(generation_id__in=ids)
    held_back = Generation.objects.filter(pk=OuterRef("generation_id")).values("reserved_usd")
    n_closed = chosen.filter(generation__reserved_usd__isnull=False).update(
        state=AttemptState.UNKNOWN, answered_at=Now(), cost_usd=Subquery(held_back)
    )
    n_closed += chosen.update(state=AttemptState.CANCELLED, answered_at=Now())
    settle(Generation.objects.filter(pk__in=ids))
    return n_closed


def _list_unsettled() -> list[uuid.UUID]:
    """Return cancelled generations that hold money back although no call of theirs is open any more."""
    gone = Q(lease_expires_at__lt=Now() - LEASE)
    gone |= Q(lease_expires_at__isnull=True, finished_at__lt=Now() - 2 * LEASE)
    held = Generation.objects.filter(gone, status=Status.CANCELLED, reserved_usd__isnull=False)
    closed = held.filter(~Exists(Attempt.objects.in_flight().filter(generation=OuterRef("pk"))))
    return list(closed.values_list("pk", flat=True)[:BATCH_SIZE])
