"""What the tests of imports share: files on their way to datasets, and a worker's turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from django.conf import settings
from django.core.files.base import ContentFile, File

from accounts.models import User
from generations.models import DatasetImport, DatasetVersion
from generations.services.dataset_imports import upload_dataset_import
from generations.services.importing.work import work_on_imports
from mayagen.common.storage import SyncedFileSystemStorage
from tests.generations.factories import make_png
from tests.generations.hostile_archives import make_zip

ROWS = b"key,brief,tags,subject\na,A cat.,pets,cat\nb,A dog.,pets,dog\n"
PICTURED = b"key,subject,image,mask\na,cat,a.png,mask.png\nb,dog,b.png;a.png,\nc,cow,,\n"


def upload(
    actor: User, content: bytes = ROWS, *, file_name: str = "items.csv", **options: Any
) -> DatasetImport:
    """Hand in a file; it makes a dataset of its own unless `dataset` is given."""
    if "dataset" not in options:
        options.setdefault("name", "Animals")
    return upload_dataset_import(actor=actor, file=ContentFile(content), file_name=file_name, **options)


def make_archive(table: bytes = PICTURED, **files: bytes) -> bytes:
    """Return a ZIP file of a table and the pictures that `PICTURED` names."""
    pictures = {"a.png": make_png(1), "b.png": make_png(2), "mask.png": make_png(3)}
    return make_zip({"items.csv": table, **pictures, **files})


def work(dataset_import: DatasetImport, *, seconds: float = 60.0) -> DatasetImport:
    """Let a worker take its turn, and return the import as it is then."""
    work_on_imports(seconds=seconds)
    dataset_import.refresh_from_db()
    return dataset_import


class Killed(BaseException):
    """What ends a worker in the middle, as a signal would."""


class WatchedStorage(SyncedFileSystemStorage):
    """The storage of files, which tells of each one before it is written."""

    tell: ClassVar[Callable[[str], object]]

    def _save(self, name: str, content: File[bytes]) -> str:
        type(self).tell(name)
        return super()._save(name, content)


def watch_storage(settings: Any, tell: Callable[[str], object]) -> None:
    """Call `tell` with the name of each file that is stored from now on."""
    WatchedStorage.tell = staticmethod(tell)
    backend = f"{WatchedStorage.__module__}.{WatchedStorage.__name__}"
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {**settings.STORAGES["default"], "BACKEND": backend},
    }


def get_version(dataset_import: DatasetImport) -> DatasetVersion:
    """Return what the import became."""
    assert dataset_import.version is not None
    return dataset_import.version


def list_files() -> list[Path]:
    """Return every file in storage."""
    return sorted(path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file())
