"""The picture before its style: sky, place, weather, drawn larger so that edges come out smooth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from PIL import Image, ImageDraw

from generations.providers.renderer.palette import RGB, Palette, mix
from generations.providers.renderer.words import Reading

PLACES: Final = ("mountain", "sea", "field", "forest", "city", "desert", "space", "room")


@dataclass(frozen=True, slots=True)
class Stage:
    """One picture in the making: where the horizon lies, with which colours, how rich in detail."""

    draw: ImageDraw.ImageDraw
    width: int
    height: int
    horizon: float
    place: str
    palette: Palette
    reading: Reading
    chance: Random
    detail: int

    @property
    def unit(self) -> float:
        """The shorter side: lengths are shares of it, so that a picture looks the same at any size."""
        return min(self.width, self.height)

    def happens(self, probability: float) -> bool:
        """Whether something that is there in this share of pictures is there in this one."""
        return self.chance.random() < probability

    def disc(self, x: float, y: float, radius: float, fill: RGB) -> None:
        """Draw a filled circle."""
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def paint_scene(
    size: tuple[int, int], *, reading: Reading, palette: Palette, chance: Random, detail: int
) -> tuple[Image.Image, Stage]:
    """Return the scenery without its subjects, and the stage to draw them on."""
    width, height = size
    place = reading.place or chance.choice(PLACES[:6])
    horizon = height * (0.62 if place == "room" else chance.uniform(0.5, 0.7))
    top, low = palette.sky_top, palette.sky_low
    if place == "space":
        top, low = mix(top, (6, 7, 20), 0.85), mix(palette.sky_top, (14, 12, 40), 0.6)
    image = vertical_gradient(size, top, low, round(height if place == "space" else horizon))
    stage = Stage(ImageDraw.Draw(image), width, height, horizon, place, palette, reading, chance, detail)
    if place != "room":
        _paint_sky(stage)
    _PAINTERS[place](stage)
    return image, stage


def vertical_gradient(size: tuple[int, int], top: RGB, low: RGB, reach: int) -> Image.Image:
    """Return a picture that runs from one colour at the top to another at `reach` and below."""
    column = Image.new("RGB", (1, size[1]))
    column.putdata([mix(top, low, min(y / max(reach, 1), 1) ** 0.9) for y in range(size[1])])
    return column.resize(size, Image.Resampling.NEAREST)


def _paint_sky(stage: Stage) -> None:
    chance, palette, unit = stage.chance, stage.palette, stage.unit
    night = palette.hour == "night" or stage.place == "space"
    lowest = stage.height if stage.place == "space" else stage.horizon
    if night:
        for _ in range(40 + 50 * stage.detail):
            x, y = chance.uniform(0, stage.width), chance.uniform(0, lowest)
            glow = mix(palette.sky_top, palette.light, chance.uniform(0.3, 1))
            stage.disc(x, y, unit * chance.choice((0.0012, 0.0016, 0.0028)), glow)
    if stage.place != "space":
        x = stage.width * chance.uniform(0.15, 0.85)
        low = palette.hour in {"sunset", "dawn"}
        y = stage.horizon * (chance.uniform(0.72, 0.95) if low else chance.uniform(0.2, 0.5))
        radius = unit * (0.11 if low else 0.075)
        for ring in range(4, 0, -1):
            stage.disc(x, y, radius * (1 + ring * 0.45), _sky_glow(stage, y, 0.22 / ring))
        stage.disc(x, y, radius, palette.light)
        if night:
            stage.disc(x + radius * 0.45, y - radius * 0.2, radius * 0.86, _sky_glow(stage, y, 0.2))
    if "cloud" in stage.reading.weather or (not night and stage.happens(0.6)):
        for _ in range(2 + stage.detail):
            _paint_cloud(stage)


def _sky_glow(stage: Stage, y: float, share: float) -> RGB:
    sky = mix(stage.palette.sky_top, stage.palette.sky_low, min(y / max(stage.horizon, 1), 1))
    return mix(sky, stage.palette.light, share)


def _paint_cloud(stage: Stage) -> None:
    chance, unit = stage.chance, stage.unit
    x, y = chance.uniform(0, stage.width), stage.horizon * chance.uniform(0.08, 0.6)
    size = unit * chance.uniform(0.05, 0.11)
    fill = mix(_sky_glow(stage, y, 0.0), stage.palette.paper, 0.45)
    for step in range(5):
        bump = size * (0.55 + 0.45 * math.sin(math.pi * (step + 0.5) / 5)) * chance.uniform(0.8, 1.1)
        centre = x + (step - 2) * size * 0.75
        stage.draw.ellipse((centre - bump, y - bump * 0.8, centre + bump, y + bump * 0.5), fill=fill)


def _ridge(stage: Stage, base: float, height: float, roughness: float) -> list[float]:
    """The points of a skyline made of a few waves by chance, closed along the lower edge."""
    chance = stage.chance
    waves = [
        (chance.uniform(1, 3) * 2.1**octave, chance.uniform(0, math.tau), roughness**octave)
        for octave in range(4)
    ]
    total = sum(share for _, _, share in waves)
    points: list[float] = []
    for step in range(65):
        across = step / 64
        wave = sum(math.sin(across * math.tau * rate + phase) * share for rate, phase, share in waves)
        points += (across * stage.width, base - height * (0.5 + 0.5 * wave / total))
    return [*points, stage.width, stage.height, 0, stage.height]


def _paint_ridges(stage: Stage, *, top: float, height: float, roughness: float, n_layers: int) -> None:
    for layer in range(n_layers):
        depth = layer / max(n_layers - 1, 1)
        base = stage.horizon + (stage.height - stage.horizon) * 0.75 * depth
        points = _ridge(stage, base, stage.unit * height * (1 - 0.6 * depth) + top * (1 - depth), roughness)
        stage.draw.polygon(points, fill=mix(stage.palette.far, stage.palette.near, depth))


def _paint_mountain(stage: Stage) -> None:
    for peak in range(2 + stage.detail // 2):
        x = stage.width * stage.chance.uniform(-0.05, 1.05)
        rise = stage.unit * stage.chance.uniform(0.25, 0.46)
        spread = rise * stage.chance.uniform(0.8, 1.3)
        rock = mix(stage.palette.far, stage.palette.near, 0.15 * peak)
        foot = stage.horizon + stage.unit * 0.1
        summit = (x, stage.horizon - rise)
        stage.draw.polygon([summit, (x + spread, foot), (x - spread, foot)], fill=rock)
        shade = [
            summit,
            (x + spread, foot),
            (x + spread * 0.2, foot),
            (x - spread * 0.05, stage.horizon - rise * 0.5),
        ]
        stage.draw.polygon(shade, fill=mix(rock, stage.palette.ink, 0.18))
        snow = [summit, (x + spread * 0.2, summit[1] + rise * 0.22), (x, summit[1] + rise * 0.16)]
        stage.draw.polygon([*snow, (x - spread * 0.2, summit[1] + rise * 0.22)], fill=stage.palette.paper)
    _paint_ridges(stage, top=0, height=0.12, roughness=0.5, n_layers=2 + stage.detail // 2)


def _paint_field(stage: Stage) -> None:
    _paint_ridges(stage, top=0, height=0.16, roughness=0.35, n_layers=3 + stage.detail // 2)
    for _ in range(60 * stage.detail):
        y = stage.chance.uniform(stage.horizon + stage.unit * 0.12, stage.height)
        near = (y - stage.horizon) / max(stage.height - stage.horizon, 1)
        fill = stage.chance.choice(stage.palette.accents) if stage.happens(0.5) else stage.palette.far
        stage.disc(stage.chance.uniform(0, stage.width), y, stage.unit * 0.006 * (0.4 + near), fill)


def _paint_desert(stage: Stage) -> None:
    _paint_ridges(stage, top=0, height=0.2, roughness=0.25, n_layers=4)
    if stage.happens(0.6):
        x, side = stage.width * stage.chance.uniform(0.2, 0.8), stage.unit * stage.chance.uniform(0.14, 0.24)
        y = stage.horizon + stage.unit * 0.06
        light = mix(stage.palette.far, stage.palette.light, 0.4)
        stage.draw.polygon([(x, y - side), (x - side, y), (x + side * 0.3, y)], fill=light)
        stage.draw.polygon([(x, y - side), (x + side * 0.3, y), (x + side, y)], fill=stage.palette.near)


def _paint_sea(stage: Stage) -> None:
    palette, chance = stage.palette, stage.chance
    deep = mix(mix(palette.sky_top, palette.near, 0.45), (20, 60, 90), 0.35)
    bands = 24
    for band in range(bands):
        y = stage.horizon + (stage.height - stage.horizon) * band / bands
        fill = mix(mix(palette.sky_low, deep, 0.45), deep, band / bands)
        stage.draw.rectangle((0, y, stage.width, stage.height), fill=fill)
    if stage.happens(0.7):
        points = _ridge(stage, stage.horizon, stage.unit * 0.12, 0.5)[:-4]
        stage.draw.polygon([*points, stage.width, stage.horizon, 0, stage.horizon], fill=palette.far)
    for _ in range(30 * stage.detail):
        y = chance.uniform(stage.horizon, stage.height)
        near = (y - stage.horizon) / max(stage.height - stage.horizon, 1)
        x, length = chance.uniform(0, stage.width), stage.unit * (0.015 + 0.08 * near)
        thickness = max(1, round(stage.unit * 0.003 * (0.4 + near)))
        glint = mix(deep, chance.choice((palette.light, palette.sky_low)), 0.4)
        stage.draw.line((x - length, y, x + length, y), fill=glint, width=thickness)


def _paint_forest(stage: Stage) -> None:
    _paint_ridges(stage, top=0, height=0.1, roughness=0.5, n_layers=2)
    n_rows = 3
    for row in range(n_rows):
        depth = (row + 1) / n_rows
        fill = mix(stage.palette.far, stage.palette.near, depth)
        base = stage.horizon + (stage.height - stage.horizon) * 0.3 * row
        for _ in range(9 + 3 * stage.detail - 4 * row):
            x = stage.chance.uniform(-0.05, 1.05) * stage.width
            rise = stage.unit * stage.chance.uniform(0.14, 0.26) * (0.7 + 0.8 * depth)
            if stage.happens(0.3) and row == n_rows - 1:
                continue
            _paint_pine(stage, x, base + stage.unit * 0.06, rise, fill)
        stage.draw.rectangle((0, base + stage.unit * 0.05, stage.width, stage.height), fill=fill)


def _paint_pine(stage: Stage, x: float, foot: float, rise: float, fill: RGB) -> None:
    for tier in range(3):
        top, reach = foot - rise * (1 - tier * 0.24), rise * (0.16 + 0.08 * tier)
        lower = top + rise * 0.46
        stage.draw.polygon(
            [(x, top), (x + reach, lower), (x - reach, lower)], fill=mix(fill, stage.palette.ink, 0.1 * tier)
        )


def _paint_city(stage: Stage) -> None:
    palette, chance = stage.palette, stage.chance
    lit = mix(palette.light, (255, 214, 120), 0.6)
    for row in range(3):
        fill = mix(mix(palette.far, palette.sky_low, 0.25), mix(palette.near, palette.ink, 0.5), row / 2)
        x, foot = -stage.unit * 0.02, stage.horizon + stage.unit * 0.06 * row
        while x < stage.width:
            wide = stage.unit * chance.uniform(0.05, 0.12)
            top = foot - stage.unit * chance.uniform(0.12, 0.44 - 0.09 * row)
            stage.draw.rectangle((x, top, x + wide, stage.height), fill=fill)
            if stage.happens(0.3):
                stage.draw.polygon([(x, top), (x + wide, top), (x + wide / 2, top - wide * 0.6)], fill=fill)
            if row:
                _paint_windows(stage, (x, top, wide, foot), lit if palette.hour != "day" else palette.paper)
            x += wide * chance.uniform(1.0, 1.25)
    ground = stage.horizon + stage.unit * 0.13
    stage.draw.rectangle((0, ground, stage.width, stage.height), fill=mix(palette.near, palette.ink, 0.6))


def _paint_windows(stage: Stage, tower: tuple[float, float, float, float], fill: RGB) -> None:
    left, top, wide, foot = tower
    step = stage.unit * 0.018
    y = top + step
    while y < foot:
        x = left + step * 0.6
        while x < left + wide - step:
            if stage.happens(0.16 + 0.05 * stage.detail):
                stage.draw.rectangle((x, y, x + step * 0.45, y + step * 0.55), fill=fill)
            x += step
        y += step * 1.3


def _paint_space(stage: Stage) -> None:
    palette, chance = stage.palette, stage.chance
    for planet in range(1 + stage.detail // 2):
        radius = stage.unit * (chance.uniform(0.16, 0.3) if planet == 0 else chance.uniform(0.03, 0.08))
        x, y = stage.width * chance.uniform(0.15, 0.85), stage.height * chance.uniform(0.15, 0.75)
        colour = palette.accents[planet % len(palette.accents)]
        for ring in range(14):
            share = ring / 14
            shift = radius * 0.28 * share
            stage.disc(
                x - shift,
                y - shift,
                radius * (1 - share * 0.85),
                mix(mix(colour, palette.ink, 0.55), colour, share),
            )
        if planet == 0 and stage.happens(0.6):
            box = (x - radius * 1.8, y - radius * 0.4, x + radius * 1.8, y + radius * 0.4)
            stage.draw.arc(box, -18, 198, fill=palette.light, width=max(1, round(stage.unit * 0.008)))


def _paint_room(stage: Stage) -> None:
    palette, chance = stage.palette, stage.chance
    wall = mix(palette.paper, palette.accents[-1], 0.35)
    stage.draw.rectangle((0, 0, stage.width, stage.height), fill=wall)
    x, y = stage.width * chance.uniform(0.08, 0.5), stage.height * chance.uniform(0.08, 0.16)
    wide, tall = stage.unit * 0.36, stage.unit * 0.38
    frame = mix(palette.ink, palette.near, 0.5)
    stage.draw.rectangle((x - 12, y - 12, x + wide + 12, y + tall + 12), fill=frame)
    stage.draw.rectangle((x, y, x + wide, y + tall), fill=palette.sky_top)
    stage.draw.rectangle((x, y + tall * 0.6, x + wide, y + tall), fill=palette.far)
    stage.disc(x + wide * 0.7, y + tall * 0.3, stage.unit * 0.04, palette.light)
    stage.draw.rectangle((x + wide / 2 - 5, y, x + wide / 2 + 5, y + tall), fill=frame)
    table = mix(palette.near, (150, 95, 55), 0.5)
    stage.draw.rectangle((0, stage.horizon, stage.width, stage.height), fill=table)
    for board in range(1, 3 + stage.detail):
        edge = stage.horizon + (stage.height - stage.horizon) * (board / (3 + stage.detail)) ** 1.4
        stage.draw.line((0, edge, stage.width, edge), fill=mix(table, palette.ink, 0.3), width=4)


_PAINTERS: Final[Mapping[str, Callable[[Stage], None]]] = MappingProxyType(
    {
        "mountain": _paint_mountain,
        "sea": _paint_sea,
        "field": _paint_field,
        "forest": _paint_forest,
        "city": _paint_city,
        "desert": _paint_desert,
        "space": _paint_space,
        "room": _paint_room,
    }
)


def paint_weather(stage: Stage) -> None:
    """Draw rain, snow or fog over all that is there."""
    chance, palette, unit = stage.chance, stage.palette, stage.unit
    if "rain" in stage.reading.weather:
        drop = mix(palette.sky_low, palette.paper, 0.5)
        for _ in range(140 + 60 * stage.detail):
            x, y, length = chance.uniform(0, stage.width * 1.1), chance.uniform(0, stage.height), unit * 0.035
            stage.draw.line((x, y, x - length * 0.35, y + length), fill=drop, width=2)
    if "snow" in stage.reading.weather:
        for _ in range(120 + 60 * stage.detail):
            x, y = chance.uniform(0, stage.width), chance.uniform(0, stage.height)
            stage.disc(x, y, unit * chance.choice((0.002, 0.004, 0.006)), palette.paper)
