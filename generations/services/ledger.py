"""What is reserved and spent, by person and month: taken when work is made, settled when it ends.

Every verb here runs inside its caller's transaction, as the last thing in it, and takes the ledger's rows in
one order: so two of them never wait for each other in a ring, and nobody waits long for the busiest row.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import DecimalField, Exists, F, OuterRef, Q, Subquery, Sum
from django.db.models.functions import Round

from generations.analytics.quotas import get_month
from generations.choices import FINAL_STATUSES, ErrorCode, Status
from generations.models import Attempt, Generation, MonthlySpend, Quota
from generations.querysets import GenerationQuerySet
from generations.services.run_money import reopen_charges
from mayagen.common.errors import ConflictError

_BATCH: Final = 500
_FACTS: Final = ("id", "created_by_id", "created_at", "reserved_usd", "cost_usd")


class QuotaExceededError(ConflictError):
    """A monthly quota leaves too little for all that was asked for, so nothing was made."""

    code = "quota_exceeded"
    sentence = "A monthly quota leaves too little for this."


@dataclass(frozen=True, slots=True)
class Account:
    """One month of one person, or without `user_id` of the whole installation."""

    user_id: uuid.UUID | None
    month: date

    @classmethod
    def of(cls, user_id: uuid.UUID | None, moment: datetime) -> Account:
        """Return the account of what the person asked for at that moment; months are UTC's."""
        return cls(user_id, get_month(moment))

    def list_charged(self) -> list[Account]:
        """Return this account and the installation's, which everything counts on too."""
        installation = Account(None, self.month)
        return [installation] if self == installation else [self, installation]

    @property
    def order(self) -> tuple[bool, str, date]:
        """The order in which rows are locked: the installation's, which all share, comes last."""
        return self.user_id is None, str(self.user_id), self.month

    @property
    def where(self) -> Q:
        """What finds the account's row."""
        owner = Q(user__isnull=True) if self.user_id is None else Q(user=self.user_id)
        return owner & Q(month=self.month)


@dataclass(frozen=True, slots=True)
class Entry:
    """The end of one generation, for the ledger.

    Args:
        account: Of the person who asked for it.
        reserved_usd: What was held back for it and no longer is; None when nothing was.
        cost_usd: What is spent on it; None when nothing is.
    """

    account: Account
    reserved_usd: Decimal | None
    cost_usd: Decimal | None


@dataclass(slots=True)
class _Change:
    reserved_generations: int = 0
    booked_generations: int = 0
    reserved_usd: Decimal = Decimal(0)
    booked_usd: Decimal = Decimal(0)

    def add(self, entry: Entry) -> None:
        if entry.reserved_usd is not None:
            self.reserved_generations -= 1
            self.reserved_usd -= entry.reserved_usd
        if entry.cost_usd is not None:
            self.booked_generations += 1
            self.booked_usd += entry.cost_usd

    def as_update(self) -> dict[str, Any]:
        return {
            "reserved_generations": F("reserved_generations") + self.reserved_generations,
            "booked_generations": F("booked_generations") + self.booked_generations,
            "reserved_usd": _exact(F("reserved_usd") + self.reserved_usd),
            "booked_usd": _exact(F("booked_usd") + self.booked_usd),
        }


def _exact(amount: Any) -> Round:
    """Return the sum to the last digit that is kept: SQLite adds decimals as floating point numbers."""
    return Round(amount, precision=6, output_field=DecimalField(max_digits=16, decimal_places=6))


def reserve(*, account: Account, prices: Sequence[Decimal]) -> None:
    """Hold back the prices of generations about to be made, against both quotas, or refuse them all.

    Args:
        account: Of the person who asks, in the month of the generations' `created_at`.
        prices: Of the generations whose model is not free, each as it stands in their `reserved_usd`.

    Raises:
        QuotaExceededError: The person's quota or the installation's leaves too little.
    """
    if not prices:
        return
    quotas = {quota.user_id: quota for quota in Quota.objects.of(account.user_id)}
    change = _Change(reserved_generations=len(prices), reserved_usd=sum(prices, start=Decimal(0)))
    for charged in account.list_charged():
        if not _take(charged, quotas.get(charged.user_id), change):
            raise _make_refusal(charged, quotas[charged.user_id], change)


def lock_accounts(accounts: Iterable[Account]) -> None:
    """Lock these accounts, and the installation's, before several verbs of one transaction touch them."""
    charged = {each for account in accounts for each in account.list_charged()}
    for account in sorted(charged, key=lambda each: each.order):
        MonthlySpend.objects.filter(account.where).select_for_update().first()


def _take(account: Account, quota: Quota | None, change: _Change) -> bool:
    """Reserve if the quota allows it; the statement that checks is the one that writes."""
    allowed = MonthlySpend.objects.filter(account.where)
    if quota is not None and quota.limit_generations is not None:
        room = quota.limit_generations - change.reserved_generations
        allowed = allowed.filter(reserved_generations__lte=room - F("booked_generations"))
    if quota is not None and quota.limit_usd is not None:
        room_usd = quota.limit_usd - change.reserved_usd
        allowed = allowed.filter(reserved_usd__lte=_exact(room_usd - F("booked_usd")))
    if allowed.update(**change.as_update()):
        return True
    # A month's row is made when it is first needed, which is rare: so only after nothing was found.
    if MonthlySpend.objects.filter(account.where).exists():
        return False
    open_account(account)
    return bool(allowed.update(**change.as_update()))


def open_account(account: Account) -> None:
    """Make the account's row, unless somebody has."""
    row = MonthlySpend(user_id=account.user_id, month=account.month)
    MonthlySpend.objects.bulk_create([row], ignore_conflicts=True)


