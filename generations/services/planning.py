"""From versions, cases and repeats to the generations of a run: rendered, checked, not yet saved."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db.models import QuerySet

from generations.image_files import StoredFiles
from generations.models import DatasetItem, DatasetItemImage, Generation
from generations.services.images import InputFiles, check_inputs
from mayagen.common.errors import DomainError
from mayagen.common.ids import uuid7
from prompts.dimensions import get_dimensions
from prompts.models import PromptVersion
from prompts.rendering import UnknownVariableError, list_variables, render
from prompts.schemas import validate_parameters, with_defaults

MAX_SEED: Final = 2**31 - 1
_MAX_PROBLEMS: Final = 20
_NO_VALUE: Final = "The template uses this variable, and it has no value."


class VersionDeletedError(DomainError):
    """A version, or its prompt, has been deleted."""

    code = "version_deleted"
    sentence = "The prompt version has been deleted. Restore it, or choose another."


class VersionUnusableError(DomainError):
    """A version's model was deleted or switched off, or no longer makes what the version asks for."""

    code = "version_unusable"
    sentence = "The prompt version can't be used."


class PriceUnknownError(DomainError):
    """A model that costs money has no price, so that nobody could say what a run costs."""

    code = "price_unknown"
    sentence = "The model has no price. Enter one, or mark the model as free."


class CaseVariablesError(DomainError):
    """Cases lack variables that versions use; `extra["problems"]` names version, item and variables."""

    code = "missing_variable"
    status = 400
    sentence = "Variables have no value."


@dataclass(frozen=True, slots=True)
class Case:
    """One set of variables and input images that every version is run on."""

    key: str
    variables: Mapping[str, Any]
    brief: str
    inputs: Sequence[InputFiles] = ()
    item_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class PreparedVersion:
    """A version with all that is the same for each of its generations.

    `reserved_usd` is what one of them is expected to cost, None with a free model.
    """

    version: PromptVersion
    parameters: Mapping[str, Any]
    width_px: int
    height_px: int
    variables: frozenset[str]
    reserved_usd: Decimal | None


def prepare_version(version: PromptVersion) -> PreparedVersion:
    """Return the version, checked for use in a run.

    Args:
        version: With its prompt and model.

    Raises:
        VersionDeletedError: It or its prompt is deleted.
        VersionUnusableError: Its model is deleted, inactive, or makes fewer outputs than it asks for.
        PriceUnknownError: Its model is neither free nor priced.
        ParametersInvalidError: Its parameters do not fit the model's schema any more.
    """
    model = version.image_model
    if version.is_deleted or version.prompt.is_deleted:
        raise VersionDeletedError(f"{version} has been deleted. Restore it, or choose another version.")
    if model.is_deleted or not model.is_active:
        raise VersionUnusableError(f"{version} can't be used: its model {model} is not available.")
    if version.n_outputs > model.max_outputs:
        raise VersionUnusableError(
            f"{version} asks for {version.n_outputs} images at once;"
            f" {model} makes {model.max_outputs} at most."
        )
    reserved_usd = _get_expected_usd(version)
    width_px, height_px = get_dimensions(version.aspect_ratio, version.resolution_px)
    with _about(f"{version}"):
        parameters = _complete_parameters(version)
        names = frozenset(name for template in get_templates(version) for name in list_variables(template))
    return PreparedVersion(version, parameters, width_px, height_px, names, reserved_usd)


def _get_expected_usd(version: PromptVersion) -> Decimal | None:
    model = version.image_model
    if model.is_free:
        return None
    if model.price_usd is None:
        raise PriceUnknownError(f"{model} has no price. Enter one, or mark the model as free.")
    return model.price_usd * version.n_outputs


def get_templates(version: PromptVersion) -> tuple[str, str, str]:
    """Return the texts in which variables are replaced: user, system and negative prompt."""
    return version.user_prompt, version.system_prompt, version.negative_prompt


def _complete_parameters(version: PromptVersion) -> dict[str, Any]:
    schema = version.image_model.parameters_schema
    parameters = with_defaults(schema, version.image_model.default_parameters, version.parameters)
    if version.temperature is not None and "temperature" in schema.get("properties", {}):
        parameters.setdefault("temperature", float(version.temperature))
    validate_parameters(schema, parameters)
    return parameters


@contextmanager
def _about(subject: str) -> Iterator[None]:
    """Put the name of what was being worked on before the sentence of a domain error."""
    try:
        yield
    except DomainError as error:
        error.message = f"{subject}: {error.message}"
        raise


def list_cases(
    items: QuerySet[DatasetItem],
    images: Iterable[DatasetItemImage] = (),
    added: Sequence[InputFiles] = (),
) -> list[Case]:
    """Return the cases of dataset items.

    Args:
        images: Those of all the items.
        added: Input images that every item gets after its own.
    """
    own: defaultdict[uuid.UUID, list[DatasetItemImage]] = defaultdict(list)
    for image in images:
        own[image.item_id].append(image)
    # By their values: an object for each item takes longer than all that is done with it.
    rows = items.values_list("pk", "key", "variables", "brief")
    return [
        Case(
            key=key,
            variables=variables,
            brief=make_brief(brief, variables),
            inputs=(*map(_to_input, sorted(own.get(item_id, ()), key=_position)), *added),
            item_id=item_id,
        )
        for item_id, key, variables, brief in rows
    ]


