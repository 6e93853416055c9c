"""What a set of ratings amounts to, and in words how two sets differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from evaluations.analytics.scopes import Blind, LevelCounts, ScaleFacts
from evaluations.statistics.differences import MeanDifference, mean_difference
from evaluations.statistics.intervals import MeanInterval, ShareInterval, mean_interval, wilson_interval

FEWEST_TO_COMPARE: Final = 5
"""With fewer ratings of either version nothing is said about their difference."""


@dataclass(frozen=True, slots=True)
class LevelShare:
    """One level's part of the ratings."""

    level: int
    name: str
    n: int
    share: float | None


@dataclass(frozen=True, slots=True)
class RatingSummary:
    """Ratings of one criterion.

    Args:
        blind: Which ratings were used, never `auto`.
        best: The share of the best level, with its Wilson interval.
        worst: The share of the worst level, likewise.
        n_left_out: Ratings that `blind` leaves out, and those on older scales of the criterion.
    """

    blind: Blind
    mean: MeanInterval
    levels: tuple[LevelShare, ...]
    best: ShareInterval
    worst: ShareInterval
    n_left_out: int

    @property
    def n_ratings(self) -> int:
        """Number of ratings used."""
        return self.mean.n

    @property
    def level_counts(self) -> dict[int, int]:
        """Number of ratings by level."""
        return {each.level: each.n for each in self.levels}


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much higher `after` is rated than `before`, and a sentence that says so with its uncertainty."""

    before_name: str
    after_name: str
    difference: MeanDifference
    sentence: str


def summarise(counts: LevelCounts, scale: ScaleFacts, blind: Blind) -> RatingSummary:
    """Return the summary of those ratings that `blind` chooses."""
    chosen = counts.choose(blind)
    n = chosen.total()
    return RatingSummary(
        blind=blind,
        mean=mean_interval(chosen, lowest_level=scale.lowest, highest_level=scale.highest),
        levels=tuple(
            LevelShare(level, name, chosen[level], chosen[level] / n if n else None)
            for level, name in scale.levels.items()
        ),
        best=wilson_interval(chosen[scale.highest], n),
        worst=wilson_interval(chosen[scale.lowest], n),
        n_left_out=counts.choose(Blind.ALL).total() - n + counts.n_other_scales,
    )


def compare(
    *,
    before_name: str,
    before: Mapping[int, int],
    after_name: str,
    after: Mapping[int, int],
    scale: ScaleFacts,
) -> Comparison:
    """Return the difference between two sets of ratings by level."""
    difference = mean_difference(before, after, lowest_level=scale.lowest, highest_level=scale.highest)
    return Comparison(before_name, after_name, difference, _describe(before_name, after_name, difference))


def _describe(before_name: str, after_name: str, facts: MeanDifference) -> str:
    difference, low, high = facts.difference, facts.low, facts.high
    numbers = f"{facts.n_after} and {facts.n_before} ratings"
    is_little = min(facts.n_before, facts.n_after) < FEWEST_TO_COMPARE
    if is_little or difference is None or low is None or high is None:
        return f"Too few ratings to tell {after_name} from {before_name} ({numbers})."
    interval = f"95 % interval {_number(low)} to {_number(high)}; {numbers}"
    size = f"{abs(difference):.1f}"
    if low <= 0 <= high:
        if size == "0.0":
            return f"{after_name} and {before_name} have the same mean; either may be better ({interval})."
        how = f"{size} {_direction(difference)}"
        return f"{after_name} is rated {how} than {before_name}, but there may be no difference ({interval})."
    if size == "0.0":
        size = f"{abs(difference):.2f}"
    return f"{after_name} is rated {size} {_direction(difference)} than {before_name} ({interval})."


def _direction(difference: float) -> str:
    return "higher" if difference > 0 else "lower"


def _number(value: float) -> str:
    """Return a limit with one decimal; two where rounding would move it onto nought."""
    text = f"{value:.1f}"
    if float(text) == 0 and value != 0:
        text = f"{value:.2f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")
