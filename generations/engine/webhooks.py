"""Webhooks of providers: the address that each attempt is given, and what a verified one changes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from generations.choices import AttemptState, Status
from generations.engine.work import Work
from generations.models import Attempt, Generation
from generations.waking import wake_engine

PATH: Final = "webhooks"
PATIENCE: Final = timedelta(seconds=60)
"""How long after a model's timeout a webhook may still name a job whose id was lost."""
MAX_JOB_ID_LENGTH: Final = 200
_signer: Final = signing.Signer(salt="generations.webhook", sep=".")


def make_webhook_url(work: Work) -> str:
    """Return the address that the provider of an attempt may call; nobody else can guess it."""
    token = _signer.sign(work.attempt_id.hex)
    return f"{settings.PUBLIC_URL}/{PATH}/{work.model.provider}/{token}/"


def read_token(token: str) -> uuid.UUID | None:
    """Return the attempt that a webhook's address names, or None if the address is not one of ours."""
    try:
        return uuid.UUID(_signer.unsign(token))
    except (signing.BadSignature, ValueError):
        return None


@transaction.atomic
def note_webhook(*, attempt_id: uuid.UUID, job_id: str) -> bool:
    """Note that the provider has news of an attempt's job; return whether the job is the attempt's.

    Only the first of several is noted, and none after the answer is known. A job whose id was lost comes
    home by it: the generation that nobody held any more is queued, to ask for that job.
    """
    if not job_id or len(job_id) > MAX_JOB_ID_LENGTH:
        return False
    attempt = Attempt.objects.filter(pk=attempt_id).select_for_update().first()
    if attempt is None or attempt.provider_job_id not in ("", job_id):
        return False
    if not attempt.provider_job_id:
        if Attempt.objects.filter(provider_job_id=job_id, image_model=attempt.image_model_id).exists():
            return False
        _bring_home(attempt, job_id)
    Attempt.objects.in_flight().filter(pk=attempt_id, webhook_at__isnull=True).update(webhook_at=Now())
    postponed = Generation.objects.filter(pk=attempt.generation_id, status=Status.QUEUED, due_at__gt=Now())
    if attempt.answered_at is None and postponed.update(due_at=Now()):
        wake_engine()
    return True


def list_told(attempt_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Return those of the attempts whose webhook has come."""
    told = Attempt.objects.filter(id__in=attempt_ids, webhook_at__isnull=False)
    return list(told.values_list("id", flat=True))


def _bring_home(attempt: Attempt, job_id: str) -> None:
    open_ones = Attempt.objects.in_flight().filter(pk=attempt.pk)
    if not open_ones.update(provider_job_id=job_id, state=AttemptState.SUBMITTED):
        # Too late for the generation, but whoever decides about it may want to look the job up.
        Attempt.objects.filter(pk=attempt.pk).update(provider_job_id=job_id)
        return
    waiting = Generation.objects.filter(pk=attempt.generation_id, status=Status.PROCESSING, worker="")
    if waiting.update(status=Status.QUEUED, lease_expires_at=None, due_at=Now(), fence=F("fence") + 1):
        open_ones.update(worker="")
        wake_engine()
