"""Ratings over time."""

from __future__ import annotations

import re
import uuid
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, timedelta, tzinfo
from enum import StrEnum

from evaluations.analytics.scopes import Blind, LevelCounts, ScaleFacts, Scope, count_by_day, resolve_blind
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
        by_version: The same points for each version that has some.
    """

    blind: Blind
    total: RatingSummary
    points: tuple[Point, ...]
    by_version: Mapping[uuid.UUID, tuple[Point, ...]]


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
    together: dict[date, LevelCounts] = {}
    by_version: dict[uuid.UUID, dict[date, LevelCounts]] = {}
    for (version_id, day), each in counts.items():
        start = _begin(day, period)
        total.add(each)
        together.setdefault(start, LevelCounts()).add(each)
        by_version.setdefault(version_id, {}).setdefault(start, LevelCounts()).add(each)
    return RatingHistory(
        blind=blind,
        total=summarise(total, scale, blind),
        points=_list_points(together, scale, blind),
        by_version={
            version_id: points
            for version_id, periods in by_version.items()
            if (points := _list_points(periods, scale, blind))
        },
    )


def _list_points(periods: Mapping[date, LevelCounts], scale: ScaleFacts, blind: Blind) -> tuple[Point, ...]:
    points = (Point(start, summarise(counts, scale, blind)) for start, counts in sorted(periods.items()))
    return tuple(point for point in points if point.ratings.n_ratings)


def _begin(day: date, period: Period) -> date:
    if period == Period.WEEK:
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if period == Period.MONTH else day
