"""How often something may happen: one row for each limited thing, right across processes and machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from django.db.models import F
from django.db.models.functions import Greatest, Now

from accounts.models import RateBucket

_LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SHORTEST_WAIT_SECONDS: Final = 0.001


def take(key: str, *, rate_per_minute: float, burst: int) -> float:
    """Take one permission if there is one; granting and counting are one statement.

    Time is the database's, so that machines whose clocks differ agree. Refusals are not counted. Inside a
    transaction the permission is taken only when that commits, and others who ask for it wait.

    Args:
        key: What is limited, at most 200 characters; buckets appear as they are asked for.
        rate_per_minute: How many are granted in the long run; above zero.
        burst: How many are granted at once after a rest; at least 1.

    Returns:
        0.0 when granted, else the seconds until asking again can succeed.

    Source: the generic cell rate algorithm, ITU-T I.371.
    """
    if rate_per_minute <= 0 or burst < 1:
        raise ValueError("A rate must be above zero and a burst at least one.")
    interval = timedelta(minutes=1) / rate_per_minute
    tolerance = interval * (burst - 1)
    if _grant(key, interval, tolerance):
        return 0.0
    # Waits are common, missing rows are not: look first, so that a refusal writes nothing.
    wait = _get_wait(key, tolerance)
    if wait is not None and wait > _SHORTEST_WAIT_SECONDS:
        return wait
    # There is no row, or it was made by somebody else since we looked.
    RateBucket.objects.bulk_create([RateBucket(key=key, arrival_at=_LONG_AGO)], ignore_conflicts=True)
    if _grant(key, interval, tolerance):
        return 0.0
    return _get_wait(key, tolerance) or _SHORTEST_WAIT_SECONDS


def give_back(key: str, *, rate_per_minute: float) -> None:
    """Undo one `take` that turned out not to count, such as a right password among guesses."""
    interval = timedelta(minutes=1) / rate_per_minute
    RateBucket.objects.filter(key=key).update(arrival_at=F("arrival_at") - interval)


def purge_buckets() -> int:
    """Delete the buckets that are full again, which is the same as never having asked; return how many."""
    n_deleted, _by_model = RateBucket.objects.filter(arrival_at__lt=Now()).delete()
    return n_deleted


def _grant(key: str, interval: timedelta, tolerance: timedelta) -> bool:
    due = RateBucket.objects.filter(key=key, arrival_at__lte=Now() + tolerance)
    return due.update(arrival_at=Greatest(F("arrival_at"), Now()) + interval) == 1


def _get_wait(key: str, tolerance: timedelta) -> float | None:
    row = RateBucket.objects.filter(key=key).values_list("arrival_at", Now()).first()
    if row is None:
        return None
    arrival_at, now = row
    wait: timedelta = arrival_at - tolerance - now
    return max(wait.total_seconds(), _SHORTEST_WAIT_SECONDS)
