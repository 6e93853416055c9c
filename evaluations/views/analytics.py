"""The admin's page of analytics: how the versions of a prompt are rated."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, cast

from django import forms
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db.models import Case, Subquery, Value, When
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts.models import User
from accounts.permissions import can
from evaluations.analytics import charts
from evaluations.analytics.history import (
    Period,
    Point,
    TimeZoneUnknownError,
    get_time_zone,
    get_version_histories,
)
from evaluations.analytics.performance import (
    VersionPerformance,
    choose_comparisons,
    compare_versions,
    list_performance,
    list_versions,
)
from evaluations.analytics.scopes import DEFAULT_CRITERION, Blind, ScaleFacts, Scope, get_scale
from evaluations.models import Criterion, Rating
from mayagen.common.admin_pages import head_page
from prompts.models import Prompt
from prompts.querysets import PromptQuerySet

N_VERSIONS_SHOWN = 30
# Days at the ends of the calendar lie in none of it in another time zone.
_SOME_YEAR = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2200, 1, 1)))


class AnalyticsForm(forms.Form):
    """What the page shows; all of it stands in the address."""

    prompt = forms.ModelChoiceField(Prompt.objects.none(), empty_label=None)
    criterion = forms.ModelChoiceField(Criterion.objects.none(), to_field_name="slug", empty_label=None)
    blind = forms.ChoiceField(
        label="Ratings",
        choices=[
            (Blind.AUTO.value, "Blind, if there are any"),
            (Blind.BLIND.value, "Blind only"),
            (Blind.OPEN.value, "Open only"),
            (Blind.ALL.value, "All"),
        ],
    )
    period = forms.ChoiceField(label="Over time by", choices=[(each.value, each.value) for each in Period])
    rated_from = forms.DateField(
        required=False, widget=forms.DateInput({"type": "date"}), validators=_SOME_YEAR
    )
    rated_to = forms.DateField(
        required=False, widget=forms.DateInput({"type": "date"}), validators=_SOME_YEAR
    )
    time_zone = forms.CharField(max_length=64)

    def __init__(self, data: dict[str, Any], *, prompts: PromptQuerySet, actor: User) -> None:
        super().__init__(data)
        choices: dict[str, Any] = {
            "prompt": prompts.order_by("name", "pk"),
            "criterion": Criterion.objects.visible_to(actor).order_by("name"),
        }
        for name, rows in choices.items():
            cast("forms.ModelChoiceField", self.fields[name]).queryset = rows
        for field in self.fields.values():
            field.widget.attrs["class"] = "mg-input"

    def clean_time_zone(self) -> tzinfo:
        """Return the time zone of that name."""
        try:
            return get_time_zone(self.cleaned_data["time_zone"])
        except TimeZoneUnknownError as error:
            raise forms.ValidationError(error.message) from None


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A version with what is drawn of it."""

    facts: VersionPerformance
    url: str
    interval: SafeString
    distribution: SafeString


@require_safe
def show_analytics(request: HttpRequest) -> HttpResponse:
    """Show how the versions of a prompt are rated, compared, and over time."""
    actor = cast("User", request.user)
    if not can(actor, "evaluations.view_analytics"):
        raise PermissionDenied
    prompts = Prompt.objects.visible_to(actor).alive()
    context = {
        **head_page(request, "Analytics"),
        "may_add_prompt": can(actor, "prompts.add_prompt"),
    }
    if "prompt" not in request.GET and (default := _choose_prompt(prompts)):
        context["default_prompt"] = default
    given = {name: request.GET[name] for name in AnalyticsForm.base_fields if name in request.GET}
    defaults = {
        "prompt": str(context["default_prompt"].pk) if "default_prompt" in context else "",
        "criterion": DEFAULT_CRITERION,
        "blind": Blind.AUTO.value,
        "period": Period.WEEK.value,
        "time_zone": "UTC",
    }
    form = AnalyticsForm({**defaults, **given}, prompts=prompts, actor=actor)
    context["form"] = form
    context["has_prompts"] = bool(given.get("prompt") or defaults["prompt"])
    if context["has_prompts"] and form.is_valid():
        context.update(_analyse(form.cleaned_data, actor))
    return TemplateResponse(request, "admin/evaluations/analytics.html", context)


