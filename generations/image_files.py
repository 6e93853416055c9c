"""Put checked image bytes into storage and say what is there; bytes first, rows after."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from generations.media.derivatives import make_derivatives
from generations.media.naming import MediaFolder, make_storage_key
from generations.media.validation import DecodedImage, MediaLimits, decode_image
from generations.models import StoredImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredCopies:
    """The storage keys of an image's thumbnails and blind copy."""

    thumbnail: str
    small_thumbnail: str
    blind: str

    def list_names(self) -> list[str]:
        """Return the storage keys."""
        return [self.thumbnail, self.small_thumbnail, self.blind]


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The storage keys and facts of one image, by the field names of `StoredImage`."""

    file: str
    width_px: int
    height_px: int
    size_bytes: int
    mime_type: str
    sha256: str
    thumbnail: str = ""
    small_thumbnail: str = ""
    blind: str = ""

    def as_fields(self) -> dict[str, str | int]:
        """Return the values for making a row of `StoredImage`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def list_names(self) -> list[str]:
        """Return the storage keys of all its files."""
        return [name for name in (self.file, self.thumbnail, self.small_thumbnail, self.blind) if name]

    @classmethod
    def of(cls, image: StoredImage) -> StoredFiles:
        """Return what a row holds, so that another row can share its stored files."""
        return cls(
            file=str(image.file),
            thumbnail=str(image.thumbnail),
            small_thumbnail=str(image.small_thumbnail),
            blind=str(image.blind),
            width_px=image.width_px,
            height_px=image.height_px,
            size_bytes=image.size_bytes,
            mime_type=image.mime_type,
            sha256=image.sha256,
        )


def get_limits() -> MediaLimits:
    """Return the limits that every image taken in must keep."""
    return MediaLimits(max_bytes=settings.MEDIA_MAX_UPLOAD_BYTES)


def store_image(content: bytes, *, folder: MediaFolder) -> StoredFiles:
    """Check, decode and store an image with its thumbnails and blind copy.

    What is stored of the file itself is freed of metadata and of trailing bytes. Everything is on disk when
    this returns; if anything fails, nothing stays. Takes milliseconds of CPU.

    Raises:
        MediaError: The bytes are no image that can be taken.
        OSError: The storage refused.
    """
    decoded = decode_image(content, get_limits())
    stored = _store_file(decoded, folder=folder)
    try:
        copies = _store_copies(decoded)
    except Exception:
        discard([stored])
        raise
    return replace(
        stored, thumbnail=copies.thumbnail, small_thumbnail=copies.small_thumbnail, blind=copies.blind
    )


def store_file(content: bytes, *, folder: MediaFolder) -> StoredFiles:
    """Check, decode and store an image alone; `store_copies` makes its thumbnails and blind copy later.

    Raises:
        MediaError: The bytes are no image that can be taken.
        OSError: The storage refused.
    """
    return _store_file(decode_image(content, get_limits()), folder=folder)


def store_copies(name: str) -> StoredCopies:
    """Make and store the thumbnails and the blind copy of a stored image.

    Raises:
        MediaError: The stored bytes are damaged.
        OSError: The storage refused.
    """
    with default_storage.open(name) as file:
        content = file.read()
    return _store_copies(decode_image(content, get_limits()))


def _store_file(decoded: DecodedImage, *, folder: MediaFolder) -> StoredFiles:
    key = make_storage_key(folder, decoded.mime_type)
    return StoredFiles(
        file=default_storage.save(key, ContentFile(decoded.content)),
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        size_bytes=decoded.size_bytes,
        mime_type=decoded.mime_type,
        sha256=decoded.sha256,
    )


def _store_copies(decoded: DecodedImage) -> StoredCopies:
    derived = make_derivatives(decoded)
    copies: tuple[tuple[MediaFolder, str, bytes], ...] = (
        ("thumbnails", "image/webp", derived.thumbnail_webp),
        ("thumbnails", "image/webp", derived.small_thumbnail_webp),
        ("blind", "image/jpeg", derived.blind_jpeg),
    )
    saved: list[str] = []
    try:
        for place, mime_type, body in copies:
            saved.append(default_storage.save(make_storage_key(place, mime_type), ContentFile(body)))
    except Exception:
        discard_files(saved)
        raise
    return StoredCopies(*saved)


def discard(stored: Iterable[StoredFiles]) -> None:
    """Remove the files of images whose rows were not written."""
    for image in stored:
        discard_files(image.list_names())


def discard_files(names: Iterable[str]) -> None:
    """Remove stored files; one that cannot be removed is logged as an orphan, not raised."""
    for name in names:
        try:
            default_storage.delete(name)
        except OSError:
            logger.exception("could not remove the orphaned file %s", name)
