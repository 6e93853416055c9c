"""Charts as SVG, drawn on the server: they need no script and follow the page's colours by their classes.

Every chart has a name for screen readers; the pages set the same figures beside it in words or a table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Final

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from evaluations.analytics.history import Point
from evaluations.analytics.scopes import ScaleFacts
from evaluations.analytics.summaries import LevelShare
from evaluations.statistics.intervals import MeanInterval

MAX_LINES: Final = 6
"""As many lines as can be told apart; each has a colour and a shape."""

_INTERVAL_WIDTH, _INTERVAL_HEIGHT = 180, 26
_BAR_WIDTH, _BAR_HEIGHT = 300, 18
_WIDTH, _HEIGHT = 760, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 30, 26, 36
_LABEL_GAP_PX = 90
# Lines stand a little beside each other, so that their limits do not cover one another.
_SHIFT_PX = 8
_MOST_NUMBERED = 40


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart over time."""

    name: str
    points: Sequence[Point]


def draw_interval(mean: MeanInterval, scale: ScaleFacts) -> SafeString:
    """Return a mean on its scale, with a bar from the lower to the upper limit."""
    if mean.mean is None:
        return SafeString("")
    x = _Axis(scale.lowest, scale.highest, 8, _INTERVAL_WIDTH - 8)
    middle = _INTERVAL_HEIGHT / 2
    ticks = format_html_join(
        "",
        '<line class="mg-grid-line" x1="{}" x2="{}" y1="4" y2="{}"/>',
        ((x(level), x(level), _INTERVAL_HEIGHT - 4) for level in scale.levels),
    )
    limits = SafeString("")
    if mean.low is not None and mean.high is not None:
        limits = format_html(
            '<path class="mg-limits" d="M{0} {3}H{1}M{0} {2}V{4}M{1} {2}V{4}"/>',
            x(mean.low), x(mean.high), middle - 5, middle, middle + 5,
        )  # fmt: skip
    return format_html(
        '<svg class="mg-interval" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}'
        '<circle class="mg-mean" cx="{}" cy="{}" r="4.5"/></svg>',
        _INTERVAL_WIDTH, _INTERVAL_HEIGHT, describe_mean(mean), ticks, limits, x(mean.mean), middle,
    )  # fmt: skip


def draw_distribution(levels: Sequence[LevelShare]) -> SafeString:
    """Return a bar of all levels side by side, the worst on the left."""
    if not any(level.n for level in levels):
        return SafeString("")
    parts, left = [], 0.0
    for position, level in enumerate(levels):
        width = (level.share or 0.0) * _BAR_WIDTH
        if level.n:
            colour = get_level_colour(position, len(levels))
            parts.append(
                (colour, _round(left), _round(max(width - 1, 0.5)), _BAR_HEIGHT, describe_level(level))
            )
        left += width
    bars = format_html_join(
        "", '<rect class="mg-level-{}" x="{}" y="0" width="{}" height="{}"><title>{}</title></rect>', parts
    )
    name = "Worst to best: " + "; ".join(describe_level(level) for level in levels)
    return format_html(
        '<svg class="mg-distribution" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img"'
        ' aria-label="{}">{}</svg>',
        _BAR_WIDTH, _BAR_HEIGHT, name, bars,
    )  # fmt: skip


def draw_lines(lines: Sequence[Line], scale: ScaleFacts, *, name: str) -> SafeString:
    """Return means over time with their limits, the number of ratings written at each point."""
    shown = [line for line in lines[:MAX_LINES] if line.points]
    if not shown:
        return SafeString("")
    days = [point.start for line in shown for point in line.points]
    first, last = min(days), max(days)
    if first == last:
        first, last = first - timedelta(days=1), last + timedelta(days=1)
    x = _Axis(first.toordinal(), last.toordinal(), _LEFT + 14, _WIDTH - _RIGHT - 14)
    y = _Axis(scale.lowest, scale.highest, _HEIGHT - _BOTTOM, _TOP)
    has_numbers = len(days) <= _MOST_NUMBERED
    centre = (len(shown) + 1) / 2
    drawn = [
        _draw_line(line, position, x.shift((position - centre) * _SHIFT_PX), y, has_numbers=has_numbers)
        for position, line in enumerate(shown, start=1)
    ]
    return format_html(
        '<svg class="mg-lines" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>',
        _WIDTH, _HEIGHT, name, _draw_levels(scale, y), _draw_days(first, last, x),
        format_html_join("", "{}", ((each,) for each in drawn)),
    )  # fmt: skip


def draw_marker(position: int) -> SafeString:
    """Return the sign of the line with that position, counted from 1, for a legend."""
    return format_html(
        '<svg class="mg-key-sign mg-line-{}" viewBox="0 0 24 12" aria-hidden="true">'
        '<path class="mg-line" d="M0 6H24"/>{}</svg>',
        position, _draw_sign(position, 12, 6, "", ""),
    )  # fmt: skip