def _choose_prompt(prompts: PromptQuerySet) -> Prompt | None:
    """Return the prompt that was rated last, else the newest one."""
    last_rated = Subquery(Rating.objects.order_by("-pk").values("prompt_version__prompt")[:1])
    is_rated = Case(When(pk=last_rated, then=Value(1)), default=Value(0))
    return prompts.order_by(is_rated.desc(), "-pk").first()


def _analyse(wanted: dict[str, Any], actor: User) -> dict[str, Any]:
    zone: tzinfo = wanted["time_zone"]
    scope = Scope(
        prompt_id=wanted["prompt"].pk,
        rated_after=_begin(wanted["rated_from"], zone),
        rated_before=_begin(wanted["rated_to"] and wanted["rated_to"] + timedelta(days=1), zone),
        blind=Blind(wanted["blind"]),
    )
    scale = get_scale(wanted["criterion"].slug)
    versions = list_versions(actor=actor, scope=scope).order_by("-number")[: N_VERSIONS_SHOWN + 1]
    facts = list_performance(list(versions), scope=scope, scale=scale)
    shown = facts[:N_VERSIONS_SHOWN]
    histories = get_version_histories(scope=scope, scale=scale, period=Period(wanted["period"]), zone=zone)
    pairs = choose_comparisons(shown)
    return {
        "prompt": wanted["prompt"],
        "scale": scale,
        "rows": [_draw_version(row, scale) for row in shown],
        "are_versions_cut": len(facts) > N_VERSIONS_SHOWN,
        "comparisons": [compare_versions(before, after, scale) for before, after in pairs],
        "used": shown[0].ratings.blind.value if shown else "",
        "has_ratings": any(row.ratings.n_ratings for row in shown),
        "n_left_out": sum(row.ratings.n_left_out for row in shown),
        "best_name": scale.levels[scale.highest],
        "worst_name": scale.levels[scale.lowest],
        "level_legend": [
            (charts.get_level_colour(position, len(scale.levels)), name)
            for position, name in enumerate(scale.levels.values())
        ],
        **_draw_histories(histories, shown, scale),
        "api_url": f"{reverse('prompt-performance-list')}?{_api_query(scope, scale)}",
    }


def _draw_version(row: VersionPerformance, scale: ScaleFacts) -> VersionRow:
    return VersionRow(
        facts=row,
        url=reverse("admin:prompts_promptversion_change", args=[row.version.pk]),
        interval=charts.draw_interval(row.ratings.mean, scale),
        distribution=charts.draw_distribution(row.ratings.levels),
    )


def _draw_histories(
    histories: Mapping[uuid.UUID, tuple[Point, ...]], rows: list[VersionPerformance], scale: ScaleFacts
) -> dict[str, Any]:
    """Return the lines of the versions that were rated most, newest first, with legend and numbers."""
    rated = [row for row in rows if row.version.pk in histories]
    most = sorted(rated, key=lambda row: row.ratings.n_ratings, reverse=True)[: charts.MAX_LINES]
    lines = [
        charts.Line(row.name, histories[row.version.pk])
        for row in sorted(most, key=lambda row: row.version.number, reverse=True)
    ]
    return {
        "lines": lines,
        "are_lines_cut": len(rated) > len(lines),
        "line_chart": charts.draw_lines(
            lines, scale, name="Mean rating of each version over time; the numbers follow in a table."
        ),
        "line_legend": [
            (charts.draw_marker(position), line.name) for position, line in enumerate(lines, start=1)
        ],
    }


def _begin(day: date | None, zone: tzinfo) -> datetime | None:
    return datetime.combine(day, time.min, tzinfo=zone) if day else None


def _api_query(scope: Scope, scale: ScaleFacts) -> str:
    """Return the query string under which the API gives the same numbers."""
    moments = {"rated_after": scope.rated_after, "rated_before": scope.rated_before}
    return urlencode(
        {
            "prompt": str(scope.prompt_id),
            "criterion": scale.criterion_slug,
            "blind": scope.blind.value,
            **{
                name: f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
                for name, moment in moments.items()
                if moment
            },
        }
    )
