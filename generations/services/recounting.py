"""Compare the ledger with a recount of the generations, and set it right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, timedelta
from datetime import datetime as moment
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import Round, TruncMonth

from accounts import audit
from generations.choices import Source
from generations.models import Generation, MonthlySpend
from generations.services.ledger import Account, open_account

_RESERVED: Final = Q(reserved_usd__isnull=False)
_BOOKED: Final = Q(reserved_usd__isnull=True, cost_usd__isnull=False)
_FIGURES: Final = ("reserved_generations", "booked_generations", "reserved_usd", "booked_usd")
# By other names than the columns', which would hide these from one another.
_SUMS: Final[Mapping[str, Any]] = {
    "all_reserved_generations": Count("pk", filter=_RESERVED),
    "all_booked_generations": Count("pk", filter=_BOOKED),
    "all_reserved_usd": Round(Sum("reserved_usd", filter=_RESERVED, default=Decimal(0)), precision=6),
    "all_booked_usd": Round(Sum("cost_usd", filter=_BOOKED, default=Decimal(0)), precision=6),
}


@dataclass(frozen=True, slots=True)
class Drift:
    """One figure of the ledger that is not what the generations add up to."""

    account: Account
    figure: str
    stored: Decimal | int
    counted: Decimal | int


def list_drift() -> list[Drift]:
    """Return each figure of the ledger that differs from a recount; two queries.

    While work is launched or ends, a figure may differ because it was counted a moment earlier.
    """
    stored = {
        Account(row.user_id, row.month): {figure: getattr(row, figure) for figure in _FIGURES}
        for row in MonthlySpend.objects.all()
    }
    counted = _count_all()
    nothing = dict.fromkeys(_FIGURES, 0)
    drifts = []
    for account in sorted({*stored, *counted}, key=lambda each: (each.month, each.order)):
        old, new = stored.get(account, nothing), counted.get(account, nothing)
        drifts += [
            Drift(account, figure, old[figure], new[figure])
            for figure in _FIGURES
            if old[figure] != new[figure]
        ]
    return drifts


@transaction.atomic
def repair(account: Account) -> None:
    """Set one account to what its generations add up to.

    Whatever changes them changes the ledger last, so with the account's row locked the count is exact: what
    is not committed yet waits here, and adds itself afterwards.
    """
    row = MonthlySpend.objects.filter(account.where).select_for_update().first()
    if row is None:
        open_account(account)
        row = MonthlySpend.objects.select_for_update().get(account.where)
    before = {figure: str(getattr(row, figure)) for figure in _FIGURES}
    counted = _count(account)
    MonthlySpend.objects.filter(pk=row.pk).update(**counted)
    after = {figure: str(counted[figure]) for figure in _FIGURES}
    audit.record(actor=None, verb="repair_ledger", target=row, before=before, after=after)


def _count(account: Account) -> dict[str, Any]:
    begins_at = moment(account.month.year, account.month.month, 1, tzinfo=UTC)
    ends_at = (begins_at + timedelta(days=31)).replace(day=1)
    rows = _list_accounted().filter(created_at__gte=begins_at, created_at__lt=ends_at)
    if account.user_id is not None:
        rows = rows.filter(created_by=account.user_id)
    sums = rows.aggregate(**_SUMS)
    return {figure: sums[f"all_{figure}"] for figure in _FIGURES}


def _count_all() -> dict[Account, dict[str, Any]]:
    rows = _list_accounted().annotate(month=TruncMonth("created_at", tzinfo=UTC)).order_by()
    counted: defaultdict[Account, dict[str, Any]] = defaultdict(lambda: dict.fromkeys(_FIGURES, 0))
    groups: Iterable[Mapping[str, Any]] = rows.values("created_by", "month").annotate(**_SUMS)
    for row in groups:
        account = Account(row["created_by"], row["month"].date())
        for charged in account.list_charged():
            for figure in _FIGURES:
                counted[charged][figure] += row[f"all_{figure}"]
    return counted


def _list_accounted() -> QuerySet[Generation]:
    return Generation.objects.filter(_RESERVED | _BOOKED, source=Source.ENGINE)
