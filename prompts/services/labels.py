"""Moving labels between the versions of a prompt, with their history."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from mayagen.common.errors import NotFoundError
from prompts.models import Label, LabelMove, Prompt, PromptVersion
from prompts.services import checking
from prompts.services.errors import LabelMovedError, LabelOfAnotherPromptError, VersionDeletedError
from prompts.services.prompts import lock_prompt


def set_label(
    *,
    actor: User,
    prompt: Prompt,
    name: str,
    version: PromptVersion,
    expected_version_id: UUID | None = None,
) -> Label:
    """Make a label point to a version; a label that points there already stays as it is.

    Args:
        actor: Who moves it.
        prompt: Whose label it is.
        name: Letters, digits, hyphens and underscores.
        version: One of the prompt's, not deleted.
        expected_version_id: Where the caller saw it point; None moves it from wherever it points.

    Raises:
        PromptDeletedError: The prompt is deleted.
        VersionDeletedError: The version is deleted.
        LabelOfAnotherPromptError: The version belongs to another prompt.
        LabelMovedError: The label does not point to the expected version, or no longer exists.
        FieldsInvalidError: The name can't be taken.
    """
    require(actor, "prompts.add_label")
    require(actor, "prompts.change_label")
    with transaction.atomic():
        current_prompt = lock_prompt(prompt)
        checking.check_row(Label(name=name), {"name"})
        target = _get_target(current_prompt, version)
        label = Label.objects.filter(prompt=current_prompt, name=name).select_related("version").first()
        if expected_version_id is not None and (label is None or label.version_id != expected_version_id):
            raise LabelMovedError
        if label is not None and label.version_id == target.pk:
            return label
        previous = label.version if label else None
        label = label or Label(prompt=current_prompt, name=name)
        label.version = target
        label.save()
        _record_move(actor, label, previous, target)
    return label


def remove_label(*, actor: User, label: Label, expected_version_id: UUID | None = None) -> None:
    """Take a label away; its history stays.

    Raises:
        NotFoundError: It is gone already.
        LabelMovedError: It does not point to the expected version.
    """
    require(actor, "prompts.delete_label")
    with transaction.atomic():
        list(Prompt.objects.select_for_update(no_key=True).filter(pk=label.prompt_id))
        current = Label.objects.filter(pk=label.pk).select_related("version", "prompt").first()
        if current is None:
            raise NotFoundError
        if expected_version_id is not None and current.version_id != expected_version_id:
            raise LabelMovedError
        _record_move(actor, current, current.version, None)
        current.delete()


def _get_target(prompt: Prompt, version: PromptVersion) -> PromptVersion:
    """Return the version as it is now, if labels of the prompt may point to it."""
    target = PromptVersion.objects.select_for_update(no_key=True).filter(pk=version.pk).first()
    if target is None or target.prompt_id != prompt.pk:
        raise LabelOfAnotherPromptError
    if target.is_deleted:
        raise VersionDeletedError
    return target


def _record_move(
    actor: User, label: Label, previous: PromptVersion | None, target: PromptVersion | None
) -> None:
    LabelMove.objects.create(
        prompt=label.prompt, name=label.name, from_version=previous, to_version=target, actor=actor
    )
    audit.record(
        actor=actor,
        verb="set_label" if target else "remove_label",
        target=label,
        before={"version": previous.number} if previous else {},
        after={"version": target.number} if target else {},
    )
