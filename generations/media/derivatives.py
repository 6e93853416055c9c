"""The smaller and the blind copies of an image, made once when it arrives: no page waits for them."""

from __future__ import annotations

import io
import math
import os
from dataclasses import dataclass, field
from tempfile import TemporaryFile
from typing import Final

from PIL import Image

from generations.media.perceptual import make_perceptual_hash

THUMBNAIL_BOX_PX: Final = 512
SMALL_THUMBNAIL_BOX_PX: Final = 192
BLIND_CANVAS_PX: Final = 1024
BLIND_GREY: Final = (128, 128, 128)
BLIND_QUALITY: Final = 88
_HAS_MEMORY_FILES: Final = hasattr(os, "memfd_create")
_GREY_IN: Final = {"RGB": BLIND_GREY, "YCbCr": (128, 128, 128)}

# Pillow gives the memory of each picture back at once; taking it anew costs 5 ms of page faults per image
# here. Four kept blocks (of at most 16 MB) are enough for the threads that work on pictures.
Image.core.set_blocks_max(4)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Copies re-encoded from pixels alone, and the fingerprint of how they look."""

    thumbnail_webp: bytes = field(repr=False)
    small_thumbnail_webp: bytes = field(repr=False)
    blind_jpeg: bytes = field(repr=False)
    perceptual_hash: int


def make_derivatives(image: Image.Image) -> Derivatives:
    """Return all copies of one decoded image. It takes milliseconds of CPU: call it in a thread."""
    thumbnail = _shrink_into(image, THUMBNAIL_BOX_PX)
    small_factor = math.ceil(max(thumbnail.size) / SMALL_THUMBNAIL_BOX_PX)
    return Derivatives(
        thumbnail_webp=_to_webp(thumbnail),
        # At this size averaged blocks look as good as interpolation, and are made in a fifth of the time.
        small_thumbnail_webp=_to_webp(thumbnail.reduce(small_factor)),
        blind_jpeg=make_blind(image),
        perceptual_hash=hash_picture(thumbnail),
    )


def hash_picture(image: Image.Image) -> int:
    """Return the fingerprint of how a picture looks, from itself or from its thumbnail."""
    return make_perceptual_hash(_flatten(image))


def make_blind(image: Image.Image) -> bytes:
    """Return the copy that tells nothing but the picture: one format, one canvas, one encoder's settings."""
    scale = BLIND_CANVAS_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    fitted = _flatten(_shrink(image, size)) if scale <= 1 else _enlarge(_flatten(image), size)
    if size != (BLIND_CANVAS_PX, BLIND_CANVAS_PX):
        canvas = Image.new(fitted.mode, (BLIND_CANVAS_PX, BLIND_CANVAS_PX), _GREY_IN[fitted.mode])
        canvas.paste(fitted, ((BLIND_CANVAS_PX - size[0]) // 2, (BLIND_CANVAS_PX - size[1]) // 2))
        fitted = canvas
    return _to_jpeg(fitted)


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    canvas = Image.new("RGB", image.size, BLIND_GREY)
    canvas.paste(image, mask=image)
    return canvas


def _enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Interpolate the brightness alone: the JPEG halves the colour planes again anyway (a third cheaper)."""
    brightness, blue, red = image.convert("YCbCr").split()
    return Image.merge(
        "YCbCr",
        (
            brightness.resize(size, Image.Resampling.BILINEAR),
            blue.resize(size, Image.Resampling.NEAREST),
            red.resize(size, Image.Resampling.NEAREST),
        ),
    )


def _shrink_into(image: Image.Image, box_px: int) -> Image.Image:
    scale = box_px / max(image.size)
    if scale >= 1:
        return image
    return _shrink(image, (max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _shrink(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    # Whole factors go by averaging blocks, the cheapest way; only the rest is interpolated.
    factor = min(image.width // size[0], image.height // size[1])
    if factor > 1:
        image = image.reduce(factor)
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)


def _to_jpeg(image: Image.Image) -> bytes:
    # Into a real file, which here is memory: Pillow lets other threads run only while it writes to one.
    with os.fdopen(os.memfd_create("blind"), "w+b") if _HAS_MEMORY_FILES else TemporaryFile() as file:
        image.save(file, "JPEG", quality=BLIND_QUALITY, subsampling="4:2:0")
        file.seek(0)
        return file.read()


def _to_webp(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=78, method=0)
    return buffer.getvalue()
