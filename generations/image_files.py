"""Put checked image bytes into storage and say what is there; bytes first, rows after."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import default_storage
from PIL import Image

from generations.media.containers import Content
from generations.media.derivatives import Derivatives, hash_picture, make_derivatives
from generations.media.naming import MediaFolder, make_storage_key
from generations.media.validation import CheckedImage, MediaLimits, decode_image, load_image
from generations.models import StoredImage

logger = logging.getLogger(__name__)


class _Pieces(File):  # type: ignore[type-arg] # it has no parameter when it runs
    """A file to be saved that lies in pieces; they are joined only for a storage that must read it."""

    def __init__(self, pieces: Sequence[memoryview]) -> None:
        self.name = None
        self.size = sum(map(len, pieces))
        self._pieces = pieces

    @cached_property
    def file(self) -> io.BytesIO:  # type: ignore[override]
        """Return the whole."""
        return io.BytesIO(b"".join(self._pieces))

    def chunks(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Yield the pieces, whatever their size; they are written as they are."""
        yield from self._pieces  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class StoredCopies:
    """The storage keys of an image's thumbnails and blind copy, and the fingerprint of how it looks."""

    thumbnail: str
    small_thumbnail: str
    blind: str
    perceptual_hash: int

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


def store_image(content: Content, *, folder: MediaFolder) -> StoredFiles:
    """Check, decode and store an image with its thumbnails and blind copy.

    What is stored of the file itself is freed of metadata and of trailing bytes. Everything is on disk when
    this returns; if anything fails, nothing stays. Takes milliseconds of CPU.

    Raises:
        MediaError: The bytes are no image that can be taken.
        OSError: The storage refused.
    """
    decoded = decode_image(content, get_limits())
    stored = store_file(decoded, folder=folder)
    try:
        copies = save_copies(make_derivatives(decoded.image))
    except Exception:
        discard([stored])
        raise
    return replace(
        stored, thumbnail=copies.thumbnail, small_thumbnail=copies.small_thumbnail, blind=copies.blind
    )


def store_file(checked: CheckedImage, *, folder: MediaFolder) -> StoredFiles:
    """Store a checked image alone; its thumbnails and blind copy are made later.

    Raises:
        OSError: The storage refused.
    """
    key = make_storage_key(folder, checked.mime_type)
    return StoredFiles(
        file=default_storage.save(key, _Pieces(checked.pieces)),
        width_px=checked.width_px,
        height_px=checked.height_px,
        size_bytes=checked.size_bytes,
        mime_type=checked.mime_type,
        sha256=checked.sha256,
    )


def store_copies(name: str) -> StoredCopies:
    """Make and store the thumbnails and the blind copy of a stored image.

    Raises:
        MediaError: The stored bytes are damaged.
        OSError: The storage refused.
    """
    return save_copies(make_derivatives(load_stored(name)))


def load_stored(name: str) -> Image.Image:
    """Return the picture of a stored image, decoded.

    Raises:
        MediaError: The stored bytes are damaged.
        OSError: The storage refused.
    """
    with default_storage.open(name) as file:
        content = file.read()
    return load_image(content, get_limits())


def save_copies(derived: Derivatives) -> StoredCopies:
    """Store the copies of an image.

    Raises:
        OSError: The storage refused; nothing stays then.
    """
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
    thumbnail, small_thumbnail, blind = saved
    return StoredCopies(thumbnail, small_thumbnail, blind, perceptual_hash=derived.perceptual_hash)


def hash_copy(name: str) -> int:
    """Return the fingerprint of how a stored image looks, from a copy of it.

    Raises:
        MediaError: The stored bytes are damaged.
        OSError: The storage refused.
    """
    return hash_picture(load_stored(name))


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
