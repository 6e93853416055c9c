"""Two versions side by side: which fields changed, and where in their lines and words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

RowKind = Literal["equal", "changed", "removed", "added"]

_WORD = re.compile(r"\s+|\w+|[^\w\s]")
# difflib's time grows with the square of its input and worse; beyond these sizes whole lines, then whole
# fields, are shown as changed. A page of prompt text has about 50 lines.
_MAX_LINES = 300
_MAX_WORDS = 300
_MAX_LENGTH_BY_WORD = 25_000
# Two lines with less than this in common are shown as one removed and one added.
_MIN_SIMILARITY = 0.25


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text within a line, the same on both sides or not."""

    text: str
    is_changed: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one side; `number` counts from 1."""

    number: int
    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """The whole line."""
        return "".join(segment.text for segment in self.segments)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the side-by-side view: `before` is None for an added line, `after` for a removed one."""

    kind: RowKind
    before: Line | None
    after: Line | None


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs between two versions."""

    name: str
    before: str
    after: str
    rows: tuple[Row, ...]


def diff_fields(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[FieldChange, ...]:
    """Return the fields that differ, in the order of `after`, then those that only `before` has.

    Text is compared as it is; None and an absent field as empty text; anything with parts as JSON with
    sorted keys, one part a line, so that the order of parameters is no change.
    """
    names = list(dict.fromkeys([*after, *before]))
    changes = []
    for name in names:
        old, new = _to_text(before.get(name)), _to_text(after.get(name))
        if old != new:
            changes.append(FieldChange(name=name, before=old, after=new, rows=diff_texts(old, new)))
    return tuple(changes)


def diff_texts(before: str, after: str) -> tuple[Row, ...]:
    """Return two texts line by line, with the words that differ marked within changed lines."""
    old, new = before.splitlines(), after.splitlines()
    if len(old) > _MAX_LINES or len(new) > _MAX_LINES:
        return _pair_lines(old, new, 0, 0, by_word=False)
    by_word = len(before) + len(after) <= _MAX_LENGTH_BY_WORD
    rows: list[Row] = []
    matcher = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        if tag == "equal":
            for offset, text in enumerate(old[old_from:old_to]):
                line = Line(old_from + offset + 1, _same(text))
                rows.append(Row("equal", line, Line(new_from + offset + 1, _same(text))))
        else:
            old_block, new_block = old[old_from:old_to], new[new_from:new_to]
            rows.extend(_pair_lines(old_block, new_block, old_from, new_from, by_word=by_word))
    return tuple(rows)


def _pair_lines(
    old: Sequence[str],
    new: Sequence[str],
    old_from: int,
    new_from: int,
    *,
    by_word: bool,
) -> tuple[Row, ...]:
    """Set the lines of a changed block against each other in their order."""
    rows: list[Row] = []
    n_paired = min(len(old), len(new))
    for index in range(n_paired):
        numbers = old_from + index + 1, new_from + index + 1
        rows.extend(_diff_line(old[index], new[index], *numbers, by_word=by_word))
    rows.extend(
        Row("removed", Line(old_from + index + 1, _other(old[index])), None)
        for index in range(n_paired, len(old))
    )
    rows.extend(
        Row("added", None, Line(new_from + index + 1, _other(new[index])))
        for index in range(n_paired, len(new))
    )
    return tuple(rows)


def _diff_line(old: str, new: str, old_number: int, new_number: int, *, by_word: bool) -> tuple[Row, ...]:
    if old == new:
        return (Row("equal", Line(old_number, _same(old)), Line(new_number, _same(new))),)
    old_words = _WORD.findall(old) if by_word else []
    new_words = _WORD.findall(new) if by_word else []
    if not by_word or max(len(old_words), len(new_words)) > _MAX_WORDS:
        return (Row("changed", Line(old_number, _other(old)), Line(new_number, _other(new))),)
    matcher = difflib.SequenceMatcher(a=old_words, b=new_words, autojunk=False)
    if not _is_similar(matcher, old_words, new_words):
        return (
            Row("removed", Line(old_number, _other(old)), None),
            Row("added", None, Line(new_number, _other(new))),
        )
    old_segments: list[Segment] = []
    new_segments: list[Segment] = []
    for tag, old_from, old_to, new_from, new_to in matcher.get_opcodes():
        is_changed = tag != "equal"
        if old_to > old_from:
            old_segments.append(Segment("".join(old_words[old_from:old_to]), is_changed))
        if new_to > new_from:
            new_segments.append(Segment("".join(new_words[new_from:new_to]), is_changed))
    return (Row("changed", Line(old_number, tuple(old_segments)), Line(new_number, tuple(new_segments))),)


def _is_similar(matcher: difflib.SequenceMatcher[str], old: list[str], new: list[str]) -> bool:
    """Say whether two lines share enough words, their spaces not counted, to be set side by side."""
    n_words = sum(not word.isspace() for word in [*old, *new])
    n_shared = sum(
        not word.isspace()
        for block in matcher.get_matching_blocks()
        for word in old[block.a : block.a + block.size]
    )
    return 2 * n_shared >= _MIN_SIMILARITY * n_words


def _same(text: str) -> tuple[Segment, ...]:
    return (Segment(text, is_changed=False),)


def _other(text: str) -> tuple[Segment, ...]:
    return (Segment(text, is_changed=True),)


def _to_text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping | list | tuple | bool):
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return str(value)
