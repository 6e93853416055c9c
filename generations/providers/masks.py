"""Masks as people draw them and as providers want them: which pixels are to be repainted."""

from __future__ import annotations

import io

from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")


def to_edit_area(mask: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an `L` image of this size, 255 where the picture is to be repainted and 0 where it stays.

    A mask with any transparency says so by its transparent pixels, any other one by its white pixels.
    """
    if mask.size != size:
        mask = mask.convert("RGBA" if mask.has_transparency_data else "L").resize(size)
    if mask.has_transparency_data:
        alpha = mask.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return alpha.point([255 - level for level in range(256)])
    return mask.convert("L")


def to_transparent_png(content: bytes) -> bytes:
    """Return the mask as a PNG whose transparent pixels are the ones to repaint.

    Source: OpenAI API reference, `images/edits`, parameter `mask`.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as mask:
        kept = to_edit_area(mask, mask.size).point([255 - level for level in range(256)])
        picture = Image.new("RGBA", mask.size, (0, 0, 0, 255))
        picture.putalpha(kept)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_white_png(content: bytes) -> bytes:
    """Return the mask as a PNG whose white pixels are the ones to repaint and whose black ones stay.

    Source: the inpainting models of fal.ai and Replicate, which document their mask so.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as mask:
        area = to_edit_area(mask, mask.size)
    buffer = io.BytesIO()
    area.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
