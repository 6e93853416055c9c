"""Quotas, and the page that shows what was spent."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final, cast

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations.analytics.quotas import list_month
from generations.analytics.spend import GroupBy, Window, get_name, list_spend
from generations.models import MonthlySpend, Quota, Run
from generations.services.quotas import change_quota, create_quota
from mayagen.common.admin import ProductModelAdmin
from mayagen.common.admin_pages import head_page
from prompts.models import ImageModel, PromptVersion

N_ROWS_SHOWN: Final = 100
# Days at the ends of the calendar have no neighbours.
_SOME_YEAR: Final = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2200, 1, 1)))
_PAGES: Final = {
    Run: "admin:generations_run_change",
    PromptVersion: "admin:prompts_promptversion_change",
    ImageModel: "admin:prompts_imagemodel_change",
}


@admin.register(Quota)
class QuotaAdmin(ProductModelAdmin):
    """What people and the whole installation may spend in each month."""

    list_display = ("whose", "generations", "dollars", "created_at")
    list_select_related = ("user",)
    fields = ("user", "limit_generations", "limit_usd")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj is None else ("whose", *self.fields[1:])

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else ("whose",)

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change=change, **kwargs)
        if "user" in form.base_fields:
            field = cast("forms.ModelChoiceField", form.base_fields["user"])
            field.empty_label = "The whole installation"
            field.help_text = "Whose quota it is. Those of a person and of the installation hold together."
            # The theme's links to people beside it lead away from what is being set.
            for link in ("can_add_related", "can_change_related", "can_view_related"):
                setattr(field.widget, link, False)
        for name, label in (
            ("limit_generations", "Generations a month"),
            ("limit_usd", "US dollars a month"),
        ):
            if name in form.base_fields:
                form.base_fields[name].label = label
                form.base_fields[name].help_text = "Of a calendar month in UTC. No limit if empty."
        return form

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        return super().render_change_form(request, context, *args, **kwargs)

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> Quota:
        actor, values = cast("User", request.user), form.cleaned_data
        if target is None:
            return create_quota(actor=actor, **values)
        return change_quota(actor=actor, quota=target, **values)

    @display(description="Generations a month", ordering="limit_generations")
    def generations(self, quota: Quota) -> str:
        """How many, if that is limited."""
        return "no limit" if quota.limit_generations is None else f"{quota.limit_generations:,}"

    @display(description="US dollars a month", ordering="limit_usd")
    def dollars(self, quota: Quota) -> str:
        """How much money, if that is limited."""
        return "no limit" if quota.limit_usd is None else f"${quota.limit_usd:,}"

    @display(description="Whose")
    def whose(self, quota: Quota) -> str:
        """The person's name, or that it is everybody's."""
        return str(quota)


class SpendForm(forms.Form):
    """What the page shows; all of it stands in the address."""

    group_by = forms.ChoiceField(
        label="By",
        choices=[
            (GroupBy.RUN.value, "Run"),
            (GroupBy.VERSION.value, "Prompt version"),
            (GroupBy.MODEL.value, "Image model"),
            (GroupBy.USER.value, "Person"),
            (GroupBy.MONTH.value, "Month"),
        ],
    )
    first_day = forms.DateField(
        label="From", required=False, widget=forms.DateInput({"type": "date"}), validators=_SOME_YEAR
    )
    last_day = forms.DateField(
        label="To", required=False, widget=forms.DateInput({"type": "date"}), validators=_SOME_YEAR
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs["class"] = "mg-input"

    def get_window(self) -> Window:
        """Return the days in UTC, both included."""
        first, last = self.cleaned_data["first_day"], self.cleaned_data["last_day"]
        return Window(_begin(first), _begin(last and last + timedelta(days=1)))


@require_safe
def show_spending(request: HttpRequest) -> HttpResponse:
    """Show the month's quotas and what generations cost, by run, version, model, person or month."""
    actor = cast("User", request.user)
    if not can(actor, "generations.view_quota"):
        raise PermissionDenied
    given = {name: request.GET[name] for name in SpendForm.base_fields if name in request.GET}
    form = SpendForm({"group_by": GroupBy.MONTH.value, **given})
    now = timezone.now()
    context = {
        **head_page(request, "Spending"),
        "form": form,
        "month": now,
        "allowances": list_month(now=now),
        "may_set_quotas": can(actor, "generations.add_quota"),
        "rows": _list_rows(actor, form) if form.is_valid() else [],
        "n_rows_shown": N_ROWS_SHOWN,
    }
    return TemplateResponse(request, "admin/generations/spending.html", context)


def _list_rows(actor: User, form: SpendForm) -> list[dict[str, Any]]:
    group_by = GroupBy(form.cleaned_data["group_by"])
    found = list_spend(actor=actor, group_by=group_by, window=form.get_window())
    order = ("-month",) if group_by is GroupBy.MONTH else ("-spent_usd", "-pk")
    return [
        {
            "name": f"{row.month:%B %Y}" if isinstance(row, MonthlySpend) else get_name(row) or "–",
            "url": reverse(_PAGES[type(row)], args=[row.pk]) if type(row) in _PAGES else "",
            "n_generations": row.n_generations,
            "spent_usd": row.spent_usd,
            "held_usd": row.held_usd,
        }
        for row in found.order_by(*order)[:N_ROWS_SHOWN]
    ]


def _begin(day: date | None) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=UTC) if day else None
