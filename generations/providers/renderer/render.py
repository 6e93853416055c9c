"""From an order to a picture: the one place that decides in which order the layers are laid."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from random import Random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageOps, PngImagePlugin

from generations.providers.masks import FORMATS, to_edit_area
from generations.providers.renderer.palette import Palette, make_palette, mix
from generations.providers.renderer.scene import Stage, paint_scene, paint_weather
from generations.providers.renderer.styles import CAPTION, LOOKS, add_caption, value_noise
from generations.providers.renderer.subjects import draw_subjects
from generations.providers.renderer.words import Reading, read_prompt

# Drawing at twice the size smooths the edges; beyond this many pixels it would cost more than it shows.
_DOUBLED_UP_TO_PIXELS: Final = 1_100_000
_NIGHT_LEVEL: Final = 0.45


@dataclass(frozen=True, slots=True)
class RenderOrder:
    """All that determines the bytes of one picture."""

    prompt: str
    system_prompt: str
    negative_prompt: str
    style: str
    palette: str
    detail: int
    strength: float
    seed: int
    width_px: int
    height_px: int
    references: tuple[bytes, ...] = field(default=(), repr=False)
    mask: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Look:
    """What all layers of one picture share."""

    reading: Reading
    palette: Palette
    chance: Random


_Box = tuple[int, int, int, int]


def render_png(order: RenderOrder) -> bytes:
    """Return the picture as a PNG: the same bytes for the same order on the same Pillow."""
    reading = read_prompt(f"{order.prompt} {order.system_prompt}", order.negative_prompt)
    chance = Random(_digest(order))  # noqa: S311
    palette = make_palette(hour=reading.hour, colours=reading.colours, name=order.palette, chance=chance)
    look = _Look(reading, palette, chance)
    image = _edit(order, look) if order.references else _make(order, look)
    add_caption(image, palette.ink)
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", CAPTION.replace("·", "-"))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=2, pnginfo=notes)
    return buffer.getvalue()


def _digest(order: RenderOrder) -> int:
    files = [hashlib.sha256(content).hexdigest() for content in (*order.references, order.mask or b"")]
    facts = [
        order.prompt, order.system_prompt, order.negative_prompt, order.style, order.palette, order.detail,
        order.strength, order.seed, order.width_px, order.height_px, files,
    ]  # fmt: skip
    return int.from_bytes(hashlib.sha256(json.dumps(facts).encode()).digest(), "big")


def _factor(order: RenderOrder) -> int:
    return 2 if order.width_px * order.height_px <= _DOUBLED_UP_TO_PIXELS else 1


def _style(order: RenderOrder, image: Image.Image, look: _Look) -> Image.Image:
    name = (look.reading.style or "soft") if order.style == "auto" else order.style
    return LOOKS[name](image, look.palette, look.chance, order.detail)


def _make(order: RenderOrder, look: _Look) -> Image.Image:
    factor = _factor(order)
    large, stage = paint_scene(
        (order.width_px * factor, order.height_px * factor),
        reading=look.reading,
        palette=look.palette,
        chance=look.chance,
        detail=order.detail,
    )
    draw_subjects(stage)
    image = _finish_layers(stage, large, factor)
    return _style(order, image, look)


def _edit(order: RenderOrder, look: _Look) -> Image.Image:
    """Recolour the first input, lay the others into it, add what the prompt names, within the mask only."""
    size = (order.width_px, order.height_px)
    original, *others = (_open(content, size) for content in order.references)
    base = original
    for other in others:
        base = Image.blend(base, other, 0.35)
    base = Image.blend(base, _recolour(base, look.reading, look.palette), order.strength)
    area = None
    if order.mask is not None:
        with Image.open(io.BytesIO(order.mask), formats=FORMATS) as mask:
            area = to_edit_area(mask, size)
        # Inside a mask something new is wanted: the scenery shows through the old picture.
        base = Image.blend(base, _make(order, look), 0.35 + 0.5 * order.strength)
    base = _lay_over(order, base, look, area.getbbox() if area else None)
    base = _style(order, base, look)
    return base if area is None else Image.composite(base, original, area)


def _open(content: bytes, size: tuple[int, int]) -> Image.Image:
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        flat: Image.Image = picture
        if picture.has_transparency_data:
            flat = Image.new("RGBA", picture.size, (255, 255, 255, 255))
            flat.alpha_composite(picture.convert("RGBA"))
        image = flat.convert("RGB")
    return image if image.size == size else ImageOps.fit(image, size)


def _recolour(image: Image.Image, reading: Reading, palette: Palette) -> Image.Image:
    middle = palette.accents[0] if reading.colours else mix(palette.far, palette.accents[0], 0.3)
    tinted = ImageOps.colorize(image.convert("L"), palette.ink, palette.paper, mid=middle)
    if reading.hour == "night":
        tinted = tinted.point([round(level * _NIGHT_LEVEL) for level in range(256)] * 3)
    elif reading.hour in {"sunset", "dawn"}:
        warm = Image.new("RGB", image.size, palette.sky_low)
        tinted = Image.blend(tinted, ImageChops.multiply(tinted, warm), 0.7)
    return tinted


def _lay_over(order: RenderOrder, image: Image.Image, look: _Look, box: _Box | None) -> Image.Image:
    factor = _factor(order)
    large = image.resize((image.width * factor, image.height * factor)) if factor > 1 else image
    stage = Stage(
        draw=ImageDraw.Draw(large),
        width=large.width,
        height=large.height,
        horizon=large.height * 0.55,
        place=look.reading.place or "field",
        palette=look.palette,
        reading=look.reading,
        chance=look.chance,
        detail=order.detail,
    )
    draw_subjects(
        stage, area=(box[0] * factor, box[1] * factor, box[2] * factor, box[3] * factor) if box else None
    )
    return _finish_layers(stage, large, factor)


def _scaled(box: _Box, factor: int) -> _Box:
    left, upper, right, lower = box
    return left * factor, upper * factor, right * factor, lower * factor


def _finish_layers(stage: Stage, large: Image.Image, factor: int) -> Image.Image:
    """The weather over everything, then the size that was asked for."""
    paint_weather(stage)
    image = large.reduce(factor) if factor > 1 else large
    if "fog" in stage.reading.weather:
        veil = value_noise(image.size, 5, stage.chance).point(
            [60 + level * 110 // 255 for level in range(256)]
        )
        image.paste(mix(stage.palette.sky_low, stage.palette.paper, 0.4), mask=veil)
    return image
