"""Datasets: made, imported, changed by new versions, deleted and restored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.image_files import StoredFiles
from generations.models import Dataset, DatasetItem, DatasetItemImage, DatasetVersion
from generations.services.dataset_files import read_rows
from generations.services.dataset_rows import ColumnMapping, ItemRow, collect_rows, make_row
from generations.services.images import MAX_FILES, InputFiles, UploadedInput, stored_while_written
from generations.services.inserting import insert_many
from mayagen.common.errors import ConflictError, DomainError, NotFoundError
from prompts.services import SlugTakenError
from prompts.services.checking import check_row, save_with_slug

MAX_NAME_LENGTH: Final = 255
MAX_SLUG_LENGTH: Final = 80
MAX_NOTE_LENGTH: Final = 500
# Large enough for the quick way of `insert_many`.
BATCH: Final = 2_000
ImageSource = Callable[[Sequence[ItemRow]], Mapping[str, Sequence[InputFiles]]]


class DatasetInvalidError(DomainError):
    """A value of the dataset is missing, too long, or taken; `fields` says which."""

    code = "dataset_invalid"
    sentence = "The dataset can't be saved like this."


class DatasetAlreadyDeletedError(ConflictError):
    """The dataset is deleted, so it can't be deleted or changed."""

    code = "dataset_deleted"
    sentence = "The dataset is deleted. Restore it first."


class DatasetNotDeletedError(ConflictError):
    """The dataset is not deleted, so it can't be restored."""

    code = "dataset_not_deleted"
    sentence = "The dataset is not deleted."


@transaction.atomic
def create_dataset(
    *,
    actor: User,
    name: str,
    slug: str = "",
    description: str = "",
    rows: Sequence[ItemRow] = (),
    note: str = "",
) -> Dataset:
    """Make a dataset and, when there are rows, its first version.

    Args:
        slug: Made from the name when empty.

    Raises:
        DatasetInvalidError: The name is missing, or a text is too long.
        SlugTakenError: The given short name belongs to another dataset.
    """
    require(actor, "generations.add_dataset")
    check_texts(name=name, slug=slug, note=note)
    dataset = Dataset(name=name.strip(), slug=slug, description=description.strip(), created_by=actor)
    check_row(dataset, {"name", "description"})
    save_with_slug(dataset, source=name, noun="dataset")
    audit.record(
        actor=actor, verb="create_dataset", target=dataset, after={"name": dataset.name, "slug": dataset.slug}
    )
    if rows:
        write_version(actor=actor, dataset=dataset, rows=rows, note=note)
    return dataset


