"""What a prompt's words mean to the renderer: colours, a place, an hour, weather, subjects, a style."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

MAX_SUBJECTS: Final = 4
MAX_COUNT: Final = 6
_WORD: Final = re.compile(r"[^\W_]+")

# Hue, saturation and value, each from 0 to 1.
COLOURS: Final[Mapping[str, tuple[float, float, float]]] = MappingProxyType(
    {
        "red": (0.0, 0.82, 0.84), "crimson": (0.96, 0.85, 0.74), "scarlet": (0.02, 0.86, 0.88),
        "orange": (0.075, 0.85, 0.95), "amber": (0.11, 0.85, 0.95), "gold": (0.125, 0.75, 0.88),
        "golden": (0.125, 0.75, 0.88), "yellow": (0.145, 0.75, 0.97), "lime": (0.22, 0.7, 0.85),
        "green": (0.36, 0.6, 0.62), "emerald": (0.42, 0.7, 0.6), "olive": (0.18, 0.55, 0.5),
        "mint": (0.43, 0.35, 0.88), "teal": (0.49, 0.65, 0.58), "turquoise": (0.48, 0.6, 0.8),
        "cyan": (0.51, 0.6, 0.88), "blue": (0.6, 0.7, 0.8), "azure": (0.57, 0.6, 0.92),
        "navy": (0.63, 0.75, 0.4), "indigo": (0.7, 0.65, 0.55), "violet": (0.76, 0.55, 0.75),
        "purple": (0.79, 0.6, 0.62), "lavender": (0.74, 0.28, 0.9), "magenta": (0.86, 0.7, 0.8),
        "pink": (0.93, 0.42, 0.95), "rose": (0.95, 0.5, 0.88), "brown": (0.07, 0.6, 0.5),
        "beige": (0.1, 0.25, 0.88), "cream": (0.12, 0.15, 0.97), "white": (0.12, 0.04, 0.97),
        "silver": (0.6, 0.06, 0.78), "grey": (0.6, 0.05, 0.55), "gray": (0.6, 0.05, 0.55),
        "black": (0.68, 0.3, 0.12), "copper": (0.06, 0.6, 0.72), "bronze": (0.09, 0.6, 0.6),
    }
)  # fmt: skip

_GROUPS: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "hour": {
            "night": "night midnight nocturnal moonlit moon moonlight star starry dark evening galaxy",
            "sunset": "sunset dusk twilight autumn fall fire ember lava desert",
            "dawn": "dawn sunrise morning spring pastel soft misty",
            "day": "day daylight noon sunny summer bright clear",
        },
        "place": {
            "sea": "sea ocean beach shore lake river water harbor harbour coast wave island "
            "ship boat fish whale",
            "city": "city town street skyline building skyscraper urban downtown tower road car bus train",
            "forest": "forest wood woods jungle tree pine grove garden park bear fox deer",
            "mountain": "mountain hill valley alps peak canyon cliff landscape countryside volcano snow",
            "desert": "desert dune sand sahara camel cactus pyramid",
            "space": "space planet galaxy cosmos universe astronaut rocket orbit mars spaceship nebula",
            "room": "room table kitchen interior studio desk still bowl plate shelf indoor vase cup book",
            "field": "field meadow grass farm prairie flower horse cow sheep lawn",
        },
        "weather": {
            "rain": "rain rainy storm stormy thunderstorm umbrella wet",
            "snow": "snow snowy winter blizzard ice icy frozen christmas",
            "fog": "fog foggy mist misty haze hazy smoke dreamy",
            "cloud": "cloud cloudy overcast sky",
        },
        "style": {
            "painterly": "painting oil painterly impressionist canvas brush gogh monet",
            "watercolour": "watercolor watercolour aquarelle wash ink",
            "neon": "neon cyberpunk synthwave glowing laser",
            "pixel": "pixel pixelated 8bit retro game",
            "sketch": "sketch pencil drawing charcoal engraving lineart",
            "poster": "poster woodcut linocut silkscreen pop cartoon comic vector",
        },
        "subject": {
            "cat": "cat kitten tiger lion leopard panther",
            "dog": "dog puppy wolf fox bear hound",
            "bird": "bird eagle owl parrot crow pigeon seagull raven swan duck penguin",
            "fish": "fish shark whale dolphin salmon",
            "horse": "horse pony deer cow donkey camel sheep unicorn zebra",
            "person": "person man woman child boy girl portrait people king queen wizard astronaut dancer",
            "tree": "tree oak pine palm willow maple",
            "flower": "flower rose tulip daisy sunflower blossom orchid lily",
            "house": "house cottage cabin home hut barn castle temple church",
            "boat": "boat ship sailboat yacht raft canoe",
            "car": "car truck bus taxi van vehicle train",
            "balloon": "balloon airship zeppelin kite",
            "robot": "robot android machine cyborg droid",
            "cup": "cup mug coffee tea glass vase bowl bottle",
            "fruit": "fruit apple orange pear peach tomato pumpkin cherry",
            "butterfly": "butterfly moth bee dragonfly",
            "rocket": "rocket spaceship spacecraft missile shuttle",
            "umbrella": "umbrella parasol mushroom",
            "book": "book notebook laptop computer box gift",
            "heart": "heart love valentine",
        },
    }
)  # fmt: skip


def _invert_groups() -> dict[str, tuple[tuple[str, str], ...]]:
    lexicon: dict[str, tuple[tuple[str, str], ...]] = {}
    for group, meanings in _GROUPS.items():
        for meaning, words in meanings.items():
            for word in words.split():
                lexicon[word] = (*lexicon.get(word, ()), (group, meaning))
    return lexicon


_LEXICON: Final[Mapping[str, tuple[tuple[str, str], ...]]] = MappingProxyType(_invert_groups())
_NUMBERS: Final[Mapping[str, int]] = MappingProxyType(
    {"two": 2, "pair": 2, "couple": 2, "three": 3, "few": 3, "four": 4, "several": 4, "five": 5, "many": 6}
)
_SILENT_TEXT: Final = """
    a an the of in on at to with and or by for from is are be it its as into over under near very this that
    these those his her their there up down out off while who which image picture photo photograph style
    make add remove change turn same more less put give replace keep style like some small big large
    high quality detailed beautiful best highly shot view
