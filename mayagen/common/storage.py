"""Local file storage that answers only when the bytes are on disk.

Django's own storage leaves the bytes in the page cache: after a power cut a committed row would name a file
that is empty or missing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.utils.deconstruct import deconstructible

_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@deconstructible(path="mayagen.common.storage.SyncedFileSystemStorage")
class SyncedFileSystemStorage(FileSystemStorage):
    """Saves a file so that it survives a power cut, never over another one, readable by its owner only.

    A save that fails leaves no file behind. Settings for permissions widen what is private by default.
    """

    def _save(self, name: str, content: File[bytes]) -> str:
        while True:
            path = Path(self.path(name))
            self._make_directory(path.parent)
            try:
                descriptor = os.open(path, _CREATE, self.file_permissions_mode or _PRIVATE_FILE)
            except FileExistsError:
                # Another process took the name after it was looked up.
                name = self.get_available_name(name)
                continue
            break
        try:
            _write(descriptor, content)
            _sync_directory(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name.replace("\\", "/")

    def _make_directory(self, directory: Path) -> None:
        if directory.exists():
            return
        mode = self.directory_permissions_mode or _PRIVATE_DIRECTORY
        missing = [directory, *directory.parents]
        missing = [parent for parent in missing if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(mode=mode, exist_ok=True)
            _sync_directory(parent.parent)


def _write(descriptor: int, content: File[bytes]) -> None:
    """Write and sync the whole content; the descriptor is closed in any case."""
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for chunk in content.chunks():
            remaining = memoryview(chunk)
            while remaining:
                remaining = remaining[file.write(remaining) :]
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
