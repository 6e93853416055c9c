"""Storage keys: random, spread over folders, and without a byte that came from anybody."""

from __future__ import annotations

import re
from typing import Final, Literal

from mayagen.common.ids import random_name

EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}

MediaFolder = Literal["inputs", "outputs", "thumbnails", "blind"]

KEY_FOLDERS: Final = ("inputs", "outputs", "thumbnails", "blind", "uploads", "health")
"""All folders that keys are made in, those of files without a row included."""

# What a storage adds to a name that is taken already stands before the extension.
_IMAGE_KEY: Final = re.compile(
    r"(?:inputs|outputs|thumbnails|blind)/([0-9a-f]{2})/\1[0-9a-f]{30}(?:_[0-9A-Za-z]{7})?\.(?:png|jpg|webp)"
)
_UPLOAD_KEY: Final = re.compile(r"uploads/([0-9a-f]{2})/\1[0-9a-f]{30}(?:_[0-9A-Za-z]{7})?")
_KEY_SUBFOLDER: Final = re.compile(r"[0-9a-f]{2}")
_PROBE_KEY: Final = re.compile(r"health/[0-9a-f]{32}(?:_[0-9A-Za-z]{7})?")


def make_storage_key(folder: MediaFolder, mime_type: str) -> str:
    """Return a new key such as `outputs/ab/ab3f….png`; 256 subfolders keep each of them listable.

    Raises:
        ValueError: If no stored file has this type.
    """
    try:
        extension = EXTENSIONS[mime_type]
    except KeyError:
        raise ValueError(f"No file of type {mime_type!r} is stored.") from None
    name = random_name()
    return f"{folder}/{name[:2]}/{name}.{extension}"


def make_upload_key() -> str:
    """Return a new key for a file that is kept only until it has been worked through."""
    name = random_name()
    return f"uploads/{name[:2]}/{name}"


def make_probe_key() -> str:
    """Return a new key for a file that only tells whether the storage works."""
    return f"health/{random_name()}"


def is_key(name: str) -> bool:
    """Return whether the name of a stored file can have been made here; anything else is somebody else's."""
    return any(pattern.fullmatch(name) for pattern in (_IMAGE_KEY, _UPLOAD_KEY, _PROBE_KEY))


def is_key_folder(name: str) -> bool:
    """Return whether a folder of this name, within one of `KEY_FOLDERS`, can have been made here."""
    return bool(_KEY_SUBFOLDER.fullmatch(name))
