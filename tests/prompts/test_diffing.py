"""Side-by-side differences of two versions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.diffing import diff_fields, diff_texts


def test_only_fields_that_differ_are_listed() -> None:
    changes = diff_fields(
        {"user_prompt": "a fox", "negative_prompt": "", "aspect_ratio": "1:1", "old": "x"},
        {"user_prompt": "a red fox", "negative_prompt": None, "aspect_ratio": "1:1", "new": 2},
    )

    assert [change.name for change in changes] == ["user_prompt", "new", "old"]
    assert (changes[2].before, changes[2].after) == ("x", "")


def test_the_words_that_differ_are_marked_within_their_line() -> None:
    (row,) = diff_texts("a fox in the snow", "a red fox in the snow")

    assert row.kind == "changed"
    assert row.before is not None
    assert row.after is not None
    assert [segment.text.strip() for segment in row.after.segments if segment.is_changed] == ["red"]
    assert not any(segment.is_changed for segment in row.before.segments)


def test_added_and_removed_lines_stand_alone_with_their_numbers() -> None:
    rows = diff_texts("one\ntwo\nthree", "one\nthree\nfour")

    assert [(row.kind, row.before and row.before.number, row.after and row.after.number) for row in rows] == [
        ("equal", 1, 1),
        ("removed", 2, None),
        ("equal", 3, 2),
        ("added", None, 3),
    ]


def test_lines_with_nothing_in_common_are_not_forced_together() -> None:
    rows = diff_texts("a fox in the snow", "watercolour, wide angle; golden hour")

    assert [row.kind for row in rows] == ["removed", "added"]


def test_the_order_of_parameters_is_no_change() -> None:
    assert diff_fields({"parameters": {"a": 1, "b": [2]}}, {"parameters": {"b": [2], "a": 1}}) == ()


def test_parameters_are_compared_one_a_line() -> None:
    (change,) = diff_fields({"parameters": {"a": 1, "b": 2}}, {"parameters": {"a": 1, "b": 3}})

    assert [row.kind for row in change.rows].count("changed") == 1


def rebuild(before: str, after: str) -> tuple[list[str], list[str]]:
    rows = diff_texts(before, after)
    return [row.before.text for row in rows if row.before], [row.after.text for row in rows if row.after]


@given(st.text(alphabet="ab \n.", max_size=60), st.text(alphabet="ab \n.", max_size=60))
def test_both_sides_can_be_read_back_from_the_rows(before: str, after: str) -> None:
    assert rebuild(before, after) == (before.splitlines(), after.splitlines())


@pytest.mark.parametrize("separator", ["\n", " "])
def test_texts_too_long_to_compare_are_shown_as_changed_whole(separator: str) -> None:
    random_source = random.Random(1)
    before = separator.join(random_source.choice("ab") for _ in range(50_000))
    after = separator.join(random_source.choice("ab") for _ in range(50_000))

    assert rebuild(before, after) == (before.splitlines(), after.splitlines())
    assert all(len(row.before.segments) == 1 for row in diff_texts(before, after) if row.before)


def test_texts_of_a_page_are_compared_word_by_word() -> None:
    random_source = random.Random(2)
    before, after = (
        "\n".join(" ".join(random_source.choices("ab", k=60)) for _ in range(40)) for _ in range(2)
    )

    rows = diff_texts(before, after)

    assert any(row.before and len(row.before.segments) > 1 for row in rows)