def describe_mean(mean: MeanInterval) -> str:
    """Return a mean with its limits in words."""
    if mean.mean is None:
        return "No ratings"
    if mean.low is None or mean.high is None:
        return f"Mean {mean.mean:.2f} of one rating"
    return f"Mean {mean.mean:.2f}, 95 % interval {mean.low:.2f} to {mean.high:.2f}, {mean.n} ratings"


def describe_level(level: LevelShare) -> str:
    """Return a level's number and share in words."""
    share = f" ({level.share:.0%})" if level.share is not None else ""
    return f"{level.name} {level.n}{share}"


def get_level_colour(position: int, n_levels: int) -> int:
    """Return which of the five colours from worst to best the level at a position from 0 has."""
    return 1 + round(4 * position / max(1, n_levels - 1))


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where values lie on a line from one place to another."""

    first: float
    last: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        return _round(self.place(value))

    def shift(self, by: float) -> _Axis:
        """Return the same axis that many pixels further."""
        return replace(self, start=self.start + by, end=self.end + by)

    def place(self, value: float) -> float:
        return self.start + (value - self.first) * (self.end - self.start) / (self.last - self.first)


def _draw_line(line: Line, position: int, x: _Axis, y: _Axis, *, has_numbers: bool) -> SafeString:
    means = [(point, point.ratings.mean.mean) for point in line.points]
    places = [(point, x(point.start.toordinal()), y(mean)) for point, mean in means if mean is not None]
    path = "M" + "L".join(f"{left} {top}" for _, left, top in places)
    limits = format_html_join(
        "",
        '<line class="mg-limits" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>',
        (
            (left, y(point.ratings.mean.low), y(point.ratings.mean.high))
            for point, left, _ in places
            if point.ratings.mean.low is not None and point.ratings.mean.high is not None
        ),
    )
    signs = [
        _draw_sign(position, float(left), float(top), _describe_point(line, point), "mg-point")
        for point, left, top in places
    ]
    numbers = [
        (_round(float(left) + 7), _round(float(top) - 6), point.ratings.n_ratings)
        for point, left, top in places
        if has_numbers
    ]
    return format_html(
        '<g class="mg-line-{}"><path class="mg-line" d="{}"/>{}{}{}</g>',
        position, path, limits, format_html_join("", "{}", ((sign,) for sign in signs)),
        format_html_join("", '<text class="mg-count" x="{}" y="{}">{}</text>', numbers),
    )  # fmt: skip


def _describe_point(line: Line, point: Point) -> str:
    return f"{line.name}, {point.start:%d %b %Y}: {describe_mean(point.ratings.mean)}"


def _draw_sign(position: int, left: float, top: float, title: str, kind: str) -> SafeString:
    """Return a circle, square or triangle, full or hollow, so that colour is never the only difference."""
    size = 4.5
    outlines = (
        f"M{left - size} {top}a{size} {size} 0 1 0 {2 * size} 0a{size} {size} 0 1 0 {-2 * size} 0Z",
        f"M{left - size} {top - size}h{2 * size}v{2 * size}h{-2 * size}Z",
        f"M{left} {top - size - 1}l{size + 1} {2 * size}h{-2 * size - 2}Z",
    )
    shape = outlines[(position - 1) % len(outlines)]
    filling = "mg-full" if position <= len(outlines) else "mg-hollow"
    name = format_html("<title>{}</title>", title) if title else ""
    return format_html('<path class="mg-sign {} {}" d="{}">{}</path>', filling, kind, shape, name)


def _draw_levels(scale: ScaleFacts, y: _Axis) -> SafeString:
    lines = (
        (_LEFT, _WIDTH - _RIGHT, y(level), _LEFT - 10, _round(y.place(level) + 4), level)
        for level in scale.levels
    )
    return format_html_join(
        "",
        '<line class="mg-grid-line" x1="{0}" x2="{1}" y1="{2}" y2="{2}"/>'
        '<text class="mg-axis mg-end" x="{3}" y="{4}">{5}</text>',
        lines,
    )


def _draw_days(first: date, last: date, x: _Axis) -> SafeString:
    n_days = last.toordinal() - first.toordinal()
    most = (_WIDTH - _LEFT - _RIGHT) // _LABEL_GAP_PX
    step = max(1, math.ceil(n_days / most))
    form = "%d %b" if first.year == last.year else "%d %b %Y"
    labels = (
        (x(day), _HEIGHT - 8, date.fromordinal(day).strftime(form))
        for day in range(first.toordinal(), last.toordinal() + 1, step)
    )
    return format_html_join("", '<text class="mg-axis" x="{}" y="{}">{}</text>', labels)


def _round(value: float) -> str:
    return f"{value:.1f}"
