"""Checks of values before they become rows, shared by the verbs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, models, transaction
from django.utils import timezone
from django.utils.text import slugify

from mayagen.common.errors import DomainError
from mayagen.common.ids import random_name
from prompts.models import ImageModel, Prompt, PromptVersion
from prompts.services.errors import (
    AlreadyDeletedError,
    FieldsInvalidError,
    NotDeletedError,
    SlugTakenError,
)

MAX_TEXT_LENGTH = 100_000
MAX_JSON_BYTES = 64 * 1024
MAX_JSON_DEPTH = 32
_MAX_SLUGS_TRIED = 200
_MAX_INTEGER = 2**31 - 1
# What PostgreSQL stores in no text: it would fail at the insert, after everything else has passed.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def check_row(row: models.Model, names: Iterable[str]) -> None:
    """Check the named fields of an unsaved row: lengths, choices, ranges, and text that can be stored.

    Raises:
        FieldsInvalidError: With a sentence for each field at fault.
    """
    wanted = set(names)
    faults: dict[str, list[str]] = {}
    for name in wanted:
        fault = None if _is_relation(row, name) else _find_fault(getattr(row, name, None))
        if fault:
            faults[name] = [fault]
    others = {field.name for field in row._meta.get_fields()} - wanted
    try:
        row.clean_fields(exclude=others | set(faults))
    except ValidationError as error:
        faults.update(error.message_dict)
    if faults:
        raise FieldsInvalidError(fields=faults)


def check_object(name: str, value: object) -> dict[str, Any]:
    """Return the value if it is a JSON object of at most 64 KB that every database can store.

    Raises:
        FieldsInvalidError: It is not.
    """
    fault = None
    if not isinstance(value, Mapping):
        fault = "This must be a JSON object, such as {}."
    else:
        try:
            _check_json(value, depth=0)
            size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
        except (ValueError, TypeError, RecursionError):
            fault = "This holds a number or text that can't be stored, or is nested too deeply."
        else:
            fault = "This is larger than 64 KB." if size > MAX_JSON_BYTES else None
    if fault or not isinstance(value, Mapping):
        raise FieldsInvalidError(fields={name: [fault or ""]})
    return dict(value)


def save_with_slug(row: models.Model, *, source: str, noun: str) -> None:
    """Insert a row with its slug, or, where that is empty, with the first free one made from `source`.

    Needs a transaction around it.

    Raises:
        SlugTakenError: The slug was given and another row has it.
    """
    given = str(getattr(row, "slug", ""))
    base = slugify(source)[:70] or f"{slugify(noun)}-{random_name(3)}"
    for number in range(1, _MAX_SLUGS_TRIED):
        slug = given or (base if number == 1 else f"{base}-{number}")
        if _try_insert(row, slug):
            return
        if given:
            raise SlugTakenError(given, noun=noun)
    raise SlugTakenError(base, noun=noun)


def save_unless_slug_taken(rows: models.QuerySet[Any], *, slug: str, noun: str, **values: Any) -> int:
    """Give the rows the slug and the values, and return how many rows there were.

    Raises:
        SlugTakenError: The change would give two live rows one slug.
    """
    try:
        with transaction.atomic():
            return rows.update(slug=slug, **values)
    except IntegrityError as error:
        raise SlugTakenError(slug, noun=noun) from error


def mark_deleted(row: ImageModel | Prompt | PromptVersion) -> None:
    """Hide a row that is not hidden yet.

    Raises:
        AlreadyDeletedError: It is.
    """
    now = timezone.now()
    if not type(row).objects.alive().filter(pk=row.pk).update(deleted_at=now):
        raise AlreadyDeletedError
    row.deleted_at = now


def mark_restored(row: ImageModel | Prompt, *, noun: str) -> None:
    """Bring back a hidden row under its slug.

    Raises:
        NotDeletedError: It is not hidden.
        SlugTakenError: Another row took the slug meanwhile.
    """
    rows = type(row).objects.deleted().filter(pk=row.pk)
    if not save_unless_slug_taken(rows, slug=row.slug, noun=noun, deleted_at=None):
        raise NotDeletedError
    row.deleted_at = None


def place_error(error: DomainError, field: str) -> DomainError:
    """Name the field that an error of a pure check belongs to, and return the error."""
    error.fields = {field: [error.message]}
    return error


def rename_fields(error: DomainError, old: str, new: str) -> DomainError:
    """Let an error speak of the field `new` where it spoke of `old`, and return it."""
    error.fields = {new + name.removeprefix(old): sentences for name, sentences in error.fields.items()}
    return error


def to_json(value: object) -> Any:
    """Return an audit entry's form of a value."""
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, Decimal):
        return str(value)
    return value


def _try_insert(row: models.Model, slug: str) -> bool:
    row.slug = slug  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError:
        return False
    return True


def _is_relation(row: models.Model, name: str) -> bool:
    return bool(row._meta.get_field(name).is_relation)


def _find_fault(value: object) -> str | None:
    # Smaller than what SQLite takes and as large as what PostgreSQL does.
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return "This number is too large."
    if not isinstance(value, str):
        return None
    if _UNSTORABLE.search(value):
        return "This holds a NUL character or half of a surrogate pair."
    if len(value) > MAX_TEXT_LENGTH:
        return f"This is longer than {MAX_TEXT_LENGTH:,} characters."
    return None


def _check_json(value: object, *, depth: int) -> None:
    if depth > MAX_JSON_DEPTH:
        raise ValueError
    if isinstance(value, Mapping):
        for key, child in value.items():
            _check_json(key, depth=depth + 1)
            _check_json(child, depth=depth + 1)
    elif isinstance(value, list | tuple):
        for child in value:
            _check_json(child, depth=depth + 1)
    elif isinstance(value, str):
        if _UNSTORABLE.search(value):
            raise ValueError
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError
