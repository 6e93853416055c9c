"""Take up work whose worker is gone: ask for its result, repeat what is harmless, name what is unknown."""

from __future__ import annotations

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.claiming import LEASE
from generations.models import Attempt, Generation
from generations.providers.base import ERROR_FACTS
from generations.providers.base import ErrorCode as ProviderErrorCode
from generations.querysets import GenerationQuerySet

BATCH_SIZE = 200


def recover_abandoned() -> int:
    """Free the generations whose lease has run out, and return how many there were.

    One whose attempt has a provider job id is queued to ask for that job; one that may be sent again
    without being paid twice is queued with the same idempotency key; any other fails as
    `outcome_unknown` and waits for a person.
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
    lapsed = Generation.objects.abandoned(Now()).filter(pk=generation.pk, fence=generation.fence)
    is_harmless = generation.image_model.repeats_unknown or generation.image_model.is_free
    if attempt is None or attempt.provider_job_id or is_harmless:
        won = lapsed.update(
            status=Status.QUEUED, lease_expires_at=None, due_at=Now(), fence=F("fence") + 1, worker=""
        )
        if won and attempt is not None:
            Attempt.objects.filter(pk=attempt.pk).update(
                state=AttemptState.SUBMITTED if attempt.provider_job_id else AttemptState.STARTED,
                answered_at=None,
            )
        return won
    return _fail_as_unknown(lapsed, attempt)


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


def close_cancelled_attempts() -> int:
    """Close the attempts of cancelled generations whose worker died before it noticed; return how many."""
    orphans = Attempt.objects.in_flight().filter(
        generation__status=Status.CANCELLED, generation__finished_at__lt=Now() - 2 * LEASE
    )
    return orphans.update(state=AttemptState.CANCELLED, answered_at=Now())
