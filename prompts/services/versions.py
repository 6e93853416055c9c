"""Making, changing, freezing, hiding and bringing back versions of prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict, Unpack
from uuid import UUID

from django.db import transaction
from django.db.models import Max

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from mayagen.common.errors import NotFoundError
from prompts.models import ImageModel, Prompt, PromptVersion
from prompts.rendering import TemplateSyntaxError, check_template
from prompts.schemas import validate_parameters, with_defaults
from prompts.selectors import CONTENT_FIELDS
from prompts.services import checking
from prompts.services.errors import (
    FieldsInvalidError,
    ImageModelUnavailableError,
    NotDeletedError,
    ParentOfAnotherPromptError,
    TooManyOutputsError,
    VersionDeletedError,
    VersionInUseError,
    VersionLabelledError,
)
from prompts.services.prompts import lock_prompt

TEMPLATE_FIELDS = ("system_prompt", "user_prompt", "negative_prompt")


class VersionFields(TypedDict, total=False):
    """What a version asks for; the first two are required where nothing can be taken over."""

    user_prompt: str
    image_model: ImageModel
    system_prompt: str
    negative_prompt: str
    parameters: Mapping[str, Any]
    output_type: str
    n_outputs: int
    aspect_ratio: str
    resolution_px: int
    temperature: Decimal | None
    change_note: str


def create_version(
    *, actor: User, prompt: Prompt, parent: PromptVersion | None = None, **fields: Unpack[VersionFields]
) -> PromptVersion:
    """Make the next version of a prompt; what is left out is taken over from the parent.

    Parameters are completed by the model's defaults and stored so: what a version asks for does not
    change when those do.

    Raises:
        PromptDeletedError: The prompt is deleted.
        ParentOfAnotherPromptError: The parent belongs to another prompt.
        ImageModelUnavailableError: The model is deleted or switched off.
        TemplateSyntaxError: A template can't be read.
        ParametersInvalidError: The parameters do not fit the model.
        TooManyOutputsError: The model does not make so many at once.
        FieldsInvalidError: Another value can't be taken.
    """
    require(actor, "prompts.add_promptversion")
    with transaction.atomic():
        # The lock also makes numbers: two people who save at once wait for each other here.
        current = lock_prompt(prompt)
        version = _start_version(current, parent)
        version.created_by = actor
        _assign(version, fields)
        _check(version)
        newest = PromptVersion.objects.filter(prompt=current).aggregate(newest=Max("number"))["newest"]
        version.number = (newest or 0) + 1
        version.save(force_insert=True)
        audit.record(
            actor=actor,
            verb="create_version",
            target=version,
            after={
                "number": version.number,
                "parent": parent.number if parent else None,
                **_describe(version),
            },
        )
    return version


def _start_version(prompt: Prompt, parent: PromptVersion | None) -> PromptVersion:
    """Return a version, not yet saved, that asks for what its parent does."""
    version = PromptVersion(prompt=prompt, parent=parent)
    if parent is None:
        return version
    if parent.prompt_id != prompt.pk:
        raise ParentOfAnotherPromptError
    for name in CONTENT_FIELDS:
        setattr(version, name, getattr(parent, name))
    return version


def change_version(*, actor: User, version: PromptVersion, **changes: Unpack[VersionFields]) -> PromptVersion:
    """Change a version that no generation has used.

    Raises:
        VersionInUseError: A generation used it, perhaps just now: make a new version.
        VersionDeletedError: It is deleted.
        TemplateSyntaxError: And the other refusals of `create_version`.
    """
    require(actor, "prompts.change_promptversion")
    with transaction.atomic():
        current = _lock_version(version)
        if current.is_used:
            raise VersionInUseError
        if current.is_deleted:
            raise VersionDeletedError
        before = _describe(current)
        _assign(current, changes)
        _check(current)
        after = _describe(current)
        if after == before:
            return current
        values = {name: getattr(current, name) for name in (*CONTENT_FIELDS, "change_note")}
        unused = PromptVersion.objects.filter(pk=current.pk, first_used_at__isnull=True)
        if not unused.update(**values):
            raise VersionInUseError
        audit.record_change(actor=actor, verb="change_version", target=current, before=before, after=after)
    return current


def delete_version(*, actor: User, version: PromptVersion) -> PromptVersion:
    """Hide a version from lists and pickers; it can't be used for new runs.

    Raises:
        AlreadyDeletedError: It is deleted already.
        VersionLabelledError: A label points to it.
    """
    require(actor, "prompts.delete_promptversion")
    with transaction.atomic():
        current = _lock_version(version)
        names = list(current.labels.order_by("name").values_list("name", flat=True))
        if names:
            raise VersionLabelledError(names)
        checking.mark_deleted(current)
        audit.record(actor=actor, verb="delete_version", target=current)
    return current


def restore_version(*, actor: User, version: PromptVersion) -> PromptVersion:
    """Bring a deleted version back.

    Raises:
        NotDeletedError: It is not deleted.
    """
    require(actor, "prompts.delete_promptversion")
    with transaction.atomic():
        current = _lock_version(version)
        if not PromptVersion.objects.deleted().filter(pk=current.pk).update(deleted_at=None):
            raise NotDeletedError
        current.deleted_at = None
        audit.record(actor=actor, verb="restore_version", target=current)
    return current


def freeze_versions(*, version_ids: Iterable[UUID], now: datetime) -> None:
    """Fix versions for good, because generations are being made from them.

    Call it in the transaction that makes the generations, before their texts are read: a change that is
    being saved is waited for, and a later one is refused.
    """
    unused = PromptVersion.objects.filter(pk__in=list(version_ids), first_used_at__isnull=True)
    # Locked in one order, so that two runs of the same versions can't wait for each other for ever.
    ids = list(unused.select_for_update(no_key=True).order_by("pk").values_list("pk", flat=True))
    PromptVersion.objects.filter(pk__in=ids, first_used_at__isnull=True).update(first_used_at=now)


def _lock_version(version: PromptVersion) -> PromptVersion:
    current = (
        PromptVersion.objects.select_related("prompt", "image_model")
        .select_for_update(of=("self",), no_key=True)
        .filter(pk=version.pk)
        .first()
    )
    if current is None:
        raise NotFoundError
    return current


def _assign(version: PromptVersion, fields: VersionFields) -> None:
    for name, value in fields.items():
        setattr(version, name, value)
    missing = {}
    if not version.user_prompt.strip():
        missing["user_prompt"] = ["A version needs a prompt."]
    if getattr(version, "image_model_id", None) is None:
        missing["image_model"] = ["A version needs an image model."]
    if missing:
        raise FieldsInvalidError(fields=missing)


def _check(version: PromptVersion) -> None:
    """Check all of a version, and complete its parameters."""
    # Asked for again under lock, since the caller's copy may be old.
    model = ImageModel.objects.active().filter(pk=version.image_model_id).first()
    if model is None:
        raise ImageModelUnavailableError(version.image_model.name)
    names = {*CONTENT_FIELDS, "change_note"} - {"image_model", "parameters"}
    checking.check_row(version, names)
    for name in TEMPLATE_FIELDS:
        try:
            check_template(getattr(version, name))
        except TemplateSyntaxError as error:
            raise checking.place_error(error, name) from None
    if version.n_outputs > model.max_outputs:
        raise TooManyOutputsError(asked=version.n_outputs, limit=model.max_outputs)
    given = checking.check_object("parameters", version.parameters)
    version.parameters = with_defaults(model.parameters_schema, model.default_parameters, given)
    validate_parameters(model.parameters_schema, version.parameters)


def _describe(version: PromptVersion) -> dict[str, Any]:
    return {name: checking.to_json(getattr(version, name)) for name in (*CONTENT_FIELDS, "change_note")}
