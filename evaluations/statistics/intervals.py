"""Intervals for a share and for a mean of ratings, in plain Python: web processes load no numeric library."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Method = Literal["none", "student_t", "all_equal"]

# Above this many degrees of freedom the expansion is exact to double precision, and faster.
_EXPANSION_FROM = 1_000
_MAX_ITERATIONS = 1_000
_TOLERANCE = 1e-15


@dataclass(frozen=True, slots=True)
class ShareInterval:
    """A share of `n` with its confidence interval; everything is None when there is nothing to share."""

    n: int
    successes: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean with its confidence interval, and the method that gave it.

    `method` is `student_t`; or `all_equal`, where the sample has no spread to estimate from; or `none`
    with fewer than two ratings, and then `low` and `high` are None. The mean is None without ratings,
    the standard deviation (of a sample, n - 1) with fewer than two.
    """

    n: int
    mean: float | None
    standard_deviation: float | None
    low: float | None
    high: float | None
    method: Method


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> ShareInterval:
    """Return a share with its Wilson score interval, which also holds near 0 and 1 and for small n.

    Args:
        successes: How many of the n, 0 to n.
        n: How many were looked at.
        confidence: Between 0 and 1, both excluded.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22.
    """
    _check_confidence(confidence)
    if not 0 <= successes <= n:
        raise ValueError("successes must lie between 0 and n")
    if n == 0:
        return ShareInterval(n=0, successes=0, share=None, low=None, high=None)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # At the ends the bound is the share itself; arithmetic alone would leave 1e-17 beside it.
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return ShareInterval(n=n, successes=successes, share=share, low=low, high=high)


def mean_interval(
    level_counts: Mapping[int, int],
    confidence: float = 0.95,
    *,
    lowest_level: int = 1,
    highest_level: int = 5,
) -> MeanInterval:
    """Return the mean of ratings with its confidence interval, cut to the scale.

    Student's t interval for a mean; with few and strongly skewed ratings it covers a little less than it
    says (92 % at n = 20 where seven of ten ratings are the best level). When all of at least two ratings
    are equal, t would give a width of nought, which claims a certainty that nobody has. Then the interval
    is what the exact binomial bound allows.

    Args:
        level_counts: How many ratings each level has; levels with none may be left out.
        confidence: Between 0 and 1, both excluded.
        lowest_level: The scale's lower end.
        highest_level: The scale's upper end.

    Source: Student (1908), The probable error of a mean, Biometrika 6.
    """
    _check_confidence(confidence)
    counts = {level: count for level, count in level_counts.items() if count}
    _check_counts(counts, lowest_level, highest_level)
    n = sum(counts.values())
    if n == 0:
        return MeanInterval(n=0, mean=None, standard_deviation=None, low=None, high=None, method="none")
    mean = sum(level * count for level, count in counts.items()) / n
    if n == 1:
        return MeanInterval(n=1, mean=mean, standard_deviation=None, low=None, high=None, method="none")
    if len(counts) == 1:
        low, high = _bound_equal(mean, n, confidence, lowest_level, highest_level)
        return MeanInterval(n=n, mean=mean, standard_deviation=0.0, low=low, high=high, method="all_equal")
    variance = sum(count * (level - mean) ** 2 for level, count in counts.items()) / (n - 1)
    half = student_t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(variance / n)
    return MeanInterval(
        n=n,
        mean=mean,
        standard_deviation=math.sqrt(variance),
        low=max(float(lowest_level), mean - half),
        high=min(float(highest_level), mean + half),
        method="student_t",
    )


def _check_counts(counts: Mapping[int, int], lowest_level: int, highest_level: int) -> None:
    for level, count in counts.items():
        if count < 0 or not lowest_level <= level <= highest_level:
            raise ValueError(f"a count of {count} at level {level} is impossible")


def _bound_equal(
    level: float, n: int, confidence: float, lowest_level: int, highest_level: int
) -> tuple[float, float]:
    """Return the limits of a mean of which n of n ratings are that level.

    At most a share of 1 - (1 - confidence)^(1/n) of all ratings may lie elsewhere, and the mean moves
    furthest if they all lie at an end of the scale.

    Source: Clopper and Pearson (1934), The use of confidence or fiducial limits, Biometrika 26.
    """
    elsewhere = 1 - (1 - confidence) ** (1 / n)
    return level - elsewhere * (level - lowest_level), level + elsewhere * (highest_level - level)


@functools.lru_cache(maxsize=4096)
def student_t_quantile(probability: float, degrees_of_freedom: int) -> float:
    """Return the value that Student's t stays below with the given probability.

    Up to 1,000 degrees of freedom the distribution function is inverted by bisection, above by the
    Cornish-Fisher expansion about the normal quantile.

    Args:
        probability: Between 0 and 1, both excluded.
        degrees_of_freedom: At least 1.

    Source: Abramowitz and Stegun (1964), 26.7.1 and 26.7.5; NIST DLMF 8.17.22 for the incomplete beta.
    """
    if not 0 < probability < 1 or degrees_of_freedom < 1:
        raise ValueError("probability must lie between 0 and 1, degrees of freedom be at least 1")
    if probability < 0.5:  # noqa: PLR2004 - the distribution is symmetric about its median
        return -student_t_quantile(1 - probability, degrees_of_freedom)
    if degrees_of_freedom > _EXPANSION_FROM:
        return _expanded_quantile(probability, degrees_of_freedom)
    low, high = 0.0, 1.0
    while _student_t_tail(high, degrees_of_freedom) > 1 - probability:
        low, high = high, 2 * high
    while high - low > _TOLERANCE * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _student_t_tail(middle, degrees_of_freedom) > 1 - probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _expanded_quantile(probability: float, degrees_of_freedom: int) -> float:
    x = NormalDist().inv_cdf(probability)
    terms = (
        (x**3 + x) / 4,
        (5 * x**5 + 16 * x**3 + 3 * x) / 96,
        (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / 384,
        (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / 92_160,
    )
    return x + math.fsum(term / float(degrees_of_freedom) ** power for power, term in enumerate(terms, 1))


def _student_t_tail(value: float, degrees_of_freedom: int) -> float:
    """Return the probability that Student's t exceeds a value of at least 0."""
    x = degrees_of_freedom / (degrees_of_freedom + value * value)
    return 0.5 * _incomplete_beta(x, degrees_of_freedom / 2, 0.5)


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b)."""
    if x in (0.0, 1.0):
        return x
    # The fraction converges fast below the mean of the distribution; above, the mirror image does.
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    logarithm = a * math.log(x) + b * math.log1p(-x) + math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(logarithm) / a * _beta_fraction(x, a, b)


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Return the continued fraction of the incomplete beta function, by Lentz's method."""
    tiny = 1e-300
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1) or tiny)
    fraction = d
    for m in range(1, _MAX_ITERATIONS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            d = 1 / (1 + term * d or tiny)
            c = 1 + term / c or tiny
            change = c * d
            fraction *= change
        if abs(change - 1) < _TOLERANCE:
            break
    return fraction


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError("confidence must lie between 0 and 1")
