"""Silhouettes as data: each is a list of forms in a unit square, its feet at the lower edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Final

from PIL import ImageDraw

from generations.providers.renderer.palette import RGB, mix

Form = tuple[str, tuple[float, ...]]

# e: ellipse (box), p: polygon (points), l: thick line (width, points). The letter after says the tone:
# b body, s shade, a accent, h highlight, k ink.
SILHOUETTES: Final[Mapping[str, Sequence[Form]]] = MappingProxyType(
    {
        "cat": (
            ("lb", (0.06, 0.2, 0.78, 0.1, 0.62, 0.16, 0.42)),
            ("eb", (0.18, 0.42, 0.72, 1.0)), ("es", (0.5, 0.78, 0.76, 1.0)),
            ("eb", (0.42, 0.14, 0.82, 0.52)),
            ("pb", (0.45, 0.26, 0.46, 0.04, 0.6, 0.18)), ("pb", (0.65, 0.18, 0.79, 0.04, 0.8, 0.28)),
            ("eh", (0.53, 0.28, 0.59, 0.35)), ("eh", (0.67, 0.28, 0.73, 0.35)),
            ("pa", (0.61, 0.38, 0.66, 0.38, 0.635, 0.42)),
        ),
        "dog": (
            ("lb", (0.07, 0.12, 0.36, 0.2, 0.56)), ("eb", (0.14, 0.44, 0.74, 0.78)),
            ("ps", (0.18, 0.65, 0.28, 0.65, 0.27, 1.0, 0.19, 1.0)),
            ("pb", (0.3, 0.68, 0.4, 0.68, 0.39, 1.0, 0.31, 1.0)),
            ("ps", (0.54, 0.65, 0.64, 0.65, 0.63, 1.0, 0.55, 1.0)),
            ("pb", (0.64, 0.6, 0.74, 0.6, 0.73, 1.0, 0.65, 1.0)),
            ("eb", (0.58, 0.16, 0.9, 0.5)), ("eb", (0.76, 0.3, 1.0, 0.46)), ("ek", (0.94, 0.32, 1.0, 0.39)),
            ("es", (0.58, 0.18, 0.7, 0.48)), ("eh", (0.78, 0.25, 0.83, 0.31)),
            ("la", (0.03, 0.62, 0.52, 0.76, 0.56)),
        ),
        "bird": (
            ("pb", (0.0, 0.5, 0.3, 0.5, 0.26, 0.62)), ("eb", (0.2, 0.36, 0.74, 0.72)),
            ("eb", (0.6, 0.24, 0.86, 0.52)),
            ("pa", (0.84, 0.34, 1.0, 0.4, 0.84, 0.44)), ("ps", (0.3, 0.5, 0.62, 0.46, 0.26, 0.1)),
            ("eh", (0.74, 0.31, 0.79, 0.37)), ("lk", (0.02, 0.46, 0.7, 0.46, 0.9)),
            ("lk", (0.02, 0.54, 0.7, 0.54, 0.9)),
        ),
        "fish": (
            ("pb", (0.0, 0.28, 0.28, 0.5, 0.0, 0.74)), ("eb", (0.18, 0.28, 0.94, 0.74)),
            ("ps", (0.42, 0.3, 0.68, 0.3, 0.46, 0.12)),
            ("pa", (0.48, 0.56, 0.64, 0.6, 0.46, 0.8)), ("eh", (0.76, 0.4, 0.84, 0.49)),
            ("ek", (0.79, 0.42, 0.83, 0.47)),
            ("ls", (0.02, 0.66, 0.36, 0.62, 0.5, 0.66, 0.66)),
        ),
        "horse": (
            ("lb", (0.06, 0.14, 0.42, 0.06, 0.72)), ("eb", (0.12, 0.36, 0.68, 0.66)),
            ("lb", (0.07, 0.18, 0.58, 0.16, 0.98)), ("ls", (0.07, 0.28, 0.6, 0.3, 0.98)),
            ("lb", (0.07, 0.56, 0.6, 0.55, 0.98)), ("ls", (0.07, 0.63, 0.58, 0.68, 0.98)),
            ("pb", (0.52, 0.5, 0.7, 0.12, 0.84, 0.16, 0.68, 0.58)), ("eb", (0.7, 0.08, 0.98, 0.28)),
            ("pb", (0.72, 0.14, 0.74, 0.0, 0.8, 0.1)), ("ls", (0.05, 0.7, 0.1, 0.6, 0.26, 0.54, 0.42)),
            ("eh", (0.82, 0.13, 0.85, 0.17)),
        ),
        "person": (
            ("eb", (0.39, 0.02, 0.61, 0.24)), ("pa", (0.3, 0.28, 0.7, 0.28, 0.64, 0.66, 0.36, 0.66)),
            ("lb", (0.08, 0.33, 0.33, 0.24, 0.62)), ("lb", (0.08, 0.67, 0.33, 0.77, 0.58)),
            ("ls", (0.1, 0.43, 0.64, 0.41, 0.98)), ("ls", (0.1, 0.57, 0.64, 0.6, 0.98)),
            ("es", (0.38, 0.0, 0.62, 0.13)),
        ),
        "tree": (
            ("lk", (0.09, 0.5, 0.6, 0.5, 1.0)), ("lk", (0.05, 0.5, 0.78, 0.66, 0.58)),
            ("es", (0.1, 0.26, 0.56, 0.7)),
            ("es", (0.44, 0.28, 0.9, 0.72)), ("eb", (0.22, 0.06, 0.76, 0.56)),
            ("ea", (0.32, 0.12, 0.52, 0.3)),
        ),
        "flower": (
            ("ls", (0.04, 0.5, 0.36, 0.47, 0.7, 0.5, 1.0)), ("ps", (0.49, 0.86, 0.24, 0.7, 0.3, 0.88)),
            ("ps", (0.5, 0.8, 0.76, 0.64, 0.7, 0.84)),
            ("ea", (0.36, 0.02, 0.64, 0.28)), ("ea", (0.36, 0.36, 0.64, 0.62)),
            ("ea", (0.19, 0.19, 0.46, 0.46)),
            ("ea", (0.54, 0.19, 0.81, 0.46)), ("eh", (0.4, 0.22, 0.6, 0.42)),
        ),
        "house": (
            ("ps", (0.7, 0.1, 0.8, 0.1, 0.8, 0.4, 0.7, 0.34)),
            ("pb", (0.12, 0.44, 0.88, 0.44, 0.88, 1.0, 0.12, 1.0)),
            ("pa", (0.02, 0.48, 0.5, 0.08, 0.98, 0.48)), ("pk", (0.43, 0.68, 0.6, 0.68, 0.6, 1.0, 0.43, 1.0)),
            ("ph", (0.2, 0.56, 0.34, 0.56, 0.34, 0.7, 0.2, 0.7)),
            ("ph", (0.68, 0.56, 0.82, 0.56, 0.82, 0.7, 0.68, 0.7)),
        ),
        "boat": (
            ("lk", (0.03, 0.5, 0.06, 0.5, 0.78)), ("ph", (0.53, 0.08, 0.9, 0.66, 0.53, 0.66)),
            ("pa", (0.47, 0.16, 0.47, 0.66, 0.16, 0.66)),
            ("pb", (0.04, 0.74, 0.96, 0.74, 0.82, 0.96, 0.18, 0.96)), ("ls", (0.03, 0.08, 0.8, 0.92, 0.8)),
        ),
        "car": (
            ("pb", (0.2, 0.56, 0.32, 0.34, 0.68, 0.34, 0.82, 0.56)),
            ("ph", (0.29, 0.54, 0.36, 0.4, 0.48, 0.4, 0.48, 0.54)),
            ("ph", (0.52, 0.54, 0.52, 0.4, 0.65, 0.4, 0.73, 0.54)),
            ("pb", (0.02, 0.56, 0.96, 0.56, 0.99, 0.84, 0.02, 0.84)),
            ("ek", (0.12, 0.7, 0.34, 0.98)), ("ek", (0.66, 0.7, 0.88, 0.98)),
            ("eh", (0.19, 0.79, 0.27, 0.89)),
            ("eh", (0.73, 0.79, 0.81, 0.89)), ("ea", (0.92, 0.6, 0.99, 0.68)),
        ),
        "balloon": (
            ("lk", (0.012, 0.36, 0.62, 0.44, 0.86)), ("lk", (0.012, 0.64, 0.62, 0.56, 0.86)),
            ("eb", (0.16, 0.0, 0.84, 0.7)),
            ("ea", (0.32, 0.0, 0.68, 0.7)), ("eh", (0.44, 0.0, 0.56, 0.7)),
            ("pk", (0.42, 0.84, 0.58, 0.84, 0.56, 0.98, 0.44, 0.98)),
        ),
        "robot": (
            ("lk", (0.03, 0.5, 0.0, 0.5, 0.12)), ("ea", (0.46, 0.0, 0.54, 0.07)),
            ("pb", (0.3, 0.1, 0.7, 0.1, 0.7, 0.36, 0.3, 0.36)),
            ("eh", (0.36, 0.17, 0.46, 0.27)), ("eh", (0.54, 0.17, 0.64, 0.27)),
            ("pb", (0.24, 0.4, 0.76, 0.4, 0.72, 0.74, 0.28, 0.74)),
            ("ea", (0.42, 0.48, 0.58, 0.62)), ("ls", (0.07, 0.22, 0.44, 0.12, 0.7)),
            ("ls", (0.07, 0.78, 0.44, 0.88, 0.7)),
            ("ls", (0.1, 0.38, 0.74, 0.36, 0.98)), ("ls", (0.1, 0.62, 0.74, 0.64, 0.98)),
        ),
        "cup": (
            ("lh", (0.02, 0.36, 0.26, 0.4, 0.16, 0.35, 0.06)),
            ("lh", (0.02, 0.54, 0.26, 0.58, 0.16, 0.53, 0.06)),
            ("lb", (0.07, 0.72, 0.5, 0.92, 0.52, 0.9, 0.72, 0.68, 0.76)),
            ("pb", (0.16, 0.36, 0.76, 0.36, 0.68, 0.96, 0.24, 0.96)),
            ("es", (0.16, 0.3, 0.76, 0.44)), ("la", (0.05, 0.2, 0.62, 0.73, 0.62)),
        ),
        "fruit": (
            ("lk", (0.04, 0.5, 0.3, 0.54, 0.1)), ("ps", (0.54, 0.18, 0.84, 0.04, 0.72, 0.24)),
            ("eb", (0.08, 0.24, 0.6, 1.0)),
            ("eb", (0.4, 0.24, 0.92, 1.0)), ("eh", (0.2, 0.36, 0.34, 0.56)),
        ),
        "butterfly": (
            ("ea", (0.02, 0.1, 0.48, 0.56)), ("ea", (0.52, 0.1, 0.98, 0.56)),
            ("eb", (0.14, 0.5, 0.47, 0.88)), ("eb", (0.53, 0.5, 0.86, 0.88)),
            ("eh", (0.16, 0.24, 0.34, 0.42)), ("eh", (0.66, 0.24, 0.84, 0.42)),
            ("ek", (0.46, 0.16, 0.54, 0.86)),
        ),
        "rocket": (
            ("pa", (0.4, 0.8, 0.6, 0.8, 0.5, 1.0)), ("ps", (0.32, 0.54, 0.14, 0.84, 0.34, 0.78)),
            ("ps", (0.68, 0.54, 0.86, 0.84, 0.66, 0.78)),
            ("eb", (0.3, 0.0, 0.7, 0.96)), ("ps", (0.34, 0.8, 0.66, 0.8, 0.6, 0.9, 0.4, 0.9)),
            ("eh", (0.41, 0.28, 0.59, 0.46)),
        ),
        "umbrella": (
            ("lk", (0.04, 0.5, 0.3, 0.5, 0.98)), ("eb", (0.04, 0.06, 0.96, 0.7)),
            ("pa", (0.34, 0.1, 0.66, 0.1, 0.7, 0.42, 0.3, 0.42)),
            ("ps", (0.04, 0.4, 0.96, 0.4, 0.9, 0.5, 0.1, 0.5)),
        ),
        "book": (
            ("ps", (0.06, 0.34, 0.5, 0.44, 0.5, 0.94, 0.06, 0.84)),
            ("pb", (0.94, 0.34, 0.5, 0.44, 0.5, 0.94, 0.94, 0.84)),
            ("ph", (0.1, 0.3, 0.5, 0.4, 0.9, 0.3, 0.9, 0.78, 0.5, 0.88, 0.1, 0.78)),
            ("lk", (0.012, 0.5, 0.4, 0.5, 0.9)),
            ("la", (0.02, 0.18, 0.46, 0.42, 0.52)), ("la", (0.02, 0.58, 0.52, 0.82, 0.46)),
        ),
        "heart": (
            ("eb", (0.06, 0.1, 0.54, 0.58)), ("eb", (0.46, 0.1, 0.94, 0.58)),
            ("pb", (0.1, 0.46, 0.9, 0.46, 0.5, 0.98)),
            ("eh", (0.18, 0.2, 0.32, 0.34)),
        ),
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tones:
    """The colours of one silhouette."""

    body: RGB
    accent: RGB
    light: RGB
    ink: RGB

    def of(self, letter: str) -> RGB:
        """The colour that a form's second letter names."""
        match letter:
            case "b":
                return self.body
            case "s":
                return mix(self.body, self.ink, 0.35)
            case "a":
                return self.accent
            case "h":
                return self.light
        return self.ink


