"""Ratings over time."""

from __future__ import annotations

import re
import uuid
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from enum import StrEnum

from evaluations.analytics.scopes import (
    Blind,
    LevelCounts,
    ScaleFacts,
    Scope,
    count_by_day,
    count_by_version_and_day,
    resolve_blind,
)
from evaluations.analytics.summaries import RatingSummary, summarise
from mayagen.common.errors import DomainError

# Names of regions: files such as `localtime`, which no database knows, lie beside them.
_ZONE_NAME = re.compile(r"[A-Z][A-Za-z0-9_+-]{1,30}(/[A-Za-z0-9_+-]{1,30}){0,2}")


class Period(StrEnum):
    """What a point of a history stands for; weeks begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class TimeZoneUnknownError(DomainError):
    """No time zone has that name."""

    code = "time_zone_unknown"
    status = 400
    sentence = "There is no such time zone. Give a name such as Europe/Berlin or UTC."


@dataclass(frozen=True, slots=True)
class Point:
    """The ratings given in one period."""

    start: date
    ratings: RatingSummary


@dataclass(frozen=True, slots=True)
class RatingHistory:
    """All ratings of a scope, and those of each period that has some, oldest first.

    Args:
        blind: Which ratings were used, never `auto`.
    """

    blind: Blind
    total: RatingSummary
    points: tuple[Point, ...]


def get_time_zone(name: str) -> tzinfo:
    """Return a time zone by its IANA name.

    Raises:
        TimeZoneUnknownError: There is none.
    """
    if name == "UTC":
        return UTC
    try:
        if _ZONE_NAME.fullmatch(name):
            return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise TimeZoneUnknownError(fields={"time_zone": [TimeZoneUnknownError.sentence]})


def get_rating_history(
    *, scope: Scope, scale: ScaleFacts, period: Period, zone: tzinfo = UTC
) -> RatingHistory:
    """Return ratings over time; one query.

    In UTC it reads tallies, unless the scope asks for what they do not know; else the rating rows.
    """
    counts = count_by_day(scope, scale, zone=zone)
    blind = resolve_blind(scope.blind, counts.values())
    total = LevelCounts()
    for each in counts.values():
        total.add(each)
    return RatingHistory(
        blind=blind,
        total=summarise(total, scale, blind),
        points=_list_points(counts, period, scale, blind),
    )


def get_version_histories(
    *, scope: Scope, scale: ScaleFacts, period: Period, zone: tzinfo = UTC
) -> dict[uuid.UUID, tuple[Point, ...]]:
    """Return the points over time of each version that has some; one query.

    All versions are judged by the same ratings: blind ones if any of them has some. So the scope is best
    one prompt.
    """
    counts = count_by_version_and_day(scope, scale, zone=zone)
    blind = resolve_blind(scope.blind, (each for days in counts.values() for each in days.values()))
    histories = {pk: _list_points(days, period, scale, blind) for pk, days in counts.items()}
    return {pk: points for pk, points in histories.items() if points}


def _list_points(
    days: Mapping[date, LevelCounts], period: Period, scale: ScaleFacts, blind: Blind
) -> tuple[Point, ...]:
    periods: dict[date, LevelCounts] = {}
    for day, counts in days.items():
        periods.setdefault(_begin(day, period), LevelCounts()).add(counts)
    points = (Point(start, summarise(counts, scale, blind)) for start, counts in sorted(periods.items()))
    return tuple(point for point in points if point.ratings.n_ratings)


def _begin(day: date, period: Period) -> date:
    if period == Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == Period.MONTH else day
