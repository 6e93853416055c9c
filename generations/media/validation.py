"""From foreign bytes to an upright 8-bit sRGB image, or to one clear reason why not."""

from __future__ import annotations

import contextlib
import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from generations.media.containers import clean_jpeg, clean_png, clean_webp
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
    max_pixels: int = 64_000_000
    max_side_px: int = 16_384
    formats: tuple[str, ...] = ("PNG", "JPEG", "WEBP", "GIF")


DEFAULT_LIMITS: Final = MediaLimits()


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An image whose every pixel has been decoded.

    Args:
        image: Upright, mode `RGB` or `RGBA`, sRGB, without metadata.
        mime_type: Of `content`, from the bytes themselves, whatever anybody claimed.
        size_bytes: Of `content`.
        sha256: Of `content`, in lower-case hexadecimal.
        content: What to store: the same picture without metadata, comments and trailing bytes.
    """

    image: Image.Image = field(repr=False)
    width_px: int
    height_px: int
    mime_type: str
    size_bytes: int
    sha256: str
    content: bytes = field(repr=False)


def decode_image(
    content: bytes, limits: MediaLimits = DEFAULT_LIMITS, *, declared_mime_type: str | None = None
) -> DecodedImage:
    """Check and decode the bytes of one still image. It takes milliseconds of CPU: call it in a thread.

    What the sender says it is, if anything, is compared with what it is.

    Raises:
        MediaError: One of its kinds, whose `code` and `message` say why.
    """
    if not content:
        raise MediaEmptyError
    if len(content) > limits.max_bytes:
        raise MediaTooLargeError
    with _foreign_errors_as(MediaNotAnImageError):
        picture = Image.open(io.BytesIO(content), formats=limits.formats)
    with picture:
        # Phones wrap a JPEG and its depth map as MPO; the first image is a plain JPEG.
        kind = "JPEG" if picture.format == "MPO" else picture.format or ""
        _check_header(picture, kind, limits, declared_mime_type)
        cleaned = _CLEANERS[kind](content) if kind in _CLEANERS else None
        with _foreign_errors_as(MediaTruncatedError):
            picture.load()
        with _foreign_errors_as(MediaNotAnImageError):
            upright = _orientation(picture) == _UPRIGHT
            image = _to_srgb(picture if upright else ImageOps.exif_transpose(picture))
        image.info.clear()
    if cleaned is None or not upright:
        kind, cleaned = _encode(image, kind)
    return DecodedImage(
        image=image,
        width_px=image.width,
        height_px=image.height,
        mime_type=MIME_TYPES[kind],
        size_bytes=len(cleaned),
        sha256=hashlib.sha256(cleaned).hexdigest(),
        content=cleaned,
    )


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


def _encode(image: Image.Image, kind: str) -> tuple[str, bytes]:
    """The pixels as a new file: JPEG where they were lossy before, PNG otherwise."""
    buffer = io.BytesIO()
    if kind == "JPEG":
        image.convert("RGB").save(buffer, "JPEG", quality=95, subsampling=0)
        return "JPEG", buffer.getvalue()
    image.save(buffer, "PNG", compress_level=4)
    return "PNG", buffer.getvalue()
