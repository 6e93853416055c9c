"""Local file storage that answers only when the bytes are on disk.

Django's own storage leaves the bytes in the page cache: after a power cut a committed row would name a file
that is empty or missing.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePath
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

    Each system call lets other threads run and then waits for its turn again, so there are no more of them
    than it takes: no look whether the name is free or the directory there.
    """

    def is_name_available(self, name: str, max_length: int | None = None) -> bool:
        """Return whether it is short enough; whether it is taken is seen when the file is made."""
        return max_length is None or len(name) <= max_length

    def _save(self, name: str, content: File[bytes]) -> str:
        while True:
            path = Path(self.path(name))
            try:
                descriptor = self._create(path)
            except FileExistsError:
                taken = PurePath(name)
                name = str(taken.with_name(self.get_alternative_name(taken.stem, taken.suffix)))
                continue
            break
        try:
            _write(descriptor, content)
            _sync_directory(path.parent)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name.replace("\\", "/")

    def _create(self, path: Path) -> int:
        """Open a new file; its directory is there already but for the first time."""
        mode = self.file_permissions_mode or _PRIVATE_FILE
        try:
            return os.open(path, _CREATE, mode)
        except FileNotFoundError:
            self._make_directory(path.parent)
            return os.open(path, _CREATE, mode)

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
    try:
        for chunk in content.chunks():
            remaining = memoryview(chunk)
            while remaining:
                remaining = remaining[os.write(descriptor, remaining) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
