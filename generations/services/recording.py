"""Generations whose images were made elsewhere, recorded beside those that the engine makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import Source, Status
from generations.image_files import StoredFiles
from generations.models import DatasetItem, Generation, InputImage, OutputImage
from generations.services.images import (
    MAX_FILES,
    InputFiles,
    UploadedInput,
    make_inputs,
    stored_while_written,
)
from generations.services.planning import (
    MAX_SEED,
    Case,
    VersionDeletedError,
    get_templates,
    make_brief,
)
from mayagen.common.errors import ConflictError, DomainError
from prompts.models import PromptVersion
from prompts.rendering import MAX_RENDERED_LENGTH, check_variables, render
from prompts.services import freeze_versions
from prompts.services.checking import check_object, check_row

# Work made elsewhere waits for its images, and is never due for the engine.
NEVER_DUE: Final = datetime(9999, 1, 1, tzinfo=UTC)
MAX_CASE_KEY_LENGTH: Final = 120
MAX_BIG_INTEGER: Final = 2**63 - 1
MAX_COST_USD: Final = 1_000_000


class RecordingInvalidError(DomainError):
    """A value of the record is out of range; `fields` says which."""

    code = "recording_invalid"
    sentence = "The generation can't be recorded like this."


class OutputsNotAcceptedError(ConflictError):
    """The generation is the engine's own, or has failed or been cancelled."""

    code = "outputs_not_accepted"
    sentence = "Outputs can be added only to generations that were made elsewhere and are not cancelled."


def record_generation(
    *,
    actor: User,
    prompt_version: PromptVersion,
    variables: Mapping[str, Any] | None = None,
    rendered_prompt: str = "",
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
    brief: str = "",
    dataset_item: DatasetItem | None = None,
    case_key: str = "",
    input_files: Sequence[UploadedInput] = (),
    output_files: Sequence[bytes] = (),
    cost_usd: Decimal | None = None,
    duration_ms: int | None = None,
) -> Generation:
    """Record a generation made elsewhere; it is completed at once when its outputs come with it.

    Args:
        rendered_prompt: The text that was really sent; rendered from the version when empty.
        parameters: As they were really sent; the version's own when None.
        dataset_item: Its variables, brief and key serve where none are given.

    Raises:
        RecordingInvalidError: A value is out of range.
        VersionDeletedError: The version or its prompt is deleted.
        MissingVariableError: No rendered prompt is given, and a variable of the version has no value.
        UnknownVariableError: A variable is given that the version does not use.
        MediaError: A file is no image that can be taken; nothing is written then.
    """
    require(actor, "generations.add_generation")
    if prompt_version.is_deleted or prompt_version.prompt.is_deleted:
        raise VersionDeletedError
    case = _make_case(dataset_item, case_key, variables, brief)
    generation = _make_generation(prompt_version, case, rendered_prompt)
    generation.parameters = dict(prompt_version.parameters if parameters is None else parameters)
    generation.seed = seed
    generation.cost_usd = cost_usd
    generation.duration_ms = duration_ms
    generation.created_by = actor
    _check(generation)
    inputs = stored_while_written([file.content for file in input_files], folder="inputs")
    outputs = stored_while_written(output_files, folder="outputs")
    with inputs as stored_inputs, outputs as stored_outputs:
        given = [InputFiles(item, file.role) for item, file in zip(stored_inputs, input_files, strict=True)]
        _write(actor, generation, given, stored_outputs)
    return generation


def _check(generation: Generation) -> None:
    fields: dict[str, list[str]] = {}
    if len(generation.rendered_prompt) > MAX_RENDERED_LENGTH:
        fields["rendered_prompt"] = [f"A prompt has at most {MAX_RENDERED_LENGTH:,} characters."]
    if generation.seed is not None and not 0 <= generation.seed <= MAX_BIG_INTEGER:
        fields["seed"] = ["The seed runs from 0 to 2⁶³-1."]
    if len(generation.case_key) > MAX_CASE_KEY_LENGTH:
        fields["case_key"] = [f"A key has at most {MAX_CASE_KEY_LENGTH} characters."]
    if generation.duration_ms is not None and not 0 <= generation.duration_ms <= MAX_SEED:
        fields["duration_ms"] = [f"A duration runs from 0 to {MAX_SEED} ms."]
    if generation.cost_usd is not None and not 0 <= generation.cost_usd < MAX_COST_USD:
        fields["cost_usd"] = [f"A cost runs from 0 to below {MAX_COST_USD:,} USD."]
    if fields:
        raise RecordingInvalidError(fields=fields)
    check_row(generation, {"rendered_prompt", "brief", "case_key"})
    check_object("variables", generation.variables)
    check_object("parameters", generation.parameters)


