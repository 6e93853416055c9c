"""Files that become dataset versions in the background: handed in, mapped, started, cancelled."""

from __future__ import annotations

from typing import Any, Final

from django.core.files import File
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import ImportState
from generations.image_files import discard_files
from generations.media.naming import make_upload_key
from generations.models import Dataset, DatasetImport
from generations.services.dataset_rows import FORMATS, ColumnMapping
from generations.services.datasets import DatasetAlreadyDeletedError, DatasetInvalidError, check_texts
from generations.waking import wake_importer
from mayagen.common.errors import ConflictError, DomainError
from prompts.services.checking import check_object, check_row

MAX_UPLOAD_BYTES: Final = 512 * 1024 * 1024
# A form that hands a file in, with all that it holds besides.
MAX_FORM_BYTES: Final = MAX_UPLOAD_BYTES + 1024 * 1024
_MAX_FILE_NAME_LENGTH: Final = 255


class ImportFileEmptyError(DomainError):
    """There is nothing in the file."""

    code = "import_file_empty"
    sentence = "The file is empty."


class ImportFileTooLargeError(DomainError):
    """The file is larger than is taken."""

    code = "import_file_too_large"
    status = 413
    sentence = f"A file to import has at most {MAX_UPLOAD_BYTES // 1024 // 1024} MB."


class ImportNotCheckedError(ConflictError):
    """The import is being checked or imported, or is over."""

    code = "dataset_import_not_checked"
    sentence = "Only a file that has been checked, and not yet imported, can be changed or imported."


class ImportHasErrorsError(ConflictError):
    """The check found errors."""

    code = "dataset_import_has_errors"
    sentence = "The file has errors. Change the columns or hand in a corrected file."


class ImportFinishedError(ConflictError):
    """The import is over."""

    code = "dataset_import_finished"
    sentence = "This import is over already."


