"""From a checked import to a dataset version that appears whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import User
from accounts.permissions import require
from generations.choices import ImportState
from generations.image_files import StoredFiles
from generations.models import Dataset, DatasetImport, DatasetImportImage
from generations.services.dataset_files import RowFile
from generations.services.dataset_rows import ColumnMapping, ItemRow, KeyMaker, refuse
from generations.services.datasets import create_dataset, lock_dataset, write_version
from generations.services.images import InputFiles
from generations.services.importing.checking import find_images
from generations.services.importing.claims import Claim
from generations.services.importing.sources import Source
from mayagen.common.errors import PermissionDeniedError

_BATCH = 500


def write(claim: Claim, dataset_import: DatasetImport, source: Source) -> None:
    """Write the version and end the import with it, or leave everything as it was.

    Raises:
        ClaimLostError: The import was cancelled, or another worker has taken it.
        DomainError: The dataset was deleted, or whoever started it may not change it any more.
    """
    # Read once more beforehand, since a made key must differ from all that come: while a transaction lasts,
    # nobody else writes on SQLite.
    make_key = KeyMaker({result.key for _, result in source.rows.read() if isinstance(result, ItemRow)})
    _write(claim, dataset_import, source, make_key)


@transaction.atomic
def _write(claim: Claim, dataset_import: DatasetImport, source: Source, make_key: KeyMaker) -> None:
    # First of all: on PostgreSQL whoever cancels waits from here on, and finds it completed.
    claim.write()
    images = _ArchiveImages(dataset_import, source)
    dataset = _get_dataset(dataset_import)
    version = write_version(
        actor=_get_actor(dataset_import),
        dataset=dataset,
        rows=_read(source.rows, make_key),
        note=dataset_import.note or f"Imported {dataset_import.n_rows:,} items.",
        images=images.find if _speaks_of_images(dataset_import) else None,
    )
    images.hand_over()
    claim.release(state=ImportState.COMPLETED, dataset=dataset, version=version, finished_at=Now())


def _speaks_of_images(dataset_import: DatasetImport) -> bool:
    """Return whether the file says which images the items have; else they keep those they had."""
    mapping = ColumnMapping.from_json(dataset_import.used_mapping)
    return mapping.has_images or dataset_import.n_images > 0


def _get_actor(dataset_import: DatasetImport) -> User:
    actor = dataset_import.started_by
    if actor is None:
        raise PermissionDeniedError
    require(actor, "generations.change_dataset" if dataset_import.dataset else "generations.add_dataset")
    return actor


def _get_dataset(dataset_import: DatasetImport) -> Dataset:
    actor = _get_actor(dataset_import)
    if dataset_import.dataset is not None:
        return lock_dataset(dataset_import.dataset)
    return create_dataset(actor=actor, name=dataset_import.name, description=dataset_import.description)


def _read(rows: RowFile, make_key: KeyMaker) -> Iterator[ItemRow]:
    for _, result in rows.read():
        if isinstance(result, list):
            raise refuse(result)
        yield make_key.complete(result)


class _ArchiveImages:
    """The images of an import's archive, which the items of the version take over."""

    def __init__(self, dataset_import: DatasetImport, source: Source) -> None:
        self._import, self._source = dataset_import, source
        self._used: set[str] = set()

    def find(self, rows: Sequence[ItemRow]) -> Mapping[str, Sequence[InputFiles]]:
        """Return the images of each row; an empty list where it names none, for it keeps no others."""
        archive = self._source.archive
        assert archive is not None  # noqa: S101 - only an archive has columns of images
        named = {row.key: [entry for entry, _ in find_images(row, archive)] for row in rows}
        wanted = {entry for entries in named.values() for entry in entries if entry}
        found = {image.name: image for image in self._import.images.filter(name__in=wanted, error_code="")}
        self._used |= found.keys()
        return {
            row.key: [
                InputFiles(StoredFiles.of(found[entry]), image.role)
                for entry, image in zip(named[row.key], row.images, strict=True)
                if entry is not None
            ]
            for row in rows
        }

    def hand_over(self) -> None:
        """Forget the images that items have taken: what is left is the import's own, to be removed."""
        used = sorted(self._used)
        for start in range(0, len(used), _BATCH):
            taken = used[start : start + _BATCH]
            DatasetImportImage.objects.filter(dataset_import=self._import, name__in=taken).delete()
