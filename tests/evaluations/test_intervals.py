"""Intervals against published values and against scipy."""

from __future__ import annotations

import math
import random

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from evaluations.statistics.intervals import mean_interval, student_t_quantile, wilson_interval


def test_the_wilson_interval_has_the_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3: 81 of 263.
    interval = wilson_interval(81, 263)

    assert interval.low == pytest.approx(0.2553, abs=5e-5)
    assert interval.high == pytest.approx(0.3662, abs=5e-5)


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.999))
def test_the_wilson_interval_agrees_with_scipy(n: int, portion: float, confidence: float) -> None:
    successes = round(n * portion)

    interval = wilson_interval(successes, n, confidence)

    expected = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert interval.low == pytest.approx(expected.low, abs=1e-9)
    assert interval.high == pytest.approx(expected.high, abs=1e-9)


def test_a_share_of_nothing_has_no_interval() -> None:
    assert (wilson_interval(0, 0).share, wilson_interval(0, 0).low) == (None, None)


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (1, 0)])
def test_an_impossible_share_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="between 0 and n"):
        wilson_interval(successes, n)


@pytest.mark.parametrize("confidence", [0, 1, 1.5, math.nan])
def test_an_impossible_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        wilson_interval(1, 2, confidence)
    with pytest.raises(ValueError, match="confidence"):
        mean_interval({3: 2}, confidence)


@pytest.mark.parametrize(
    "degrees_of_freedom", [1, 2, 3, 4, 5, 7, 10, 30, 99, 300, 999, 1_000, 1_001, 5_000, 10**6, 10**9]
)
@pytest.mark.parametrize("probability", [0.001, 0.3, 0.5, 0.6, 0.9, 0.95, 0.975, 0.995, 0.9995])
def test_the_t_quantile_agrees_with_scipy(degrees_of_freedom: int, probability: float) -> None:
    expected = scipy.stats.t.ppf(probability, degrees_of_freedom)

    assert student_t_quantile(probability, degrees_of_freedom) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_mean_has_the_interval_that_scipy_gives_the_single_ratings() -> None:
    counts = {1: 4, 2: 7, 3: 20, 4: 31, 5: 9}
    ratings = [level for level, count in counts.items() for _ in range(count)]

    interval = mean_interval(counts)

    low, high = scipy.stats.t.interval(
        0.95, len(ratings) - 1, loc=sum(ratings) / len(ratings), scale=scipy.stats.sem(ratings)
    )
    assert interval.method == "student_t"
    assert interval.n == 71
    assert interval.mean == pytest.approx(sum(ratings) / 71)
    assert interval.standard_deviation == pytest.approx(scipy.stats.tstd(ratings))
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)


def test_without_ratings_there_is_nothing_to_say() -> None:
    interval = mean_interval({1: 0, 5: 0})

    assert (interval.n, interval.mean, interval.low, interval.method) == (0, None, None, "none")


def test_one_rating_has_a_mean_and_no_interval() -> None:
    interval = mean_interval({4: 1})

    assert (interval.n, interval.mean, interval.standard_deviation) == (1, 4.0, None)
    assert (interval.low, interval.high, interval.method) == (None, None, "none")


def test_equal_ratings_are_not_taken_for_certainty() -> None:
    few, many = mean_interval({5: 3}), mean_interval({5: 300})

    assert few.method == many.method == "all_equal"
    assert few.standard_deviation == 0
    # 5 - 4 * (1 - 0.05 ** (1 / 3)), by hand.
    assert few.low == pytest.approx(2.4736, abs=1e-4)
    assert few.high == 5
    assert many.low == pytest.approx(4.9603, abs=1e-4)


def test_the_interval_stays_on_the_scale() -> None:
    interval = mean_interval({1: 1, 5: 1})

    assert (interval.low, interval.high) == (1, 5)


@pytest.mark.parametrize("counts", [{0: 1}, {6: 1}, {3: -1}])
def test_an_impossible_count_is_refused(counts: dict[int, int]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        mean_interval(counts)


@given(st.dictionaries(st.integers(1, 5), st.integers(0, 10_000)))
def test_the_mean_lies_inside_its_interval_and_the_interval_on_the_scale(counts: dict[int, int]) -> None:
    interval = mean_interval(counts)

    if interval.low is not None:
        assert interval.mean is not None
        assert interval.high is not None
        assert 1 <= interval.low <= interval.mean + 1e-12
        assert interval.mean - 1e-12 <= interval.high <= 5


@pytest.mark.parametrize(("weights", "floor"), [((1, 2, 4, 6, 3), 935), ((0, 0, 1, 2, 7), 905)])
def test_the_interval_covers_the_true_mean_about_as_often_as_it_says(
    weights: tuple[int, ...], floor: int
) -> None:
    random_source = random.Random(7)
    true_mean = sum(level * weight for level, weight in enumerate(weights, 1)) / sum(weights)
    covered = 0

    for _ in range(1_000):
        counts = dict.fromkeys(range(1, 6), 0)
        for level in random_source.choices(range(1, 6), weights, k=20):
            counts[level] += 1
        interval = mean_interval(counts)
        assert interval.low is not None
        assert interval.high is not None
        covered += interval.low <= true_mean <= interval.high

    assert covered >= floor