def _position(image: DatasetItemImage) -> int:
    return image.position


def _to_input(image: DatasetItemImage) -> InputFiles:
    return InputFiles(StoredFiles.of(image), image.role)


def make_brief(brief: str, variables: Mapping[str, Any]) -> str:
    """Return what evaluators read of a case: its brief, or else its variables in plain words."""
    if brief.strip():
        return brief.strip()
    values = [(name, str(value).strip()) for name, value in variables.items() if not isinstance(value, bool)]
    if len(values) == 1:
        return values[0][1]
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in values if value)


def make_seed(*, base_seed: int, case_key: str, repeat: int) -> int:
    """Return the seed of one case and repeat, from 0 to 2³¹-1; the same for all versions."""
    digest = hashlib.sha256(f"{base_seed}\x1f{case_key}\x1f{repeat}".encode()).digest()
    return int.from_bytes(digest[:4], "big") & MAX_SEED


def check_cases(versions: Sequence[PreparedVersion], cases: Sequence[Case]) -> None:
    """Do nothing when each version can be rendered with each case and takes its input images.

    Raises:
        CaseVariablesError: Versions use variables that cases lack; names the first twenty.
        UnknownVariableError: A case outside a dataset has a variable that no version uses.
        InputsInvalidError: A model does not take a case's input images.
    """
    problems = list(_list_missing(versions, cases))
    if problems:
        raise _missing_error(problems)
    used = frozenset().union(*(prepared.variables for prepared in versions))
    for case in cases:
        # A dataset serves many versions, so its items may hold more than these ones use.
        unknown = sorted(set(case.variables) - used) if case.item_id is None else ()
        if unknown:
            raise UnknownVariableError(unknown)
    for prepared in versions:
        for case in cases:
            with _about(_name(prepared, case)):
                check_inputs(
                    image_model=prepared.version.image_model, roles=[file.role for file in case.inputs]
                )


def _list_missing(versions: Sequence[PreparedVersion], cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    for prepared in versions:
        for case in cases:
            missing = sorted(prepared.variables - case.variables.keys())
            if missing:
                yield {"version": str(prepared.version), "item": case.key, "names": missing}


def _missing_error(problems: Sequence[Mapping[str, Any]]) -> CaseVariablesError:
    shown = problems[:_MAX_PROBLEMS]
    names = sorted({name for problem in problems for name in problem["names"]})
    first = shown[0]
    place = f"{first['version']}, item {first['item']}" if first["item"] else first["version"]
    more = f" {len(problems):,} cases lack variables." if len(problems) > 1 else ""
    return CaseVariablesError(
        f"{place}: no value for {', '.join(first['names'])}.{more}",
        fields={f"variables.{name}": [_NO_VALUE] for name in names},
        extra={"problems": list(shown), "n_problems": len(problems)},
    )


def _name(prepared: PreparedVersion, case: Case) -> str:
    return f"{prepared.version}, item {case.key}" if case.key else f"{prepared.version}"


def make_generations(
    versions: Sequence[PreparedVersion],
    cases: Sequence[Case],
    *,
    repeats: int,
    base_seed: int,
    common: Mapping[str, Any],
) -> Iterator[tuple[Generation, Case]]:
    """Yield unsaved generations with their cases; the versions of one case stand beside each other.

    Args:
        common: Values of fields that are the same for all.

    Raises:
        DomainError: A prompt can't be rendered; the message names version and item.
    """
    patterns = [_make_pattern(prepared, common) for prepared in versions]
    for case in cases:
        rendered = [_render(prepared, case) for prepared in versions]
        for repeat in range(repeats):
            seed = make_seed(base_seed=base_seed, case_key=case.key, repeat=repeat)
            for pattern, texts in zip(patterns, rendered, strict=True):
                yield _make_generation(pattern, case, texts, repeat=repeat, seed=seed), case


def _render(prepared: PreparedVersion, case: Case) -> tuple[str, str, str]:
    with _about(_name(prepared, case)):
        user, system, negative = (
            render(template, case.variables, allow_unused=True) if template else ""
            for template in get_templates(prepared.version)
        )
    return user, system, negative


def _make_pattern(prepared: PreparedVersion, common: Mapping[str, Any]) -> Generation:
    """Return what all generations of a version have in common."""
    return Generation(
        prompt_version_id=prepared.version.pk,
        image_model_id=prepared.version.image_model_id,
        parameters=prepared.parameters,
        n_outputs=prepared.version.n_outputs,
        width_px=prepared.width_px,
        height_px=prepared.height_px,
        reserved_usd=prepared.reserved_usd,
        **common,
    )


def _make_generation(
    pattern: Generation, case: Case, texts: tuple[str, str, str], *, repeat: int, seed: int
) -> Generation:
    # A copy: to make thousands of rows anew, default by default, is a good part of a large run's time.
    generation = copy(pattern)
    vars(generation).update(
        id=uuid7(),
        dataset_item_id=case.item_id,
        case_key=case.key,
        repeat=repeat,
        brief=case.brief,
        variables=case.variables,
        rendered_prompt=texts[0],
        system_prompt=texts[1],
        negative_prompt=texts[2],
        seed=seed,
    )
    return generation
