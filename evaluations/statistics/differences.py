"""The difference between two means of ratings, with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from evaluations.statistics.intervals import MeanInterval, mean_interval, student_t_quantile

Method = Literal["none", "welch_t", "mover"]


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """How much higher one mean is than another, and the method that gave the interval.

    `method` is `welch_t`; or `mover` where a sample has no spread to estimate from; or `none` where a
    sample has fewer than two ratings, and then `low` and `high` are None. The difference is None where a
    sample is empty.
    """

    n_before: int
    n_after: int
    difference: float | None
    low: float | None
    high: float | None
    method: Method


def mean_difference(
    before: Mapping[int, int],
    after: Mapping[int, int],
    confidence: float = 0.95,
    *,
    lowest_level: int = 1,
    highest_level: int = 5,
) -> MeanDifference:
    """Return the mean of `after` less that of `before`, with a confidence interval.

    Welch's t interval, which lets the two spreads differ; its degrees of freedom are rounded down. Where all
    ratings of a sample are equal it would take them for certain. There the two means' own intervals are
    combined instead (MOVER), which have a width in that case too. Ratings are taken as independent; two
    versions that were run on the same cases agree in more than that, so the interval is rather too wide.

    Args:
        before: How many ratings each level has; levels with none may be left out.
        after: The same of the other sample.
        confidence: Between 0 and 1, both excluded.
        lowest_level: The scale's lower end.
        highest_level: The scale's upper end.

    Source: Welch (1947), The generalization of Student's problem, Biometrika 34; Zou and Donner (2008),
        Construction of confidence limits about effect measures, Statistics in Medicine 27, for MOVER.
    """
    first, second = (
        mean_interval(counts, confidence, lowest_level=lowest_level, highest_level=highest_level)
        for counts in (before, after)
    )
    if first.mean is None or second.mean is None:
        return MeanDifference(first.n, second.n, None, None, None, "none")
    difference = second.mean - first.mean
    if "none" in {first.method, second.method}:
        return MeanDifference(first.n, second.n, difference, None, None, "none")
    if "all_equal" in {first.method, second.method}:
        low, high = _combine(first, second)
        return MeanDifference(first.n, second.n, difference, low, high, "mover")
    half = _welch_half_width(first, second, confidence)
    span = highest_level - lowest_level
    return MeanDifference(
        n_before=first.n,
        n_after=second.n,
        difference=difference,
        low=max(-float(span), difference - half),
        high=min(float(span), difference + half),
        method="welch_t",
    )


def _welch_half_width(first: MeanInterval, second: MeanInterval, confidence: float) -> float:
    variances = [(each.standard_deviation or 0.0) ** 2 / each.n for each in (first, second)]
    total = sum(variances)
    parts = zip(variances, (first, second), strict=True)
    degrees = total**2 / sum(variance**2 / (each.n - 1) for variance, each in parts)
    return student_t_quantile((1 + confidence) / 2, max(1, math.floor(degrees))) * math.sqrt(total)


def _combine(first: MeanInterval, second: MeanInterval) -> tuple[float, float]:
    """Return the limits of the difference that follow from the limits of the two means."""
    values = (first.mean, first.low, first.high, second.mean, second.low, second.high)
    mean_1, low_1, high_1, mean_2, low_2, high_2 = (float(value or 0) for value in values)
    difference = mean_2 - mean_1
    low = difference - math.hypot(mean_2 - low_2, high_1 - mean_1)
    high = difference + math.hypot(high_2 - mean_2, mean_1 - low_1)
    return low, high
