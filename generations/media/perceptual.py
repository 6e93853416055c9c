"""Fingerprints of how pictures look: those of nearly the same picture differ in few bits.

The fingerprint is the difference hash ("dHash") of N. Krawetz, "Kind of Like That", The Hacker Factor Blog,
2013: the picture shrunk to 9 × 8 grey pixels, one bit for each that its right neighbour outshines. Over
pictures of the embedded renderer and over noise, one saved anew as JPEG, made smaller or blurred differed in
0 to 3 bits (a few in 5), while different pictures differed in 14 and more.

Fingerprints that differ in at most 3 bits are found as in G. S. Manku, A. Jain and A. Das Sarma, "Detecting
near-duplicates for web crawling", WWW 2007: of four parts, at least one is then the same in both.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from PIL import Image

MAX_DISTANCE: Final = 3
_COLUMNS, _ROWS = 8, 8
_PART_BITS: Final = 16
_N_PARTS: Final = MAX_DISTANCE + 1
_BITS: Final = 64
# Of pictures that share a part, an empty sky say, the latest are looked at: time is bounded, whatever comes.
_MAX_ALIKE: Final = 1000


def make_perceptual_hash(image: Image.Image) -> int:
    """Return the 64 bits of a picture without transparency, as the signed number that databases take."""
    small = image.convert("L").resize((_COLUMNS + 1, _ROWS), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(_ROWS):
        first = row * (_COLUMNS + 1)
        for column in range(first, first + _COLUMNS):
            bits = bits << 1 | (small[column] < small[column + 1])
    return bits - (1 << _BITS) if bits >> (_BITS - 1) else bits


class Lookalikes:
    """Pictures by their fingerprints, to find one that looks nearly the same."""

    def __init__(self) -> None:
        self._same: dict[int, uuid.UUID] = {}
        self._alike: defaultdict[tuple[int, int], list[int]] = defaultdict(list)

    def find(self, perceptual_hash: int) -> uuid.UUID | None:
        """Return a picture whose fingerprint differs in at most 3 bits, if there is one."""
        if perceptual_hash in self._same:
            return self._same[perceptual_hash]
        for part in _split(perceptual_hash):
            for other in self._alike[part][-_MAX_ALIKE:]:
                if ((perceptual_hash ^ other) & _MASK).bit_count() <= MAX_DISTANCE:
                    return self._same[other]
        return None

    def add(self, picture_id: uuid.UUID, perceptual_hash: int) -> None:
        """Let a picture be found from now on, unless one with the same fingerprint already is."""
        if perceptual_hash in self._same:
            return
        self._same[perceptual_hash] = picture_id
        for part in _split(perceptual_hash):
            self._alike[part].append(perceptual_hash)


_MASK: Final = (1 << _BITS) - 1


def _split(perceptual_hash: int) -> Iterator[tuple[int, int]]:
    for number in range(_N_PARTS):
        yield number, perceptual_hash >> (number * _PART_BITS) & ((1 << _PART_BITS) - 1)