def draw_silhouette(
    draw: ImageDraw.ImageDraw, kind: str, box: tuple[float, float, float], tones: Tones, *, flipped: bool
) -> None:
    """Draw a silhouette; the box is its left edge, its upper edge, and its side length, in pixels."""
    left, top, side = box

    def place(values: Sequence[float]) -> list[float]:
        return [
            (left + side * (1 - value if flipped else value)) if index % 2 == 0 else top + side * value
            for index, value in enumerate(values)
        ]

    for name, values in SILHOUETTES[kind]:
        form, fill = name[0], tones.of(name[1])
        if form == "e":
            x0, y0, x1, y1 = place(values)
            draw.ellipse((min(x0, x1), y0, max(x0, x1), y1), fill=fill)
        elif form == "p":
            draw.polygon(place(values), fill=fill)
        else:
            _draw_limb(draw, place(values[1:]), round(side * values[0]), fill)


def _draw_limb(draw: ImageDraw.ImageDraw, points: Sequence[float], width: int, fill: RGB) -> None:
    draw.line(points, fill=fill, width=max(width, 1), joint="curve")
    radius = width / 2
    for x, y in ((points[0], points[1]), (points[-2], points[-1])):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


def draw_form_of_word(
    draw: ImageDraw.ImageDraw, word_hash: int, box: tuple[float, float, float], tones: Tones
) -> None:
    """Draw the form that belongs to an unknown word: nested rounded stars, the same for the same word."""
    left, top, side = box
    chance = Random(word_hash)  # noqa: S311
    spikes, depth, turn = chance.randint(3, 9), chance.uniform(0.08, 0.42), chance.uniform(0, math.tau)
    sharpness, rings = chance.choice((1, 2, 3)), chance.randint(2, 4)
    colours = (tones.body, tones.accent, tones.light, mix(tones.body, tones.ink, 0.35))
    centre_x, centre_y = left + side / 2, top + side / 2
    for ring in range(rings):
        radius = side / 2 * (1 - ring / (rings + 0.4))
        points: list[float] = []
        for step in range(96):
            angle = math.tau * step / 96
            wave = abs(math.cos(angle * spikes / 2 + ring * turn)) ** sharpness
            reach = radius * (1 - depth * wave)
            points += (centre_x + reach * math.cos(angle + turn), centre_y + reach * math.sin(angle + turn))
        draw.polygon(points, fill=colours[(ring + word_hash) % 4])
