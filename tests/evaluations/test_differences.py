"""The difference between two means, checked against SciPy and by simulation."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from scipy import stats

from evaluations.analytics.scopes import ScaleFacts
from evaluations.analytics.summaries import compare
from evaluations.statistics.differences import MeanDifference, mean_difference
from mayagen.common.ids import uuid7

SCALE = ScaleFacts(uuid7(), "overall", "Overall", uuid7(), {level: str(level) for level in range(1, 6)})


def read(found: MeanDifference) -> tuple[float, float, float]:
    """Return difference and limits, all of which are there."""
    assert found.difference is not None
    assert found.low is not None
    assert found.high is not None
    return found.difference, found.low, found.high


def test_the_interval_is_welchs_with_rounded_down_degrees_of_freedom() -> None:
    before, after = [1, 2, 2, 3, 5, 4, 2, 3], [4, 4, 5, 3, 5, 4, 2, 5, 5, 4, 4]

    found = mean_difference(Counter(before), Counter(after))

    exact = stats.ttest_ind(after, before, equal_var=False)
    half = stats.t.ppf(0.975, math.floor(exact.df)) * abs(
        (sum(after) / 11 - sum(before) / 8) / exact.statistic
    )
    assert found.method == "welch_t"
    assert found.difference == pytest.approx(sum(after) / 11 - sum(before) / 8)
    difference, low, high = read(found)
    assert (low, high) == pytest.approx((difference - half, difference + half))
    interval = exact.confidence_interval()
    assert low <= interval.low
    assert high >= interval.high


def test_turning_the_samples_round_turns_the_interval_round() -> None:
    one, other = {2: 4, 3: 2}, {4: 7, 5: 3}

    difference, low, high = read(mean_difference(one, other))

    assert read(mean_difference(other, one)) == pytest.approx((-difference, -high, -low))


def test_ratings_that_are_all_equal_leave_an_interval_with_a_width() -> None:
    found = mean_difference({3: 10}, {3: 10})

    assert found.method == "mover"
    difference, low, high = read(found)
    assert difference == 0
    assert low < -0.3 < 0.3 < high


@pytest.mark.parametrize(
    ("before", "after", "difference"), [({}, {3: 4}, None), ({3: 4}, {}, None), ({2: 1}, {4: 9}, 2.0)]
)
def test_without_two_ratings_of_each_there_is_no_interval(
    before: dict[int, int], after: dict[int, int], difference: float | None
) -> None:
    found = mean_difference(before, after)

    assert (found.method, found.difference, found.low, found.high) == ("none", difference, None, None)


def test_no_limit_lies_beyond_what_the_scale_allows() -> None:
    _, low, high = read(mean_difference({1: 2, 2: 1}, {5: 2, 4: 1}))

    assert low >= -4
    assert high == 4


def test_of_intervals_about_no_difference_95_percent_hold_it() -> None:
    chance = random.Random(5)
    n_holding = 0
    for _ in range(1000):
        before, after = (Counter(chance.choices(range(1, 6), [1, 2, 4, 3, 2], k=20)) for _ in range(2))
        _, low, high = read(mean_difference(before, after))
        n_holding += low <= 0 <= high

    assert 930 <= n_holding <= 970


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            {3: 12, 2: 12},
            {4: 12, 3: 12},
            "v2 is rated 1.0 higher than v1 (95 % interval 0.7 to 1.3; 24 and 24 ratings).",
        ),
        (
            {4: 12, 3: 12},
            {3: 12, 2: 12},
            "v2 is rated 1.0 lower than v1 (95 % interval −1.3 to −0.7; 24 and 24 ratings).",
        ),
        (
            {3: 6, 4: 4, 1: 2},
            {3: 6, 4: 4, 2: 2},
            (
                "v2 is rated 0.2 higher than v1, but there may be no difference"
                " (95 % interval −0.6 to 0.9; 12 and 12 ratings)."
            ),
        ),
        (
            {3: 6, 4: 6},
            {3: 6, 4: 6},
            (
                "v2 and v1 have the same mean; either may be better"
                " (95 % interval −0.4 to 0.4; 12 and 12 ratings)."
            ),
        ),
        ({3: 4}, {5: 40}, "Too few ratings to tell v2 from v1 (40 and 4 ratings)."),
        ({}, {}, "Too few ratings to tell v2 from v1 (0 and 0 ratings)."),
    ],
)
def test_the_sentence_never_names_a_winner_without_its_uncertainty(
    before: dict[int, int], after: dict[int, int], sentence: str
) -> None:
    found = compare(before_name="v1", before=before, after_name="v2", after=after, scale=SCALE)

    assert found.sentence == sentence
