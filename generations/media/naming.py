"""Storage keys: random, spread over folders, and without a byte that came from anybody."""

from __future__ import annotations

from typing import Final, Literal

from mayagen.common.ids import random_name

EXTENSIONS: Final = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}

MediaFolder = Literal["inputs", "outputs", "thumbnails", "blind"]


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
