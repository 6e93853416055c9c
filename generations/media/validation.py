"""From foreign bytes to an upright 8-bit sRGB image, or to one clear reason why not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, Final, cast

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from generations.media.containers import Content, clean_jpeg, clean_png, clean_webp, is_sound_png
from generations.media.errors import (
    MediaAnimatedError,
    MediaEmptyError,
    MediaError,
    MediaNotAnImageError,
    MediaTooComplexError,
    MediaTooLargeError,
    MediaTooManyPixelsError,
    MediaTruncatedError,
    MediaTypeMismatchError,
)

MIME_TYPES: Final = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
_CLEANERS: Final = {"PNG": clean_png, "JPEG": clean_jpeg, "WEBP": clean_webp}
_MAX_ICC_BYTES: Final = 4 * 1024 * 1024
_UPRIGHT: Final = 1
_ORIENTATION_TAG: Final = 0x0112
_SIXTEEN_BITS: Final = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I"})


@dataclass(frozen=True, slots=True)
class MediaLimits:
    """What is decoded at all; everything is known from the header, before a pixel is unpacked."""

    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 45_000_000
    max_side_px: int = 16_384
    formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "GIF")


DEFAULT_LIMITS: Final = MediaLimits()


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image that is certain to be decoded, or has been.

    Args:
        mime_type: Of `content`, from the bytes themselves, whatever anybody claimed.
        size_bytes: Of `content`.
        sha256: Of `content`, in lower-case hexadecimal.
        pieces: What to store, one after the other: the same picture without metadata, comments and trailing
            bytes. Where they are views of what came, that stays in reach for as long as they do.
    """

    width_px: int
    height_px: int
    mime_type: str
    size_bytes: int
    sha256: str
    pieces: Sequence[memoryview] = field(repr=False)

    @property
    def content(self) -> bytes:
        """Return the pieces as one."""
        return b"".join(self.pieces)


@dataclass(frozen=True, slots=True)
class DecodedImage(CheckedImage):
    """An image whose every pixel has been decoded.

    Args:
        image: Upright, mode `RGB` or `RGBA`, sRGB, without metadata.
    """

    image: Image.Image = field(repr=False)

    def without_pixels(self) -> CheckedImage:
        """Return what there is to tell and to store; the pixels are not kept for it."""
        return CheckedImage(**{name: getattr(self, name) for name in CheckedImage.__slots__})


def decode_image(
    content: Content, limits: MediaLimits = DEFAULT_LIMITS, *, declared_mime_type: str | None = None
) -> DecodedImage:
    """Check and decode the bytes of one still image. It takes milliseconds of CPU: call it in a thread.

    What the sender says it is, if anything, is compared with what it is.

    Raises:
        MediaError: One of its kinds, whose `code` and `message` say why.
    """
    with _open(content, limits) as picture:
        kind = _get_kind(picture)
        _check_header(picture, kind, limits, declared_mime_type)
        pieces = _CLEANERS[kind](content) if kind in _CLEANERS else None
        image, upright = _load(picture)
    if pieces is None or not upright:
        kind, pieces = _encode(image, kind)
    return DecodedImage(**_describe(kind, image.size, pieces), image=image)


def check_image(content: Content, limits: MediaLimits = DEFAULT_LIMITS) -> CheckedImage:
    """Check the bytes of one still image as `decode_image` does, but decode it only if nothing less tells.

    Raises:
        MediaError: One of its kinds, whose `code` and `message` say why.
    """
    with _open(content, limits) as picture:
        kind = _get_kind(picture)
        _check_header(picture, kind, limits, None)
        if kind == "PNG" and is_sound_png(content):
            return CheckedImage(**_describe(kind, picture.size, clean_png(content)))
    return decode_image(content, limits)


def load_image(content: Content, limits: MediaLimits = DEFAULT_LIMITS) -> Image.Image:
    """Return the picture of an image that was checked before it was stored, as `decode_image` would.

    Raises:
        MediaError: It was damaged since.
    """
    with _open(content, limits) as picture:
        _check_header(picture, _get_kind(picture), limits, None)
        return _load(picture)[0]