def _make_case(item: DatasetItem | None, key: str, variables: Mapping[str, Any] | None, brief: str) -> Case:
    if item is None:
        return Case(key=key, variables=variables or {}, brief=make_brief(brief, variables or {}))
    values = item.variables if variables is None else variables
    return Case(
        key=key or item.key, variables=values, brief=make_brief(brief or item.brief, values), item_id=item.pk
    )


def _make_generation(version: PromptVersion, case: Case, rendered_prompt: str) -> Generation:
    texts = (rendered_prompt, "", "")
    if not rendered_prompt:
        templates = get_templates(version)
        if case.item_id is None:
            check_variables(templates, case.variables)
        user, system, negative = (render(text, case.variables, allow_unused=True) for text in templates)
        texts = (user, system, negative)
    return Generation(
        source=Source.EXTERNAL,
        prompt_version=version,
        image_model=version.image_model,
        dataset_item_id=case.item_id,
        case_key=case.key,
        brief=case.brief,
        variables=dict(case.variables),
        rendered_prompt=texts[0],
        system_prompt=texts[1],
        negative_prompt=texts[2],
        n_outputs=version.n_outputs,
        due_at=NEVER_DUE,
    )


@transaction.atomic
def _write(
    actor: User, generation: Generation, inputs: Sequence[InputFiles], outputs: Sequence[StoredFiles]
) -> None:
    now = timezone.now()
    freeze_versions(version_ids=[generation.prompt_version_id], now=now)
    if outputs:
        generation.status = Status.COMPLETED
        generation.finished_at = now
    generation.save(force_insert=True)
    InputImage.objects.bulk_create(make_inputs(generation, inputs))
    OutputImage.objects.bulk_create(_make_outputs(generation, outputs, first_position=0))
    audit.record(
        actor=actor,
        verb="record_generation",
        target=generation,
        after={"prompt_version": str(generation.prompt_version), "n_outputs": len(outputs)},
    )


def add_outputs(*, actor: User, generation: Generation, files: Sequence[bytes]) -> list[OutputImage]:
    """Store images made elsewhere; the first ones complete their generation.

    Raises:
        OutputsNotAcceptedError: The generation is the engine's, or was cancelled.
        RecordingInvalidError: No file is given, or there would be more than 16 outputs.
        MediaError: A file is no image that can be taken; nothing is stored then.
    """
    require(actor, "generations.change_generation")
    if not files:
        raise RecordingInvalidError(fields={"files": ["Give at least one file."]})
    if generation.source != Source.EXTERNAL or generation.status not in {Status.QUEUED, Status.COMPLETED}:
        raise OutputsNotAcceptedError
    with stored_while_written(files, folder="outputs") as stored:
        return _add(actor, generation, stored)


@transaction.atomic
def _add(actor: User, generation: Generation, stored: Sequence[StoredFiles]) -> list[OutputImage]:
    current = Generation.objects.select_for_update().get(pk=generation.pk)
    if current.source != Source.EXTERNAL or current.status not in {Status.QUEUED, Status.COMPLETED}:
        raise OutputsNotAcceptedError
    last = current.outputs.order_by("-position").values_list("position", flat=True).first()
    first_position = 0 if last is None else last + 1
    if first_position + len(stored) > MAX_FILES:
        raise RecordingInvalidError(fields={"files": [f"A generation has at most {MAX_FILES} outputs."]})
    images = _make_outputs(current, stored, first_position=first_position)
    OutputImage.objects.bulk_create(images)
    Generation.objects.filter(pk=current.pk, status=Status.QUEUED).update(
        status=Status.COMPLETED, finished_at=timezone.now()
    )
    audit.record(actor=actor, verb="add_outputs", target=current, after={"n_added": len(images)})
    generation.refresh_from_db()
    return images


def _make_outputs(
    generation: Generation, stored: Sequence[StoredFiles], *, first_position: int
) -> list[OutputImage]:
    return [
        OutputImage(generation=generation, position=position, **item.as_fields())
        for position, item in enumerate(stored, start=first_position)
    ]