@transaction.atomic
def create_dataset_version(
    *, actor: User, dataset: Dataset, rows: Sequence[ItemRow], note: str = ""
) -> DatasetVersion:
    """Make a new version of a dataset from all its items; images of items whose keys stay are kept.

    Raises:
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.change_dataset")
    check_texts(name=dataset.name, slug=dataset.slug, note=note)
    return write_version(actor=actor, dataset=lock_dataset(dataset), rows=rows, note=note)


def import_dataset(
    *,
    actor: User,
    content: bytes,
    file_name: str = "",
    file_format: str = "",
    mapping: ColumnMapping | None = None,
    dataset: Dataset | None = None,
    name: str = "",
    slug: str = "",
    description: str = "",
    note: str = "",
) -> DatasetVersion:
    """Read a file of cases into a new dataset, or into a new version of a given one; all of it or nothing.

    Args:
        content: CSV or TSV with a header, or JSON Lines.
        file_format: `csv`, `tsv` or `jsonl`; known from the name or the first line when empty.
        mapping: Which column is what; without it `key`, `brief`, `tags`, and variables by name.
        dataset: None makes a new one from name, slug and description.

    Raises:
        DatasetImportError: Rows can't be taken; the first hundred errors by line.
        DatasetInvalidError: The name is missing, or a text is too long.
        SlugTakenError: The given short name belongs to another dataset.
        DatasetAlreadyDeletedError: The given dataset is deleted.
    """
    require(actor, "generations.add_dataset" if dataset is None else "generations.change_dataset")
    rows = read_rows(content, file_format=file_format, file_name=file_name, mapping=mapping)
    note = note or f"Imported {len(rows):,} items."
    if dataset is not None:
        return create_dataset_version(actor=actor, dataset=dataset, rows=rows, note=note)
    made = create_dataset(actor=actor, name=name, slug=slug, description=description, rows=rows, note=note)
    return made.versions.get()


def make_rows(items: Sequence[Mapping[str, Any]]) -> list[ItemRow]:
    """Return the rows that JSON objects describe; errors count the objects from 1.

    Raises:
        DatasetImportError: Objects are wrong, a key stands twice, or there are none or too many.
    """
    return collect_rows((number, make_row(item, number)) for number, item in enumerate(items, start=1))


@transaction.atomic
def change_dataset(
    *, actor: User, dataset: Dataset, name: str, slug: str | None = None, description: str | None = None
) -> Dataset:
    """Change what a dataset is called; its items change by new versions only.

    Raises:
        DatasetInvalidError: The name is missing, or a text is too long.
        SlugTakenError: The short name belongs to another dataset.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.change_dataset")
    current = lock_dataset(dataset)
    check_texts(name=name, slug=current.slug if slug is None else slug, note="")
    before = {"name": current.name, "slug": current.slug, "description": current.description}
    current.name = name.strip()
    current.slug = current.slug if slug is None else slug
    current.description = current.description if description is None else description.strip()
    check_row(current, {"name", "description"})
    with _slug_free(current):
        current.save(update_fields=["name", "slug", "description"])
    after = {"name": current.name, "slug": current.slug, "description": current.description}
    audit.record(actor=actor, verb="change_dataset", target=current, before=before, after=after)
    return current


@transaction.atomic
def delete_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Hide the dataset from lists and pickers; runs over it stay.

    Raises:
        DatasetAlreadyDeletedError: It is deleted.
    """
    require(actor, "generations.delete_dataset")
    if not Dataset.objects.alive().filter(pk=dataset.pk).update(deleted_at=timezone.now()):
        raise DatasetAlreadyDeletedError
    audit.record(actor=actor, verb="delete_dataset", target=dataset)
    dataset.refresh_from_db()
    return dataset


@transaction.atomic
def restore_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Bring a deleted dataset back.

    Raises:
        DatasetNotDeletedError: It is not deleted.
        SlugTakenError: Another dataset has taken its short name meanwhile.
    """
    require(actor, "generations.delete_dataset")
    with _slug_free(dataset):
        n_restored = Dataset.objects.deleted().filter(pk=dataset.pk).update(deleted_at=None)
    if not n_restored:
        raise DatasetNotDeletedError
    audit.record(actor=actor, verb="restore_dataset", target=dataset)
    dataset.refresh_from_db()
    return dataset


def set_item_images(
    *, actor: User, dataset: Dataset, key: str, files: Sequence[UploadedInput]
) -> DatasetVersion:
    """Make a new version in which the item of this key has exactly these input images.

    Raises:
        NotFoundError: The newest version has no item of this key.
        MediaError: A file is no image that can be taken; nothing is written then.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.change_dataset")
    with stored_while_written([file.content for file in files], folder="inputs") as stored:
        given = [InputFiles(item, file.role) for item, file in zip(stored, files, strict=True)]
        return _replace_item_images(actor, dataset, key, given)


@transaction.atomic
def _replace_item_images(
    actor: User, dataset: Dataset, key: str, given: Sequence[InputFiles]
) -> DatasetVersion:
    current = lock_dataset(dataset)
    newest = current.versions.order_by("-number").first()
    if newest is None or not newest.items.filter(key=key).exists():
        raise NotFoundError(f"The newest version has no item “{key}”.")
    note = f"Input images of {key}."[:MAX_NOTE_LENGTH]
    rows = read_items(newest)
    return write_version(actor=actor, dataset=current, rows=rows, note=note, images=lambda _: {key: given})


def read_items(version: DatasetVersion) -> Iterator[ItemRow]:
    """Yield a version's items as rows, a batch at a time."""
    # By position, not by a cursor: the next version is written while this one is read.
    n_read = 0
    while items := list(version.items.filter(position__gte=n_read).order_by("position")[:BATCH]):
        for item in items:
            yield ItemRow(item.key, item.brief, item.variables, item.tags)
        n_read = items[-1].position + 1


