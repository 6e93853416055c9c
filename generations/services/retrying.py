"""Retry what failed or was cancelled, by new rows that take the place of the old ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import Source, Status
from generations.image_files import StoredFiles
from generations.models import Generation, InputImage, Run
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
def retry_failed(*, actor: User, run: Run, error_code: str | None = None) -> int:
    """Queue a new generation for each failed one of the run, and return how many.

    Args:
        error_code: Only those that failed with this code.

    Raises:
        NothingToRetryError: There are none.
        VersionDeletedError: A version of theirs is deleted.
        VersionUnusableError: A model of theirs is not available.
    """
    require(actor, "generations.change_run")
    failed = Generation.objects.filter(run=run, status=Status.FAILED)
    n_retried = len(_retry(actor, failed.filter(error_code=error_code) if error_code else failed))
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
        VersionDeletedError: Its version is deleted.
        VersionUnusableError: Its model is not available.
    """
    require(actor, "generations.change_generation")
    retried = _retry(
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


def _retry(actor: User, generations: QuerySet[Generation]) -> list[Generation]:
    locked = list(
        generations.filter(is_superseded=False, source=Source.ENGINE).order_by("id").select_for_update()
    )
    version_ids = {generation.prompt_version_id for generation in locked}
    for version in PromptVersion.objects.select_related("prompt", "image_model").filter(pk__in=version_ids):
        prepare_version(version)
    made: list[Generation] = []
    for start in range(0, len(locked), _BATCH):
        made += _replace(actor, locked[start : start + _BATCH])
    if made:
        wake_engine()
    return made


def _replace(actor: User, old: Sequence[Generation]) -> list[Generation]:
    """Put new rows in the place of old ones that the caller has locked; input images share their files."""
    ids = [generation.pk for generation in old]
    Generation.objects.filter(pk__in=ids).update(is_superseded=True)
    made = [
        Generation(
            retry_of=generation, created_by=actor, **{name: getattr(generation, name) for name in _COPIED}
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
