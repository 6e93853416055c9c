"""How much of the month's quotas is used, and what is left."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal

from django.db.models import F

from accounts.models import User
from generations.models import MonthlySpend, Quota

N_PEOPLE_SHOWN = 100


@dataclass(frozen=True, slots=True)
class Allowance:
    """One person's month, or without `user` the installation's, with the limits that hold for it."""

    user: User | None
    spend: MonthlySpend
    quota: Quota | None

    @property
    def left_generations(self) -> int | None:
        """How many may still be made; None where nothing limits them."""
        limit = self.quota.limit_generations if self.quota else None
        return None if limit is None else max(limit - self.spend.used_generations, 0)

    @property
    def left_usd(self) -> Decimal | None:
        """How much may still be spent; None where nothing limits it."""
        limit = self.quota.limit_usd if self.quota else None
        return None if limit is None else max(limit - self.spend.used_usd, Decimal(0))

    @property
    def percent_generations(self) -> float:
        """How much of the limit on generations is used, up to 100."""
        return _get_percent(self.spend.used_generations, self.quota.limit_generations if self.quota else None)

    @property
    def percent_usd(self) -> float:
        """How much of the limit on money is used, up to 100."""
        return _get_percent(self.spend.used_usd, self.quota.limit_usd if self.quota else None)

    def allows(self, *, n_generations: int, cost_usd: Decimal) -> bool:
        """Return whether as much would still be granted."""
        return (self.left_generations is None or n_generations <= self.left_generations) and (
            self.left_usd is None or cost_usd <= self.left_usd
        )


def _get_percent(used: Decimal | int, limit: Decimal | int | None) -> float:
    if limit is None:
        return 0.0
    return min(100.0, float(100 * used / limit)) if limit else 100.0


def get_month(now: datetime) -> date:
    """Return the first day of the month in which quotas count at that time."""
    return now.astimezone(UTC).date().replace(day=1)


def list_allowances(*, user_id: uuid.UUID, now: datetime) -> list[Allowance]:
    """Return what limits a person this month, their own quota first. Two queries."""
    quotas = Quota.objects.of(user_id).select_related("user").order_by(F("user").asc(nulls_last=True))
    spends = {row.user_id: row for row in MonthlySpend.objects.of(user_id).filter(month=get_month(now))}
    return [Allowance(quota.user, spends.get(quota.user_id) or MonthlySpend(), quota) for quota in quotas]


def list_month(*, now: datetime) -> list[Allowance]:
    """Return the installation's month and those of people who spent in it or have a quota. Two queries.

    The installation comes first, then the people who used most, at most a hundred.
    """
    quotas = {quota.user_id: quota for quota in Quota.objects.select_related("user")}
    spends = {
        row.user_id: row for row in MonthlySpend.objects.filter(month=get_month(now)).select_related("user")
    }
    found = {
        user_id: Allowance(
            spends[user_id].user if user_id in spends else quotas[user_id].user,
            spends.get(user_id) or MonthlySpend(),
            quotas.get(user_id),
        )
        for user_id in {*quotas, *spends}
    }
    installation = found.pop(None, Allowance(None, MonthlySpend(), None))
    people = sorted(found.values(), key=lambda each: (-each.spend.used_usd, str(each.user and each.user.pk)))
    return [installation, *people[:N_PEOPLE_SHOWN]]
