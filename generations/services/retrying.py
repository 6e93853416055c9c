"""Retry what failed or was cancelled, by new rows that take the place of the old ones."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import ErrorCode, Source, Status
from generations.image_files import StoredFiles
from generations.models import Generation, InputImage, Run
from generations.services.ledger import Account, lock_accounts, reserve, settle_unknown
from generations.services.planning import prepare_version
from generations.waking import wake_engine
from mayagen.common.errors import ConflictError
from prompts.models import PromptVersion

_BATCH: Final = 1_000


class NothingToRetryError(ConflictError):
    """No generation of the run has failed, or the failed ones have been retried."""

    code = "nothing_to_retry"
    sentence = "The run has no failed generations to retry."


class GenerationNotRetryableError(ConflictError):
    """The generation has neither failed nor been cancelled, was retried before, or was made elsewhere."""

    code = "generation_not_retryable"
    sentence = "Only a generation of the engine that failed or was cancelled can be retried, and only once."


@transaction.atomic
def retry_failed(
    *, actor: User, run: Run, error_code: str | None = None, leaves_unknown: bool = False
) -> int:
    """Queue a new generation for each failed one of the run, and return how many.

    Args:
        error_code: Only those that failed with this code.
        leaves_unknown: Pass over calls whose outcome nobody knows, which may be paid for twice.

    Raises:
        NothingToRetryError: There are none.
        QuotaExceededError: A monthly quota leaves less than they are expected to cost.
        VersionDeletedError: A version of theirs is deleted.
        VersionUnusableError: A model of theirs is not available.
    """
    require(actor, "generations.change_run")
    failed = Generation.objects.filter(run=run, status=Status.FAILED)
    if leaves_unknown:
        failed = failed.exclude(error_code=ErrorCode.OUTCOME_UNKNOWN)
    n_retried = len(replace(actor, failed.filter(error_code=error_code) if error_code else failed))
    if not n_retried:
        raise NothingToRetryError
    audit.record(
        actor=actor,
        verb="retry_failed",
        target=run,
        after={"n_retried": n_retried, "error_code": error_code or ""},
    )
    return n_retried


@transaction.atomic
def retry_generation(*, actor: User, generation: Generation) -> Generation:
    """Queue a new generation in place of one that failed or was cancelled, and return it.

    Raises:
        GenerationNotRetryableError: It did neither, has been retried, or was made elsewhere.
        QuotaExceededError: A monthly quota leaves less than it is expected to cost.
        VersionDeletedError: Its version is deleted.
        VersionUnusableError: Its model is not available.
    """
    require(actor, "generations.change_generation")
    retried = replace(
        actor, Generation.objects.filter(pk=generation.pk, status__in=(Status.FAILED, Status.CANCELLED))
    )
    if not retried:
        raise GenerationNotRetryableError
    audit.record(
        actor=actor, verb="retry_generation", target=generation, after={"retried_by": str(retried[0].pk)}
    )
    return retried[0]


_COPIED: Final = (
    "run_id",
    "prompt_version_id",
    "image_model_id",
    "dataset_item_id",
    "case_key",
    "repeat",
    "priority",
    "brief",
    "variables",
    "system_prompt",
    "rendered_prompt",
    "negative_prompt",
    "parameters",
    "seed",
    "n_outputs",
    "width_px",
    "height_px",
)


def replace(actor: User, generations: QuerySet[Generation]) -> list[Generation]:
    """Queue a new generation in the place of each of these that the engine made, and return the new ones.

    The caller has checked the actor's right, and gives only such as have failed or were cancelled.
    """
    locked = list(
        generations.filter(is_superseded=False, source=Source.ENGINE).order_by("id").select_for_update()
    )
    version_ids = {generation.prompt_version_id for generation in locked}
    versions = PromptVersion.objects.select_related("prompt", "image_model").filter(pk__in=version_ids)
    prices = {version.pk: prepare_version(version).reserved_usd for version in versions}
    now = timezone.now()
    made: list[Generation] = []
    for start in range(0, len(locked), _BATCH):
        made += _replace(actor, locked[start : start + _BATCH], prices, now)
    _account(actor, locked, made, now)
    if made:
        wake_engine()
    return made


def _replace(
    actor: User, old: Sequence[Generation], prices: Mapping[uuid.UUID, Decimal | None], now: datetime
) -> list[Generation]:
    """Put new rows in the place of old ones that the caller has locked; input images share their files."""
    ids = [generation.pk for generation in old]
    Generation.objects.filter(pk__in=ids).update(is_superseded=True)
    made = [
        Generation(
            retry_of=generation,
            created_by=actor,
            created_at=now,
            reserved_usd=prices[generation.prompt_version_id],
            **{name: getattr(generation, name) for name in _COPIED},
        )
        for generation in old
    ]
    Generation.objects.bulk_create(made)
    successors = dict(zip(ids, made, strict=True))
    InputImage.objects.bulk_create(
        InputImage(
            generation=successors[image.generation_id],
            position=image.position,
            role=image.role,
            **StoredFiles.of(image).as_fields(),
        )
        for image in InputImage.objects.filter(generation__in=ids).order_by("generation_id", "position")
    )
    return made


def _account(actor: User, old: Sequence[Generation], made: Sequence[Generation], now: datetime) -> None:
    """Reserve for the new ones; of old ones whose outcome nobody knows, count the money as spent."""
    account = Account.of(actor.pk, now)
    at_risk = [generation for generation in old if generation.reserved_usd is not None]
    if at_risk:
        lock_accounts([account, *(Account.of(each.created_by_id, each.created_at) for each in at_risk)])
        settle_unknown(Generation.objects.filter(pk__in=[each.pk for each in at_risk]), is_paid=True)
    reserve(account=account, prices=[each.reserved_usd for each in made if each.reserved_usd is not None])
