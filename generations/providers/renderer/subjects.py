"""Where the things named in a prompt stand, how large, and in which colours."""

from __future__ import annotations

from typing import Final

from generations.providers.renderer.palette import mix
from generations.providers.renderer.scene import Stage
from generations.providers.renderer.shapes import Tones, draw_form_of_word, draw_silhouette
from generations.providers.renderer.words import Subject

_IN_THE_AIR: Final = frozenset({"bird", "balloon", "butterfly", "rocket", "heart"})
_IN_THE_WATER: Final = frozenset({"fish", "boat"})
_LARGE: Final = frozenset({"house", "tree", "horse", "boat", "balloon", "rocket", "person", "robot"})

Area = tuple[float, float, float, float]


def draw_subjects(stage: Stage, *, area: Area | None = None) -> None:
    """Draw all subjects, those that stand farther up first.

    `area` (left, upper, right, lower) keeps them together there; without it they have the whole stage.
    """
    placed = [
        (subject, order, *_place(stage, subject, area))
        for subject in stage.reading.subjects
        for order in range(subject.count)
    ]
    for subject, order, left, top, side in sorted(placed, key=lambda entry: entry[3] + entry[4]):
        _draw(stage, subject, order, (left, top, side))


def _place(stage: Stage, subject: Subject, area: Area | None) -> tuple[float, float, float]:
    chance = stage.chance
    total = sum(other.count for other in stage.reading.subjects)
    if area is not None:
        left, upper, right, lower = area
        side = min(right - left, lower - upper) * (0.95 if total == 1 else 0.6)
        return (
            left + (right - left - side) * (0.5 if total == 1 else chance.random()),
            lower - side - (lower - upper - side) * (0.5 if total == 1 else chance.random()),
            side,
        )
    scale = 0.46 if total == 1 else 0.36 if total <= 3 else 0.25  # noqa: PLR2004
    if subject.kind in _LARGE:
        scale *= 1.2
    elif subject.kind == "other":
        scale *= 0.62
    side = stage.unit * scale * chance.uniform(0.88, 1.1)
    left = stage.width * (chance.uniform(0.3, 0.7) if total == 1 else chance.uniform(0.1, 0.9)) - side / 2
    foot = stage.horizon + (stage.height - stage.horizon) * chance.uniform(0.3, 0.85)
    floats = subject.kind == "other" and stage.happens(0.4)
    if floats or subject.kind in _IN_THE_AIR or stage.place == "space":
        foot = chance.uniform(side * 1.05, max(stage.horizon, side * 1.1))
    elif subject.kind in _IN_THE_WATER and stage.place == "sea":
        foot = stage.horizon + (stage.height - stage.horizon) * chance.uniform(0.25, 0.7)
    return left, foot - side, side


def _draw(stage: Stage, subject: Subject, order: int, box: tuple[float, float, float]) -> None:
    palette = stage.palette
    n_accents = len(palette.accents)
    # The first colour word goes to the first thing named, the second to the next.
    start = subject.word_hash if not stage.reading.colours else stage.reading.subjects.index(subject) + order
    tones = Tones(
        body=palette.accents[start % n_accents],
        accent=palette.accents[(start + 1) % n_accents],
        light=palette.paper,
        ink=palette.ink,
    )
    left, top, side = box
    if subject.kind not in {*_IN_THE_AIR, "other"} and stage.place != "space":
        shadow = mix(palette.near, palette.ink, 0.5)
        stage.draw.ellipse(
            (left + side * 0.1, top + side * 0.95, left + side * 0.9, top + side * 1.03), fill=shadow
        )
    if subject.kind == "other":
        draw_form_of_word(stage.draw, subject.word_hash, box, tones)
    else:
        draw_silhouette(stage.draw, subject.kind, box, tones, flipped=stage.happens(0.5))
