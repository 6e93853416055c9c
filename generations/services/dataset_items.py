"""Single items of a dataset: added, changed and removed, each time by a new version."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.db import transaction

from accounts.models import User
from accounts.permissions import require
from generations.models import Dataset, DatasetVersion
from generations.services.dataset_rows import MAX_ROWS, ItemRow, check_row
from generations.services.datasets import (
    MAX_NOTE_LENGTH,
    list_images,
    lock_dataset,
    read_items,
    write_version,
)
from mayagen.common.errors import ConflictError, DomainError, NotFoundError

_FIELDS: Final = {
    "key_too_long": "key",
    "brief_too_long": "brief",
    "tags": "tags",
    "variables": "more",
    "variable_value": "more",
}


class DatasetItemInvalidError(DomainError):
    """A value of the item is missing, too long, or of the wrong form."""

    code = "dataset_item_invalid"
    sentence = "The item can't be saved like this."


class DatasetItemKeyTakenError(ConflictError):
    """Another item of the dataset has this key."""

    code = "dataset_item_key_taken"
    sentence = "Another item has this key."


class DatasetChangedError(ConflictError):
    """There is a newer version than the one that was looked at."""

    code = "dataset_changed"
    sentence = "The dataset has a newer version by now. Look at it first, then change it."


@transaction.atomic
def save_item(
    *, actor: User, dataset: Dataset, row: ItemRow, replaces: str = "", seen_number: int | None = None
) -> DatasetVersion:
    """Make a new version with this item: at the end, or in the place of another, whose images it keeps.

    Args:
        replaces: Key of the item that it replaces; empty to add one.
        seen_number: Number of the version that the change was made from.

    Raises:
        DatasetItemInvalidError: A value can't be taken; `fields` says which.
        DatasetItemKeyTakenError: Another item has its key.
        DatasetChangedError: There is a newer version than the one seen.
        NotFoundError: There is no item to replace.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.change_dataset")
    _check(row)
    current, newest = _get_newest(dataset, seen_number)
    if replaces:
        _require_item(newest, replaces)
    if row.key != replaces and newest is not None and newest.items.filter(key=row.key).exists():
        message = f"Another item has the key “{row.key}”."
        raise DatasetItemKeyTakenError(message, fields={"key": [message]})
    if not replaces and newest is not None and newest.items.count() >= MAX_ROWS:
        raise DatasetItemInvalidError(f"A dataset has at most {MAX_ROWS:,} items.")
    images = list_images(newest, [replaces]).get(replaces, ()) if replaces else ()
    verb = "Changed" if replaces else "Added"
    return write_version(
        actor=actor,
        dataset=current,
        rows=_put(newest, row, replaces),
        note=f"{verb} {row.key}."[:MAX_NOTE_LENGTH],
        images=lambda _: {row.key: images},
    )


@transaction.atomic
def remove_item(*, actor: User, dataset: Dataset, key: str, seen_number: int | None = None) -> DatasetVersion:
    """Make a new version without this item; earlier versions, and runs over them, keep it.

    Raises:
        NotFoundError: There is no such item.
        DatasetChangedError: There is a newer version than the one seen.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.change_dataset")
    current, newest = _get_newest(dataset, seen_number)
    kept = (row for row in read_items(_require_item(newest, key)) if row.key != key)
    return write_version(actor=actor, dataset=current, rows=kept, note=f"Removed {key}."[:MAX_NOTE_LENGTH])


def _check(row: ItemRow) -> None:
    fields: dict[str, list[str]] = {}
    if not row.key:
        fields["key"] = ["Give the item a key."]
    for error in check_row(row, 1):
        fields.setdefault(_FIELDS.get(error.code, "key"), []).append(error.message)
    if fields:
        raise DatasetItemInvalidError(fields=fields)


def _get_newest(dataset: Dataset, seen_number: int | None) -> tuple[Dataset, DatasetVersion | None]:
    current = lock_dataset(dataset)
    newest = current.versions.order_by("-number").first()
    if seen_number is not None and seen_number != (newest.number if newest else 0):
        raise DatasetChangedError
    return current, newest


def _require_item(version: DatasetVersion | None, key: str) -> DatasetVersion:
    if version is None or not version.items.filter(key=key).exists():
        raise NotFoundError(f"The newest version has no item “{key}”.")
    return version


def _put(version: DatasetVersion | None, row: ItemRow, replaces: str) -> Iterator[ItemRow]:
    for other in read_items(version) if version else ():
        yield row if replaces and other.key == replaces else other
    if not replaces:
        yield row