def lock_dataset(dataset: Dataset) -> Dataset:
    """Return the dataset as it is now, held until the end of the transaction.

    Raises:
        DatasetAlreadyDeletedError: It is deleted.
    """
    current = Dataset.objects.select_for_update().get(pk=dataset.pk)
    if current.is_deleted:
        raise DatasetAlreadyDeletedError
    return current


def write_version(
    *,
    actor: User,
    dataset: Dataset,
    rows: Iterable[ItemRow],
    note: str,
    images: ImageSource | None = None,
) -> DatasetVersion:
    """Write the next version of a locked dataset, a batch of rows at a time; call it within a transaction.

    Args:
        actor: Whose right to it has been checked.
        dataset: As `lock_dataset` or `create_dataset` gave it.
        rows: With keys, each another; read once.
        note: What the version is about.
        images: The input images of a batch of rows by their keys. What it does not name keeps the images
            that the item of this key had in the version before.
    """
    newest = dataset.versions.order_by("-number").first()
    version = DatasetVersion.objects.create(
        dataset=dataset, number=newest.number + 1 if newest else 1, note=note, created_by=actor
    )
    n_items = 0
    for batch in _batch(rows):
        found = list_images(newest, [row.key for row in batch])
        found.update(images(batch) if images else {})
        _write_items(version, batch, found, first_position=n_items)
        n_items += len(batch)
    after = {"number": version.number, "n_items": n_items, "note": note}
    audit.record(actor=actor, verb="create_dataset_version", target=dataset, after=after)
    return version


def _batch(rows: Iterable[ItemRow]) -> Iterator[list[ItemRow]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _write_items(
    version: DatasetVersion,
    rows: Sequence[ItemRow],
    images: Mapping[str, Sequence[InputFiles]],
    *,
    first_position: int,
) -> None:
    items = [
        DatasetItem(
            dataset_version=version,
            position=position,
            key=row.key,
            brief=row.brief,
            variables=dict(row.variables),
            tags=list(row.tags),
        )
        for position, row in enumerate(rows, start=first_position)
    ]
    insert_many(DatasetItem, items)
    DatasetItemImage.objects.bulk_create(
        [
            DatasetItemImage(item=item, position=position, role=file.role, **file.stored.as_fields())
            for item in items
            for position, file in enumerate(images.get(item.key, ())[:MAX_FILES])
        ],
        batch_size=BATCH,
    )


def list_images(version: DatasetVersion | None, keys: Sequence[str]) -> dict[str, Sequence[InputFiles]]:
    """Return the input images of a version's items by their keys."""
    found: dict[str, list[InputFiles]] = {}
    rows = DatasetItemImage.objects.filter(item__dataset_version=version, item__key__in=keys)
    for image in rows.select_related("item").order_by("item_id", "position") if version else ():
        found.setdefault(image.item.key, []).append(InputFiles(StoredFiles.of(image), image.role))
    return dict(found)


def check_texts(*, name: str, slug: str, note: str) -> None:
    """Do nothing when a dataset may be called so, and a version noted so.

    Raises:
        DatasetInvalidError: The name is missing, or a text is too long or of the wrong form.
    """
    fields: dict[str, list[str]] = {}
    if not name.strip() or len(name.strip()) > MAX_NAME_LENGTH:
        fields["name"] = [f"Give the dataset a name of at most {MAX_NAME_LENGTH} characters."]
    if slug and (slug != slugify(slug) or len(slug) > MAX_SLUG_LENGTH):
        fields["slug"] = ["A short name holds small letters from a to z, digits and hyphens, at most 80."]
    if len(note) > MAX_NOTE_LENGTH:
        fields["note"] = [f"A note has at most {MAX_NOTE_LENGTH} characters."]
    if fields:
        raise DatasetInvalidError(fields=fields)


@contextmanager
def _slug_free(dataset: Dataset) -> Iterator[None]:
    """Name the fault when another dataset has the slug that is being written."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise SlugTakenError(dataset.slug, noun="dataset") from error