"""
_SILENT: Final = frozenset(_SILENT_TEXT.split())


@dataclass(frozen=True, slots=True)
class Subject:
    """A thing to draw: a known silhouette, or `other` with a form of its word's own."""

    kind: str
    count: int
    word_hash: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What was understood of a prompt; empty strings and tuples where it says nothing."""

    colours: tuple[tuple[float, float, float], ...]
    hour: str
    place: str
    weather: frozenset[str]
    style: str
    subjects: tuple[Subject, ...]


def read_prompt(prompt: str, negative_prompt: str) -> Reading:
    """Return what the words say; a word of the negative prompt takes its meaning out."""
    silent = _SILENT | set(_words(negative_prompt))
    unwanted = {meaning for word in _words(negative_prompt) for meaning in _meanings(word)}
    found: dict[str, list[str]] = {group: [] for group in _GROUPS}
    colours: list[tuple[float, float, float]] = []
    subjects: dict[str, Subject] = {}
    count = 1
    for word in _words(prompt):
        meanings = [meaning for meaning in _meanings(word) if meaning not in unwanted]
        for group, meaning in meanings:
            if group == "colour":
                colours.append(COLOURS[meaning])
            elif group == "subject":
                subjects.setdefault(meaning, Subject(meaning, count, _hash(word)))
            else:
                found[group].append(meaning)
        if not meanings and not _meanings(word) and word not in silent and not _number(word):
            subjects.setdefault(f"other {word}", Subject("other", count, _hash(word)))
        count = _number(word) or (count if not meanings else 1)
    return Reading(
        colours=tuple(dict.fromkeys(colours)),
        hour=_first(found["hour"]),
        place=_first(found["place"]),
        weather=frozenset(found["weather"]),
        style=_first(found["style"]),
        subjects=_pick(subjects.values()),
    )


def _pick(subjects: Iterable[Subject]) -> tuple[Subject, ...]:
    """Known silhouettes first, in the order of the prompt; forms of unknown words fill what is left."""
    ordered = sorted(subjects, key=lambda subject: subject.kind == "other")
    return tuple(ordered[:MAX_SUBJECTS])


def _words(text: str) -> list[str]:
    return [match.group() for match in _WORD.finditer(text.casefold()[:20_000])][:400]


def _meanings(word: str) -> tuple[tuple[str, str], ...]:
    for form in (word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"):
        if form in COLOURS:
            return (("colour", form), *_LEXICON.get(form, ()))
        if form in _LEXICON:
            return _LEXICON[form]
    return ()


def _number(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) == 1:
        return min(int(word), MAX_COUNT)
    return _NUMBERS.get(word, 0)


def _hash(word: str) -> int:
    return int.from_bytes(hashlib.sha256(word.encode("utf-8", "replace")).digest()[:8], "big")


def _first(values: list[str]) -> str:
    return values[0] if values else ""
