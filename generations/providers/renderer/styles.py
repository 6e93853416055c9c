"""What a style does to the finished scenery: strokes, paper, glow, blocks; and the maker's label."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from generations.providers.renderer.palette import RGB, Palette, mix

CAPTION: Final = "MayaGen embedded renderer · not AI"
_SMALLEST_CAPTIONED_PX: Final = 160

Look = Callable[[Image.Image, Palette, Random, int], Image.Image]


def value_noise(size: tuple[int, int], cells: int, chance: Random) -> Image.Image:
    """Return soft grey noise, the same for the same chance."""
    grid = Image.frombytes("L", (cells, cells), chance.randbytes(cells * cells))
    return grid.resize(size, Image.Resampling.BICUBIC)


def _soft(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:  # noqa: ARG001
    return add_light(image, palette)


def add_light(image: Image.Image, palette: Palette) -> Image.Image:
    """Return the picture with its corners a little darker, as a lens makes them."""
    edge = Image.radial_gradient("L").resize(image.size).point([level // 5 for level in range(256)])
    image.paste(mix(palette.ink, palette.sky_top, 0.25), mask=edge)
    return image


def _painterly(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:
    width, height = image.size
    sample = image.resize((96, 96), Image.Resampling.BOX).tobytes()
    draw = ImageDraw.Draw(image)
    size = min(width, height)
    for step in range(1200 + 500 * detail):
        x, y = chance.random(), chance.random()
        offset = 3 * (int(y * 95) * 96 + int(x * 95))
        lighter = chance.randint(-14, 14)
        fill = tuple(min(255, max(0, level + lighter)) for level in sample[offset : offset + 3])
        length = size * (0.04 if step < 400 else 0.016)  # noqa: PLR2004
        lean = chance.uniform(-0.6, 0.6)
        points = (x * width, y * height, x * width + length, y * height + length * lean)
        draw.line(points, fill=fill, width=max(2, round(length * 0.28)))
    return add_light(image, palette)


def _watercolour(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:
    small = image.reduce(2).filter(ImageFilter.BoxBlur(1 + 5 // detail)).resize(image.size)
    washed = Image.blend(small, Image.new("RGB", image.size, palette.paper), 0.28)
    stain = value_noise(image.size, 9, chance).point([200 + level * 55 // 255 for level in range(256)])
    washed = ImageChops.multiply(washed, Image.merge("RGB", (stain, stain, stain)))
    border = Image.new("L", image.size, 255)
    rim = max(2, min(image.size) // 28)
    ImageDraw.Draw(border).rectangle((rim, rim, image.width - rim, image.height - rim), fill=0)
    washed.paste(palette.paper, mask=border.reduce(4).filter(ImageFilter.BoxBlur(2)).resize(image.size))
    return washed


def _neon(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:  # noqa: ARG001
    edges = image.reduce(2).filter(ImageFilter.FIND_EDGES).convert("L")
    ImageDraw.Draw(edges).rectangle((0, 0, edges.width - 1, edges.height - 1), outline=0, width=2)
    edges = edges.point([min(255, level * (2 + detail)) for level in range(256)])
    glow = edges.filter(ImageFilter.BoxBlur(4)).point([min(255, level * 2) for level in range(256)])
    dark = image.point([level // 4 for level in range(256)] * 3)
    bright = mix(palette.accents[0], (255, 255, 255), 0.35)
    dark.paste(mix(palette.accents[1], (255, 60, 220), 0.4), mask=glow.resize(image.size))
    dark.paste(bright, mask=edges.resize(image.size))
    return dark


def _pixel(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:  # noqa: ARG001
    blocks = 40 + 16 * detail
    scale = blocks / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.BOX)
    small = small.quantize(24, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return small.resize(image.size, Image.Resampling.NEAREST)


def _sketch(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:
    grey = ImageOps.autocontrast(image.convert("L"))
    lines = ImageOps.invert(grey.filter(ImageFilter.FIND_EDGES))
    lines = lines.point([255 - min(255, (255 - level) * (1 + detail)) for level in range(256)])
    tone = grey.point([190 + level * 65 // 255 for level in range(256)])
    hatch = Image.new("L", image.size, 255)
    draw = ImageDraw.Draw(hatch)
    for offset in range(-image.height, image.width, max(6, image.width // (20 * detail + 30))):
        draw.line((offset, image.height, offset + image.height, 0), fill=chance.randint(196, 226))
    darkness = grey.point([255] * 120 + [0] * 136)
    shaded = Image.composite(hatch, Image.new("L", image.size, 255), darkness)
    drawing = ImageChops.multiply(ImageChops.multiply(lines, tone), shaded)
    return ImageOps.colorize(drawing, palette.ink, palette.paper)


def _poster(image: Image.Image, palette: Palette, chance: Random, detail: int) -> Image.Image:  # noqa: ARG001
    steps = [palette.ink, palette.near, palette.accents[0], palette.far, palette.sky_low, palette.paper]
    grey = ImageOps.autocontrast(image.convert("L"))
    n_steps = min(len(steps), 3 + detail)
    ramp = [steps[round(step * (len(steps) - 1) / (n_steps - 1))] for step in range(n_steps)]
    table = [
        ramp[min(n_steps - 1, level * n_steps // 256)][band] for band in range(3) for level in range(256)
    ]
    return Image.blend(Image.merge("RGB", (grey, grey, grey)).point(table), image, 0.3)


LOOKS: Final[Mapping[str, Look]] = MappingProxyType(
    {
        "soft": _soft,
        "flat": lambda image, _palette, _chance, _detail: image,
        "painterly": _painterly,
        "watercolour": _watercolour,
        "neon": _neon,
        "pixel": _pixel,
        "sketch": _sketch,
        "poster": _poster,
    }
)


@functools.cache
def _caption(height: int) -> Image.Image:
    """The label as a mask, drawn once for each height."""
    font = ImageFont.load_default(size=height * 0.62)
    left, _, right, _ = font.getbbox(CAPTION)
    mask = Image.new("L", (round(right - left) + height, height), 0)
    ImageDraw.Draw(mask).text((height / 2, height / 2), CAPTION, fill=235, font=font, anchor="lm")
    return mask


def add_caption(image: Image.Image, ink: RGB) -> None:
    """Write at the lower edge what made the picture; pictures too small for letters stay as they are."""
    if min(image.size) < _SMALLEST_CAPTIONED_PX:
        return
    height = max(14, min(image.size) // 36)
    mask = _caption(height)
    if mask.width > image.width:
        mask = mask.resize((image.width, height))
    top = image.height - height
    strip = image.crop((0, top, image.width, image.height))
    image.paste(Image.blend(strip, Image.new("RGB", strip.size, ink), 0.55), (0, top))
    image.paste((255, 255, 255), (image.width - mask.width, top), mask)
