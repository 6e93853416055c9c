"""Runs: launched in one transaction, and cancelled at any time."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import Priority, RunKind, Status
from generations.models import DatasetItemImage, DatasetVersion, Generation, InputImage, Run
from generations.services.images import InputFiles, UploadedInput, make_inputs, stored_while_written
from generations.services.inserting import insert_many
from generations.services.ledger import Account, reserve, settle
from generations.services.planning import (
    MAX_SEED,
    Case,
    PreparedVersion,
    check_cases,
    list_cases,
    make_brief,
    make_generations,
    prepare_version,
)
from generations.waking import wake_engine
from mayagen.common.errors import ConflictError, DomainError
from prompts.models import PromptVersion
from prompts.services import freeze_versions
from prompts.services.checking import check_row

MAX_GENERATIONS: Final = 100_000
MAX_REPEATS: Final = 100
MAX_NAME_LENGTH: Final = 255
MAX_BRIEF_LENGTH: Final = 2_000
MAX_CEILING_USD: Final = 1_000_000
CEILING_RULE: Final = f"The ceiling is from $0.01 to ${MAX_CEILING_USD:,}, in whole cents."
_BATCH: Final = 1_000


class RunInvalidError(DomainError):
    """The run can't be launched as it was asked for; `fields` says what is wrong with which part."""

    code = "run_invalid"
    sentence = "The run can't be launched like this."


class RunTooLargeError(DomainError):
    """The run would make more generations than one run may."""

    code = "run_too_large"
    sentence = f"A run makes at most {MAX_GENERATIONS:,} generations."


class DatasetDeletedError(DomainError):
    """The dataset has been deleted."""

    code = "dataset_deleted"
    sentence = "The dataset has been deleted. Restore it, or choose another."


class RunFinishedError(ConflictError):
    """Nothing of the run is left to cancel."""

    code = "run_finished"
    sentence = "All generations of this run are finished."