def _load(picture: Image.Image) -> tuple[Image.Image, bool]:
    """The decoded picture, and whether it was upright already."""
    with _foreign_errors_as(MediaTruncatedError):
        picture.load()
    with _foreign_errors_as(MediaNotAnImageError):
        upright = _orientation(picture) == _UPRIGHT
        image = _to_srgb(picture if upright else ImageOps.exif_transpose(picture))
    image.info.clear()
    return image, upright


@contextlib.contextmanager
def _open(content: Content, limits: MediaLimits) -> Iterator[Image.Image]:
    if not content:
        raise MediaEmptyError
    if len(content) > limits.max_bytes:
        raise MediaTooLargeError
    # A mapped file is read like any other; Pillow takes no more of it at once than it needs.
    file = io.BytesIO(content) if isinstance(content, bytes) else cast("IO[bytes]", content)
    file.seek(0)
    with _foreign_errors_as(MediaNotAnImageError):
        picture = Image.open(file, formats=limits.formats)
    with picture:
        yield picture


def _describe(kind: str, size: tuple[int, int], pieces: Sequence[memoryview]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return {
        "width_px": size[0],
        "height_px": size[1],
        "mime_type": MIME_TYPES[kind],
        "size_bytes": sum(map(len, pieces)),
        "sha256": digest.hexdigest(),
        "pieces": pieces,
    }


def _get_kind(picture: Image.Image) -> str:
    # Phones wrap a JPEG and its depth map as MPO; the first image is a plain JPEG.
    return "JPEG" if picture.format == "MPO" else picture.format or ""


def _check_header(
    picture: Image.Image, kind: str, limits: MediaLimits, declared_mime_type: str | None
) -> None:
    if kind not in MIME_TYPES:
        raise MediaNotAnImageError
    if declared_mime_type is not None:
        declared = declared_mime_type.partition(";")[0].strip().lower()
        if declared.replace("image/jpg", "image/jpeg") != MIME_TYPES[kind]:
            raise MediaTypeMismatchError
    width, height = picture.size
    if max(width, height) > limits.max_side_px or width * height > limits.max_pixels:
        raise MediaTooManyPixelsError
    with _foreign_errors_as(MediaTruncatedError):
        animated = picture.format != "MPO" and getattr(picture, "is_animated", False)
    if animated:
        raise MediaAnimatedError


@contextlib.contextmanager
def _foreign_errors_as(fallback: type[MediaError]) -> Iterator[None]:
    """Turn whatever Pillow raises on hostile bytes into one of our reasons."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaTooManyPixelsError from error
    except UnidentifiedImageError as error:
        raise MediaNotAnImageError from error
    except (ValueError, MemoryError, OverflowError) as error:
        # Pillow says so when a compressed text or colour profile unpacks beyond its cap.
        too_big = "too large" in str(error) or isinstance(error, MemoryError)
        raise (MediaTooComplexError if too_big else fallback) from error
    except (OSError, SyntaxError, EOFError, KeyError, TypeError, IndexError) as error:
        raise fallback from error
    except (ArithmeticError, AttributeError, struct.error, zlib.error) as error:
        raise fallback from error


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION_TAG, _UPRIGHT))
    except (ValueError, TypeError, OSError, SyntaxError, struct.error):
        return _UPRIGHT  # Broken EXIF says nothing.


def _to_srgb(picture: Image.Image) -> Image.Image:
    """The pixels as 8-bit sRGB, with alpha only where there is any; not copied if they are so already."""
    wanted = "RGBA" if picture.has_transparency_data else "RGB"
    profile = picture.info.get("icc_profile")
    image = picture
    if image.mode in _SIXTEEN_BITS:
        # Pillow's own conversion would clip instead of scale.
        image = image.point(lambda level: level / 257).convert("L")
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_ICC_BYTES:
        image = _apply_profile(image, profile, wanted)
    return image if image.mode == wanted else image.convert(wanted)


def _apply_profile(image: Image.Image, profile: bytes, wanted: str) -> Image.Image:
    if image.mode in {"P", "1", "LA", "PA"}:
        image = image.convert(wanted)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return image  # An unusable profile leaves the numbers as they are, as browsers do.
    return converted or image


def _encode(image: Image.Image, kind: str) -> tuple[str, list[memoryview]]:
    """The pixels as a new file: JPEG where they were lossy before, PNG otherwise."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
        return "JPEG", [buffer.getbuffer()]
    image.save(buffer, "PNG", compress_level=4)
    return "PNG", [buffer.getbuffer()]
