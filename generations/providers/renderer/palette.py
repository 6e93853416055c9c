"""Harmonious colours for one picture: from the hour, the colour words, the palette wanted, and chance."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

RGB = tuple[int, int, int]
HSV = tuple[float, float, float]

PALETTES: Final = ("auto", "warm", "cool", "pastel", "vivid", "earth", "mono")
HOURS: Final = ("day", "dawn", "sunset", "night")

# Sky at the top, sky at the horizon, and the light, by the hour.
_SKIES: Final[Mapping[str, tuple[HSV, HSV, HSV]]] = MappingProxyType(
    {
        "day": ((0.58, 0.55, 0.86), (0.53, 0.16, 0.97), (0.13, 0.25, 1.0)),
        "dawn": ((0.68, 0.3, 0.78), (0.04, 0.28, 0.98), (0.1, 0.35, 1.0)),
        "sunset": ((0.75, 0.55, 0.45), (0.06, 0.68, 0.98), (0.11, 0.6, 1.0)),
        "night": ((0.66, 0.75, 0.14), (0.62, 0.55, 0.38), (0.14, 0.12, 0.98)),
    }
)
_LAND_VALUE: Final[Mapping[str, float]] = MappingProxyType(
    {"day": 0.62, "dawn": 0.52, "sunset": 0.38, "night": 0.22}
)
_SHIFTS: Final = (0.0, 0.08, 0.33, 0.42, 0.5, 0.58)


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one picture, from sky to ink."""

    hour: str
    sky_top: RGB
    sky_low: RGB
    light: RGB
    far: RGB
    near: RGB
    ink: RGB
    paper: RGB
    accents: tuple[RGB, ...]


def make_palette(*, hour: str, colours: Sequence[HSV], name: str, chance: Random) -> Palette:
    """Return the colours for an hour (empty: by chance), the prompt's colour words and a palette's name."""
    hour = hour or chance.choice(HOURS)
    adjust = _ADJUSTMENTS[name]
    drift = chance.uniform(-0.05, 0.05)
    top, low, light = _SKIES[hour]
    base = colours[0] if colours else (chance.random(), chance.uniform(0.45, 0.75), chance.uniform(0.6, 0.85))
    land_hue = base[0] if colours else chance.choice((0.3, 0.38, 0.45, 0.58, 0.08, base[0]))
    value = _LAND_VALUE[hour]
    by_chance = [
        ((base[0] + shift) % 1, max(base[1], 0.45), max(base[2], 0.7)) for shift in chance.sample(_SHIFTS, 3)
    ]
    pull = 0.5 if colours else 0.18
    far = _mix_hsv((land_hue, 0.3, (value + low[2]) / 2), low, 0.45)
    glow = 0.8 if hour == "night" else 1.0
    return Palette(
        hour=hour,
        sky_top=_rgb(adjust(_mix_hsv(_turn(top, drift), (base[0], top[1], top[2]), pull))),
        sky_low=_rgb(adjust(_mix_hsv(_turn(low, -drift), (base[0], low[1], low[2]), pull * 0.6))),
        light=_rgb(adjust(light)),
        far=_rgb(adjust(far)),
        near=_rgb(adjust((land_hue, 0.5 + 0.1 * (hour == "night"), value * 0.55))),
        ink=_rgb(adjust((land_hue, 0.4, 0.13))),
        paper=_rgb(adjust((low[0], 0.08, 0.97))),
        accents=tuple(_rgb(adjust((h, s, v * glow))) for h, s, v in (*colours, *by_chance)),
    )


def _turn(colour: HSV, by: float) -> HSV:
    return ((colour[0] + by) % 1, colour[1], colour[2])


def _mix_hsv(first: HSV, second: HSV, share: float) -> HSV:
    """Mixed as light, so that no foreign hue lies between two hues."""
    one, two = colorsys.hsv_to_rgb(*first), colorsys.hsv_to_rgb(*second)
    mixed = [a + (b - a) * share for a, b in zip(one, two, strict=True)]
    return colorsys.rgb_to_hsv(*mixed)


def _rgb(colour: HSV) -> RGB:
    hue, saturation, value = colour
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def mix(first: RGB, second: RGB, share: float) -> RGB:
    """Return the colour that lies `share` of the way from the first to the second."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


_ADJUSTMENTS: Final[Mapping[str, Callable[[HSV], HSV]]] = MappingProxyType(
    {
        "auto": lambda c: c,
        "warm": lambda c: _mix_hsv(c, (0.06, 0.65, c[2]), 0.4),
        "cool": lambda c: _mix_hsv(c, (0.57, 0.6, c[2]), 0.4),
        "pastel": lambda c: (c[0], c[1] * 0.5, c[2] + (1 - c[2]) * 0.45),
        "vivid": lambda c: (c[0], c[1] * 1.45, c[2] * 1.06),
        "earth": lambda c: _mix_hsv(c, (0.09, 0.45, c[2] * 0.9), 0.5),
        "mono": lambda c: (0.6, 0.06, c[2]),
    }
)