class GenerationFinishedError(ConflictError):
    """The generation is in a final status."""

    code = "generation_finished"
    sentence = "The generation is already finished."


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will make, known before it is launched."""

    versions: Sequence[PreparedVersion]
    cases: Sequence[Case]
    repeats: int

    @property
    def n_generations(self) -> int:
        """How many generations the run makes."""
        return len(self.versions) * len(self.cases) * self.repeats


def create_run(
    *,
    actor: User,
    name: str,
    prompt_versions: Sequence[PromptVersion],
    dataset_version: DatasetVersion | None = None,
    variables: Mapping[str, Any] | None = None,
    brief: str = "",
    input_files: Sequence[UploadedInput] = (),
    repeats: int = 1,
    base_seed: int = 0,
    priority: int = Priority.NORMAL,
    note: str = "",
    ceiling_usd: Decimal | None = None,
    kind: str = RunKind.LAUNCHED,
) -> Run:
    """Launch versions × items × repeats, all queued, or nothing at all; the engine wakes on commit.

    Args:
        prompt_versions: At least one; from now on they never change.
        dataset_version: Whose items every version is run on; None for one case of `variables`.
        variables: For a run without a dataset: exactly the variables that the versions use.
        brief: For a run without a dataset: what evaluators read; else the variables serve.
        input_files: Given to every generation, after the item's own images.
        base_seed: From it the seed of each item and repeat follows, the same for all versions.
        ceiling_usd: What all of it may cost; what would go beyond is cancelled when its turn comes.

    Raises:
        QuotaExceededError: A monthly quota leaves less than all of it is expected to cost.
        RunInvalidError: A value is missing or out of range.
        VersionDeletedError: A version or its prompt is deleted.
        VersionUnusableError: A version's model is not available.
        PriceUnknownError: A version's model has no price and is not free.
        DatasetDeletedError: The dataset is deleted.
        CaseVariablesError: Items lack variables that a version uses.
        UnknownVariableError: A variable is given that no version uses.
        InputsInvalidError: The input images do not fit a model.
        MediaError: An uploaded file is no image that can be taken.
        RunTooLargeError: There would be more than 100,000 generations.
    """
    require(actor, "generations.add_run")
    run = Run(
        name=name.strip(),
        kind=kind,
        note=note,
        dataset_version=dataset_version,
        variables=dict(variables or {}),
        brief=brief.strip(),
        repeats=repeats,
        base_seed=base_seed,
        priority=priority,
        ceiling_usd=ceiling_usd,
        created_by=actor,
    )
    version_ids = [version.pk for version in prompt_versions]
    _check_run(run, version_ids)
    with stored_while_written([file.content for file in input_files], folder="inputs") as stored:
        given = [InputFiles(item, file.role) for item, file in zip(stored, input_files, strict=True)]
        _write_run(actor, run, version_ids, given)
    return run


def plan_run(
    *,
    version_ids: Sequence[uuid.UUID],
    dataset_version: DatasetVersion | None,
    variables: Mapping[str, Any],
    brief: str = "",
    inputs: Sequence[InputFiles] = (),
    repeats: int = 1,
) -> RunPlan:
    """Return what a run would make, with everything checked that `create_run` checks.

    Raises:
        DomainError: As `create_run`.
    """
    found = PromptVersion.objects.select_related("prompt", "image_model").in_bulk(list(version_ids))
    versions = [prepare_version(found[version_id]) for version_id in version_ids if version_id in found]
    if len(versions) < len(version_ids):
        raise RunInvalidError(fields={"prompt_versions": ["There is no such prompt version."]})
    if dataset_version is None:
        cases = [Case(key="", variables=variables, brief=make_brief(brief, variables), inputs=inputs)]
    else:
        if dataset_version.dataset.is_deleted:
            raise DatasetDeletedError
        # Few items have images, and to prefetch them costs as much as the items themselves.
        images = DatasetItemImage.objects.filter(item__dataset_version=dataset_version)
        cases = list_cases(dataset_version.items.order_by("position"), images, inputs)
    plan = RunPlan(versions, cases, repeats)
    if not cases:
        raise RunInvalidError(fields={"dataset_version": ["This dataset version has no items."]})
    if plan.n_generations > MAX_GENERATIONS:
        raise RunTooLargeError(
            f"This would make {plan.n_generations:,} generations; a run makes at most {MAX_GENERATIONS:,}."
        )
    check_cases(versions, cases)
    return plan


def _check_run(run: Run, version_ids: Sequence[uuid.UUID]) -> None:
    fields: dict[str, list[str]] = {}
    if not run.name or len(run.name) > MAX_NAME_LENGTH:
        fields["name"] = [f"Give the run a name of at most {MAX_NAME_LENGTH} characters."]
    if not version_ids:
        fields["prompt_versions"] = ["Choose at least one prompt version."]
    elif len(set(version_ids)) < len(version_ids):
        fields["prompt_versions"] = ["A prompt version is named twice."]
    fields |= _check_numbers(run)
    if len(run.brief) > MAX_BRIEF_LENGTH:
        fields["brief"] = [f"The brief has at most {MAX_BRIEF_LENGTH:,} characters."]
    if run.dataset_version_id and (run.variables or run.brief):
        fields["variables"] = ["A run over a dataset takes variables and briefs from its items."]
    check_row(run, {"name", "note", "brief"} - fields.keys())
    if fields:
        sentences = [sentence for part in fields.values() for sentence in part]
        raise RunInvalidError(" ".join(sentences), fields=fields)


def _check_numbers(run: Run) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    if not 1 <= run.repeats <= MAX_REPEATS:
        fields["repeats"] = [f"Repeats run from 1 to {MAX_REPEATS}."]
    if not 0 <= run.base_seed <= MAX_SEED:
        fields["base_seed"] = [f"The seed runs from 0 to {MAX_SEED}."]
    if run.priority not in Priority.values:
        fields["priority"] = ["The priority is -1, 0 or 1."]
    if run.ceiling_usd is not None and not is_ceiling(run.ceiling_usd):
        fields["ceiling_usd"] = [CEILING_RULE]
    return fields


def is_ceiling(amount: Decimal) -> bool:
    """Return whether a run may have that ceiling."""
    return amount.is_finite() and 0 < amount <= MAX_CEILING_USD and amount == round(amount, 2)


@transaction.atomic
def _write_run(actor: User, run: Run, version_ids: Sequence[uuid.UUID], given: Sequence[InputFiles]) -> None:
    now = timezone.now()
    # Frozen first: from here on nobody else can change what is about to be rendered.
    freeze_versions(version_ids=version_ids, now=now)
    plan = plan_run(
        version_ids=version_ids,
        dataset_version=run.dataset_version,
        variables=run.variables,
        brief=run.brief,
        inputs=given,
        repeats=run.repeats,
    )
    # All is rendered before anything is written: values that no database could hold are refused here.
    made = _make_rows(run, plan, now)
    run.save(force_insert=True)
    run.prompt_versions.set([prepared.version for prepared in plan.versions])
    _save(made)
    audit.record(actor=actor, verb="create_run", target=run, after=_describe(run, plan))
    # Last, since everybody who launches or finishes anything waits for the ledger's rows.
    prices = [made_one.reserved_usd for made_one, _ in made if made_one.reserved_usd is not None]
    reserve(account=Account.of(actor.pk, now), prices=prices)
    wake_engine()


def _make_rows(run: Run, plan: RunPlan, now: datetime) -> list[tuple[Generation, Case]]:
    common = {
        "run_id": run.pk,
        "priority": run.priority,
        "created_by_id": run.created_by_id,
        "created_at": now,
        "due_at": now,
    }
    made = make_generations(
        plan.versions, plan.cases, repeats=run.repeats, base_seed=run.base_seed, common=common
    )
    return list(made)


def _describe(run: Run, plan: RunPlan) -> dict[str, Any]:
    return {
        "prompt_versions": [str(version.version) for version in plan.versions],
        "dataset_version": str(run.dataset_version or ""),
        "repeats": run.repeats,
        "n_generations": plan.n_generations,
        "ceiling_usd": None if run.ceiling_usd is None else str(run.ceiling_usd),
    }


def _save(made: Sequence[tuple[Generation, Case]]) -> None:
    insert_many(Generation, [generation for generation, _ in made])
    InputImage.objects.bulk_create(
        [image for generation, case in made for image in make_inputs(generation, case.inputs)],
        batch_size=_BATCH,
    )


@transaction.atomic
def cancel_run(*, actor: User, run: Run) -> int:
    """Cancel all of the run that is not finished, and return how many generations that was.

    Raises:
        RunFinishedError: Everything is finished.
    """
    require(actor, "generations.change_run")
    now = timezone.now()
    n_cancelled = _cancel(Generation.objects.filter(run=run), now)
    if not n_cancelled:
        raise RunFinishedError
    Run.objects.filter(pk=run.pk, cancelled_at__isnull=True).update(cancelled_at=now)
    audit.record(actor=actor, verb="cancel_run", target=run, after={"n_cancelled": n_cancelled})
    settle(Generation.objects.filter(run=run, status=Status.CANCELLED))
    return n_cancelled


@transaction.atomic
def cancel_generation(*, actor: User, generation: Generation) -> Generation:
    """Cancel the generation and return it as it is now; what a provider still sends is kept and marked.

    Raises:
        GenerationFinishedError: It is completed, failed or cancelled.
    """
    require(actor, "generations.change_generation")
    if not _cancel(Generation.objects.filter(pk=generation.pk), timezone.now()):
        raise GenerationFinishedError
    audit.record(
        actor=actor, verb="cancel_generation", target=generation, after={"status": Status.CANCELLED.value}
    )
    settle(Generation.objects.filter(pk=generation.pk))
    generation.refresh_from_db()
    return generation


def _cancel(generations: QuerySet[Generation], now: datetime) -> int:
    # One step more on the fence: a worker that still holds one of them can no longer complete it. It keeps
    # its lease, and asks the provider to stop what is in flight.
    return generations.filter(status__in=(Status.QUEUED, Status.PROCESSING)).update(
        status=Status.CANCELLED, finished_at=now, fence=F("fence") + 1
    )