def upload_dataset_import(
    *,
    actor: User,
    file: File[bytes],
    file_name: str,
    file_format: str = "",
    mapping: ColumnMapping | None = None,
    dataset: Dataset | None = None,
    name: str = "",
    description: str = "",
    note: str = "",
    is_dry_run: bool = True,
) -> DatasetImport:
    """Keep a file and have it checked in the background; nothing is in a dataset until it is imported.

    Args:
        file: CSV, TSV, JSON Lines, or a ZIP file of one of these and images.
        file_name: As its owner calls it; only shown, and read for the format.
        file_format: Of the table; known from the name or the first line when empty.
        mapping: Which column is what; without it `key`, `brief`, `tags`, and variables by name.
        dataset: Gets a new version; None makes a dataset of that name and description.
        is_dry_run: Wait for `start_dataset_import` once checked; else import at once if there are no errors.

    Raises:
        ImportFileEmptyError, ImportFileTooLargeError: The file is not taken.
        DatasetInvalidError: The name is missing, or a text is too long.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    require(actor, "generations.add_dataset" if dataset is None else "generations.change_dataset")
    dataset_import = DatasetImport(
        dataset=dataset,
        name="" if dataset else name.strip(),
        description="" if dataset else description.strip(),
        note=note,
        file_name=_clean_name(file_name),
        file_format=file_format,
        size_bytes=file.size,
        mapping=(mapping or ColumnMapping()).to_json(),
        starts_when_checked=not is_dry_run,
        created_by=actor,
        started_by=None if is_dry_run else actor,
    )
    _check(dataset_import)
    upload = default_storage.save(make_upload_key(), file)
    try:
        dataset_import.upload = upload
        _write(actor, dataset_import)
    except BaseException:
        discard_files([upload])
        raise
    return dataset_import


def _check(dataset_import: DatasetImport) -> None:
    dataset = dataset_import.dataset
    if dataset is not None and dataset.is_deleted:
        raise DatasetAlreadyDeletedError
    check_texts(name=dataset.name if dataset else dataset_import.name, slug="", note=dataset_import.note)
    check_row(dataset_import, {"name", "description", "note", "file_name"})
    _check_mapping(dataset_import.mapping, dataset_import.file_format)
    if not dataset_import.size_bytes:
        raise ImportFileEmptyError
    if dataset_import.size_bytes > MAX_UPLOAD_BYTES:
        raise ImportFileTooLargeError


def _check_mapping(mapping: dict[str, Any], file_format: str) -> None:
    if file_format and file_format not in FORMATS:
        raise DatasetInvalidError(fields={"format": ["The format is csv, tsv or jsonl."]})
    check_object("mapping", mapping)


@transaction.atomic
def _write(actor: User, dataset_import: DatasetImport) -> None:
    dataset_import.save(force_insert=True)
    audit.record(
        actor=actor,
        verb="upload_dataset_import",
        target=dataset_import,
        after={"dataset": str(dataset_import.dataset_id or ""), "size_bytes": dataset_import.size_bytes},
    )
    wake_importer()


@transaction.atomic
def change_mapping(*, actor: User, dataset_import: DatasetImport, mapping: ColumnMapping) -> DatasetImport:
    """Have the stored file checked again by another mapping; images that were checked stay so.

    Raises:
        ImportNotCheckedError: It is not between check and import.
        FieldsInvalidError: The mapping is too large, or can't be stored.
    """
    _require(actor, dataset_import)
    stored = mapping.to_json()
    _check_mapping(stored, "")
    _move(
        dataset_import,
        state=ImportState.UPLOADED,
        mapping=stored,
        used_mapping={},
        preview=[],
        errors=[],
        n_errors=0,
        n_rows=0,
    )
    audit.record(actor=actor, verb="change_dataset_import", target=dataset_import, after={"mapping": stored})
    wake_importer()
    return dataset_import


@transaction.atomic
def start_dataset_import(*, actor: User, dataset_import: DatasetImport) -> DatasetImport:
    """Import a checked file without errors, in the background.

    Raises:
        ImportNotCheckedError: It is not between check and import.
        ImportHasErrorsError: The check found errors.
        DatasetAlreadyDeletedError: The dataset is deleted.
    """
    _require(actor, dataset_import)
    if dataset_import.dataset is not None and dataset_import.dataset.is_deleted:
        raise DatasetAlreadyDeletedError
    if dataset_import.state == ImportState.CHECKED and dataset_import.n_errors:
        raise ImportHasErrorsError
    _move(dataset_import, state=ImportState.IMPORTING, started_by=actor)
    audit.record(actor=actor, verb="start_dataset_import", target=dataset_import)
    wake_importer()
    return dataset_import


@transaction.atomic
def cancel_dataset_import(*, actor: User, dataset_import: DatasetImport) -> DatasetImport:
    """End an import without a version; what was stored for it is removed in the background.

    Raises:
        ImportFinishedError: It is completed, failed or cancelled.
    """
    _require(actor, dataset_import)
    # One step more on the fence: a worker that still holds it is refused when it writes.
    n_cancelled = (
        DatasetImport.objects.open()
        .filter(pk=dataset_import.pk)
        .update(
            state=ImportState.CANCELLED,
            finished_at=timezone.now(),
            updated_at=timezone.now(),
            lease_expires_at=None,
            fence=F("fence") + 1,
        )
    )
    if not n_cancelled:
        raise ImportFinishedError
    audit.record(actor=actor, verb="cancel_dataset_import", target=dataset_import)
    wake_importer()
    dataset_import.refresh_from_db()
    return dataset_import


def _require(actor: User, dataset_import: DatasetImport) -> None:
    is_new = dataset_import.dataset_id is None
    require(actor, "generations.add_dataset" if is_new else "generations.change_dataset")


def _move(dataset_import: DatasetImport, **values: Any) -> None:
    """Set values of a checked import that nobody has changed meanwhile."""
    errors = {"n_errors": 0} if values["state"] == ImportState.IMPORTING else {}
    checked = DatasetImport.objects.filter(pk=dataset_import.pk, state=ImportState.CHECKED, **errors)
    if not checked.update(**values, n_claims=0, updated_at=timezone.now()):
        raise ImportNotCheckedError
    dataset_import.refresh_from_db()


def _clean_name(file_name: str) -> str:
    """Return the last part of a file's name, without what can't be shown or stored."""
    last = file_name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in last if char.isprintable())[:_MAX_FILE_NAME_LENGTH]
