"""Making, changing, hiding and bringing back prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from mayagen.common.errors import NotFoundError
from prompts.models import Prompt
from prompts.services import checking
from prompts.services.errors import (
    FieldsInvalidError,
    PromptDeletedError,
)

MAX_TAGS = 20
MAX_TAG_LENGTH = 40


class PromptFields(TypedDict, total=False):
    """What may be changed of a prompt; what is left out stays."""

    name: str
    slug: str
    description: str
    tags: Sequence[str]


def create_prompt(
    *, actor: User, name: str, slug: str = "", description: str = "", tags: Sequence[str] = ()
) -> Prompt:
    """Make a prompt without versions; an empty slug is made from the name.

    Raises:
        FieldsInvalidError: A value can't be taken.
        SlugTakenError: Another prompt has the slug.
    """
    require(actor, "prompts.add_prompt")
    prompt = Prompt(name=name.strip(), slug=slug, description=description, created_by=actor)
    prompt.tags = _clean_tags(tags)
    checking.check_row(prompt, {"name", "description"} | ({"slug"} if slug else set()))
    with transaction.atomic():
        checking.save_with_slug(prompt, source=prompt.name, noun="prompt")
        audit.record(actor=actor, verb="create_prompt", target=prompt, after=_describe(prompt))
    return prompt


def change_prompt(*, actor: User, prompt: Prompt, **changes: Unpack[PromptFields]) -> Prompt:
    """Change a prompt's name, slug, description or tags.

    Raises:
        PromptDeletedError: It is deleted.
        FieldsInvalidError: A value can't be taken.
        SlugTakenError: Another prompt has the slug.
    """
    require(actor, "prompts.change_prompt")
    with transaction.atomic():
        current = lock_prompt(prompt)
        before = _describe(current)
        if "name" in changes:
            current.name = changes["name"].strip()
        if "slug" in changes:
            current.slug = changes["slug"]
        if "description" in changes:
            current.description = changes["description"]
        if "tags" in changes:
            current.tags = _clean_tags(changes["tags"])
        checking.check_row(current, {"name", "slug", "description"})
        after = _describe(current)
        if after == before:
            return current
        rows = Prompt.objects.filter(pk=current.pk)
        checking.save_unless_slug_taken(rows, noun="prompt", **after)
        audit.record(actor=actor, verb="change_prompt", target=current, before=before, after=after)
    return current


def delete_prompt(*, actor: User, prompt: Prompt) -> Prompt:
    """Hide a prompt from lists and pickers; its versions can't be used for new runs.

    Raises:
        AlreadyDeletedError: It is deleted already.
    """
    require(actor, "prompts.delete_prompt")
    with transaction.atomic():
        checking.mark_deleted(prompt)
        audit.record(actor=actor, verb="delete_prompt", target=prompt)
    return prompt


def restore_prompt(*, actor: User, prompt: Prompt) -> Prompt:
    """Bring a deleted prompt back with its versions.

    Raises:
        NotDeletedError: It is not deleted.
        SlugTakenError: Another prompt took its slug meanwhile.
    """
    require(actor, "prompts.delete_prompt")
    with transaction.atomic():
        checking.mark_restored(prompt, noun="prompt")
        audit.record(actor=actor, verb="restore_prompt", target=prompt)
    return prompt


def lock_prompt(prompt: Prompt) -> Prompt:
    """Return the prompt as it is now, locked until the transaction ends.

    Raises:
        NotFoundError: It is gone.
        PromptDeletedError: It is deleted.
    """
    current = Prompt.objects.select_for_update(no_key=True).filter(pk=prompt.pk).first()
    if current is None:
        raise NotFoundError
    if current.is_deleted:
        raise PromptDeletedError
    return current


def _clean_tags(tags: object) -> list[str]:
    """Return the tags without surrounding spaces, each once, in their order."""
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise FieldsInvalidError(fields={"tags": ["Tags must be a list of words."]})
    cleaned: dict[str, None] = {}
    for tag in tags:
        if not isinstance(tag, str) or len(tag) > MAX_TAG_LENGTH or not tag.strip():
            sentence = f"Each tag must be text of 1 to {MAX_TAG_LENGTH} characters."
            raise FieldsInvalidError(fields={"tags": [sentence]})
        cleaned[tag.strip()] = None
    if len(cleaned) > MAX_TAGS:
        raise FieldsInvalidError(fields={"tags": [f"There may be at most {MAX_TAGS} tags."]})
    checking.check_object("tags", {"tags": list(cleaned)})
    return list(cleaned)


def _describe(prompt: Prompt) -> PromptFields:
    return {
        "name": prompt.name,
        "slug": prompt.slug,
        "description": prompt.description,
        "tags": prompt.tags,
    }
