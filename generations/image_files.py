"""Put checked image bytes into storage and say what is there; bytes first, rows after."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, fields

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from generations.media.derivatives import make_derivatives
from generations.media.naming import MediaFolder, make_storage_key
from generations.media.validation import MediaLimits, decode_image
from generations.models import StoredImage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The storage keys and facts of one image, by the field names of `StoredImage`."""

    file: str
    thumbnail: str
    small_thumbnail: str
    blind: str
    width_px: int
    height_px: int
    size_bytes: int
    mime_type: str
    sha256: str

    def as_fields(self) -> dict[str, str | int]:
        """Return the values for making a row of `StoredImage`."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, image: StoredImage) -> StoredFiles:
        """Return what a row holds, so that another row can share its stored files."""
        return cls(
            file=image.file.name,
            thumbnail=image.thumbnail.name,
            small_thumbnail=image.small_thumbnail.name,
            blind=image.blind.name,
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
    """Check, decode and store an image with its thumbnails and blind derivative.

    What is stored of the file itself is freed of metadata and of trailing bytes. Everything is on disk when
    this returns; if anything fails, nothing stays. Takes milliseconds of CPU.

    Raises:
        MediaError: The bytes are no image that can be taken.
        OSError: The storage refused.
    """
    decoded = decode_image(content, get_limits())
    derived = make_derivatives(decoded)
    files: tuple[tuple[MediaFolder, str, bytes], ...] = (
        (folder, decoded.mime_type, decoded.content),
        ("thumbnails", "image/webp", derived.thumbnail_webp),
        ("thumbnails", "image/webp", derived.small_thumbnail_webp),
        ("blind", "image/jpeg", derived.blind_jpeg),
    )
    saved: list[str] = []
    try:
        for place, mime_type, body in files:
            saved.append(default_storage.save(make_storage_key(place, mime_type), ContentFile(body)))
    except Exception:
        discard_files(saved)
        raise
    return StoredFiles(
        *saved,
        width_px=decoded.width_px,
        height_px=decoded.height_px,
        size_bytes=decoded.size_bytes,
        mime_type=decoded.mime_type,
        sha256=decoded.sha256,
    )


def discard(stored: Iterable[StoredFiles]) -> None:
    """Remove the files of images whose rows were not written."""
    for image in stored:
        discard_files([image.file, image.thumbnail, image.small_thumbnail, image.blind])


def discard_files(names: Iterable[str]) -> None:
    """Remove stored files; one that cannot be removed is logged as an orphan, not raised."""
    for name in names:
        try:
            default_storage.delete(name)
        except OSError:
            logger.exception("could not remove the orphaned file %s", name)
