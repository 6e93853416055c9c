"""A picture and a mask to try models with that edit."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw

SIDE_PX = 512


def make_sample_picture() -> bytes:
    """Return a PNG of a house on a hill under the sun."""
    image = Image.new("RGB", (SIDE_PX, SIDE_PX), "#bfe3ff")
    draw = ImageDraw.Draw(image)
    draw.ellipse((360, 50, 450, 140), fill="#ffd34d")
    draw.ellipse((-120, 330, 640, 820), fill="#5fa35a")
    draw.rectangle((180, 250, 330, 390), fill="#e9e2d0")
    draw.polygon(((160, 255), (255, 160), (350, 255)), fill="#a8452c")
    draw.rectangle((235, 320, 275, 390), fill="#6b4a2f")
    return _to_png(image)


def make_sample_mask() -> bytes:
    """Return a PNG of the same size whose white disc, over the sun, is to be repainted."""
    image = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    ImageDraw.Draw(image).ellipse((330, 20, 480, 170), fill=255)
    return _to_png(image)


def _to_png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
