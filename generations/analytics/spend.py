"""What generations cost: by run, version, model, person and month."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from django.db.models import Count, DecimalField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce, Round

from accounts.models import User
from accounts.permissions import can
from generations.choices import Source
from generations.models import Generation, MonthlySpend, Run
from prompts.models import ImageModel, PromptVersion

_MONEY: Final = DecimalField(max_digits=16, decimal_places=6)
_BOOKED: Final = Q(reserved_usd__isnull=True, cost_usd__isnull=False)


class GroupBy(StrEnum):
    """What the sums are made by."""

    RUN = "run"
    VERSION = "version"
    MODEL = "model"
    USER = "user"
    MONTH = "month"


_COLUMNS: Final = {
    GroupBy.RUN: "run",
    GroupBy.VERSION: "prompt_version",
    GroupBy.MODEL: "image_model",
    GroupBy.USER: "created_by",
}


@dataclass(frozen=True, slots=True)
class Window:
    """Which generations count: those made from one moment on and before another; None is no bound."""

    after: datetime | None = None
    before: datetime | None = None

    def keep(self, field: str) -> Q:
        """Return the condition on a field that holds the moment."""
        since = Q(**{f"{field}__gte": self.after}) if self.after else Q()
        return since & Q(**{f"{field}__lt": self.before}) if self.before else since

    def keep_months(self) -> Q:
        """Return the condition for months that lie in it with their first day."""
        since = Q(month__gte=self.after.date()) if self.after else Q()
        return since & Q(month__lt=self.before.date()) if self.before else since


def list_spend(*, actor: User, group_by: GroupBy, window: Window) -> QuerySet[Any]:
    """Return what money was spent on or is reserved for, each row with its sums; one query.

    Args:
        actor: Who asks; what they may not see is left out.
        group_by: Gives runs, prompt versions, image models, people, or rows of the installation's ledger.
        window: Which generations count; of months, which months.

    Returns:
        Rows with `n_generations` (those paid), `spent_usd` and `held_usd`, the part still reserved.
    """
    if group_by is GroupBy.MONTH:
        months = MonthlySpend.objects.visible_to(actor).filter(window.keep_months(), user__isnull=True)
        return months.annotate(
            n_generations=F("booked_generations"), spent_usd=F("booked_usd"), held_usd=F("reserved_usd")
        )
    column = _COLUMNS[group_by]
    paid = Generation.objects.filter(
        window.keep("created_at"),
        Q(cost_usd__isnull=False) | Q(reserved_usd__isnull=False),
        source=Source.ENGINE,
        **{column: OuterRef("pk")},
    ).order_by()
    groups = paid.values(column)
    rows: QuerySet[Any] = _list_rows(actor, group_by).filter(Exists(paid))
    summed: QuerySet[Any] = rows.annotate(
        n_generations=Subquery(groups.annotate(n=Count("pk", filter=_BOOKED)).values("n")),
        spent_usd=_sum(groups, "cost_usd"),
        held_usd=_sum(groups, "reserved_usd"),
    )
    return summed


def _sum(groups: QuerySet[Any, Any], name: str) -> Round:
    total = Subquery(groups.annotate(sum=Sum(name)).values("sum"), output_field=_MONEY)
    return Round(Coalesce(total, Decimal(0), output_field=_MONEY), precision=6, output_field=_MONEY)


def _list_rows(actor: User, group_by: GroupBy) -> QuerySet[Any]:
    if group_by is GroupBy.RUN:
        return Run.objects.visible_to(actor)
    if group_by is GroupBy.VERSION:
        return PromptVersion.objects.visible_to(actor).select_related("prompt")
    if group_by is GroupBy.MODEL:
        return ImageModel.objects.visible_to(actor)
    # Who may not list people still sees who launched what, by name only.
    return User.objects.all() if can(actor, "generations.view_quota") else User.objects.none()


def get_name(row: Any) -> str:
    """Return what a row is called in lists of spending; of people never the address."""
    if isinstance(row, User):
        return row.name
    return f"{row.month:%Y-%m}" if isinstance(row, MonthlySpend) else str(row)