def _make_refusal(account: Account, quota: Quota, asked: _Change) -> QuotaExceededError:
    spend = MonthlySpend.objects.get(account.where)
    whose = "The installation's quota" if account.user_id is None else "Your quota"
    facts: dict[str, Any] = {
        "quota": "installation" if account.user_id is None else "user",
        "month": f"{account.month:%Y-%m}",
    }
    left = None if quota.limit_generations is None else quota.limit_generations - spend.used_generations
    if left is not None and left < asked.reserved_generations:
        amounts = f"{max(left, 0):,} generations", f"{asked.reserved_generations:,}"
        facts |= {"left_generations": max(left, 0), "asked_generations": asked.reserved_generations}
    else:
        left_usd = max((quota.limit_usd or Decimal(0)) - spend.used_usd, Decimal(0))
        amounts = format_usd(left_usd), format_usd(asked.reserved_usd)
        facts |= {"left_usd": str(left_usd), "asked_usd": str(asked.reserved_usd)}
    return QuotaExceededError(
        f"{whose} for {account.month:%B %Y} has {amounts[0]} left, and this asks for {amounts[1]}.",
        extra=facts,
    )


def format_usd(amount: Decimal) -> str:
    """Return an amount with the cents, and as many further digits as it has."""
    text = f"{amount:,.6f}".rstrip("0")
    whole, _, cents = text.partition(".")
    return f"${whole}.{cents:0<2}"


def book(entries: Iterable[Entry]) -> None:
    """Write the ends of generations into the ledger: one statement for each account.

    The caller has set their `reserved_usd` to null and their `cost_usd`, in this transaction and under a
    condition that lets it happen once.
    """
    changes: defaultdict[Account, _Change] = defaultdict(_Change)
    for entry in entries:
        if entry.reserved_usd is not None or entry.cost_usd is not None:
            for account in entry.account.list_charged():
                changes[account].add(entry)
    for account in sorted(changes, key=lambda each: each.order):
        change = changes[account].as_update()
        if not MonthlySpend.objects.filter(account.where).update(**change):
            open_account(account)
            MonthlySpend.objects.filter(account.where).update(**change)


@transaction.atomic
def settle(generations: GenerationQuerySet) -> None:
    """Release what is held back for those that have ended, and book what they cost.

    Nothing happens to those that have not, for which a call is still under way, or of whose call nobody
    knows the outcome; what a call cost that was cancelled before its images were kept is spent.
    """
    book(release_ended(generations))


def release_ended(generations: GenerationQuerySet) -> list[Entry]:
    """Do all of `settle` but write the ledger, and return what has to be booked in this transaction."""
    attempts = Attempt.objects.filter(generation=OuterRef("pk")).order_by()
    ended = generations.filter(status__in=FINAL_STATUSES, reserved_usd__isnull=False)
    known = ended.exclude(status=Status.FAILED, error_code=ErrorCode.OUTCOME_UNKNOWN)
    paid = attempts.values("generation").annotate(sum=_exact(Sum("cost_usd"))).values("sum")
    rows = _lock(known.filter(~Exists(attempts.in_flight())).annotate(paid=Subquery(paid)), "paid")
    for pk, _, _, _, cost_usd, paid_usd in rows:
        if cost_usd is None and paid_usd is not None:
            Generation.objects.filter(pk=pk).update(cost_usd=paid_usd)
    for ids in _in_batches([row[0] for row in rows]):
        Generation.objects.filter(pk__in=ids).update(reserved_usd=None)
    return [
        Entry(Account.of(user_id, created_at), reserved_usd, paid_usd if cost_usd is None else cost_usd)
        for _, user_id, created_at, reserved_usd, cost_usd, paid_usd in rows
    ]


@transaction.atomic
def settle_unknown(generations: GenerationQuerySet, *, is_paid: bool) -> int:
    """Decide about the money of calls whose outcome nobody knows, and return how many there were.

    Args:
        generations: Of these, those that still have money at risk.
        is_paid: Book what was held back as their cost, or take it that nothing was charged.
    """
    rows = _lock(generations.at_risk())
    for ids in _in_batches([row[0] for row in rows]):
        cost = F("reserved_usd") if is_paid else F("cost_usd")
        Generation.objects.filter(pk__in=ids).update(cost_usd=cost, reserved_usd=None)
    book(
        Entry(Account.of(user_id, created_at), reserved_usd, reserved_usd if is_paid else None)
        for _, user_id, created_at, reserved_usd, _ in rows
    )
    return len(rows)


def release_late(costs: Mapping[uuid.UUID, Decimal | None]) -> list[Entry]:
    """Give generations that have ended before the cost of what a provider delivered all the same.

    What is still held back for them is released. Telling the same cost again changes nothing, nor does
    telling one for what was counted as spent before. Returns what has to be booked in this transaction.
    """
    entries = []
    reopen_charges(Generation.objects.filter(pk__in=costs, reserved_usd=None, cost_usd=None))
    for pk, user_id, created_at, reserved_usd, known_usd in _lock(Generation.objects.filter(pk__in=costs)):
        is_booked = reserved_usd is None and known_usd is not None
        cost_usd = costs[pk] if known_usd is None else known_usd
        Generation.objects.filter(pk=pk).update(reserved_usd=None, cost_usd=cost_usd)
        account = Account.of(user_id, created_at)
        entries.append(Entry(account, reserved_usd, None if is_booked else cost_usd))
    return entries


def _lock(generations: GenerationQuerySet, *further: str) -> list[tuple[Any, ...]]:
    rows = generations.order_by("id").select_for_update(of=("self",))
    return list(rows.values_list(*_FACTS, *further))


def _in_batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
