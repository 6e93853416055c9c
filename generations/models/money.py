"""What may be spent in a month, and what is: quotas, and the ledger that they are held against."""

from __future__ import annotations

from decimal import Decimal

from django.db import models
from django.db.models import Q

from accounts.models import User
from generations.models.generations import Generation
from generations.models.runs import Run
from generations.querysets import MonthlySpendQuerySet, QuotaQuerySet
from mayagen.common.models import UUIDModel


class Quota(UUIDModel):
    """How much one person, or without `user` the whole installation, may spend in each month, in UTC.

    A limit that is null limits nothing. Generations of free models are outside of all quotas.
    """

    user = models.OneToOneField(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="quota", verbose_name="person"
    )
    limit_generations = models.PositiveIntegerField(null=True, blank=True)
    limit_usd = models.DecimalField(max_digits=12, decimal_places=2, null=True, blank=True)

    objects = QuotaQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                models.Case(models.When(user__isnull=True, then=1), output_field=models.IntegerField()),
                name="quota_of_installation_unique",
            ),
            models.CheckConstraint(
                condition=Q(limit_usd__isnull=True) | Q(limit_usd__gte=0), name="quota_limit_not_negative"
            ),
        )

    def __str__(self) -> str:
        return "Installation" if self.user is None else (self.user.name or "Somebody without a name")


class OpenCharge(models.Model):
    """A generation of a run with a ceiling whose money `Run.settled_usd` does not hold yet.

    Made when the generation begins, removed once what it cost is settled and added there; changed with the
    run's row locked.
    """

    generation = models.OneToOneField(
        Generation, primary_key=True, on_delete=models.CASCADE, related_name="open_charge"
    )
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return f"Charge {str(self.pk)[-12:]}"


class MonthlySpend(UUIDModel):
    """What one person, or without `user` the whole installation, has reserved and spent in one month, in UTC.

    Changed by relative updates only, in the transaction that changes `reserved_usd` or `cost_usd` of
    generations made in that month; so it always equals a recount of them.
    """

    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    month = models.DateField(help_text="Its first day.")
    reserved_generations = models.PositiveIntegerField(default=0)
    booked_generations = models.PositiveIntegerField(default=0)
    reserved_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)
    booked_usd = models.DecimalField(max_digits=16, decimal_places=6, default=0)

    objects = MonthlySpendQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["user", "month"], name="monthly_spend_user_unique"),
            models.UniqueConstraint(
                fields=["month"], condition=Q(user__isnull=True), name="monthly_spend_installation_unique"
            ),
            models.CheckConstraint(condition=Q(month__day=1), name="monthly_spend_month_is_first_day"),
            models.CheckConstraint(
                condition=Q(reserved_generations__gte=0) & Q(booked_generations__gte=0),
                name="monthly_spend_generations_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(reserved_usd__gte=0) & Q(booked_usd__gte=0), name="monthly_spend_usd_not_negative"
            ),
        )

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"

    @property
    def used_generations(self) -> int:
        """How many count against a quota."""
        return self.reserved_generations + self.booked_generations

    @property
    def used_usd(self) -> Decimal:
        """How much counts against a quota."""
        return self.reserved_usd + self.booked_usd
