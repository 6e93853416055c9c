"""Open what was uploaded: a table, or an archive of a table and images."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from django.conf import settings
from django.core.files.storage import default_storage

from generations.media.archives import ArchiveLimits, ImageArchive, is_archive, open_archive
from generations.models import DatasetImport
from generations.services.dataset_files import RowFile
from generations.services.dataset_rows import ColumnMapping

_IN_MEMORY_BYTES = 1024 * 1024
_HEAD_BYTES = 4


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of an upload, and the archive that holds their images, if it is one."""

    rows: RowFile
    archive: ImageArchive | None


@contextmanager
def open_source(dataset_import: DatasetImport) -> Iterator[Source]:
    """Open the upload of an import.

    Raises:
        ArchiveError: It is an archive that can't be used.
        DatasetImportError: Its table is too large, or of no known format.
        OSError: The storage does not answer.
    """
    options: dict[str, Any] = {
        "file_format": dataset_import.file_format,
        "mapping": ColumnMapping.from_json(dataset_import.mapping) or None,
    }
    with default_storage.open(dataset_import.upload.name or "") as stored:
        file = cast("BinaryIO", stored)
        if not is_archive(file.read(_HEAD_BYTES), dataset_import.file_name):
            yield Source(RowFile(file, file_name=dataset_import.file_name, **options), None)
            return
        limits = ArchiveLimits(max_entry_bytes=settings.MEDIA_MAX_UPLOAD_BYTES)
        with open_archive(file, limits) as archive, tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as table:
            unpacked = cast("BinaryIO", table)
            archive.unpack_table(unpacked)
            yield Source(RowFile(unpacked, file_name=archive.table_name, has_images=True, **options), archive)
