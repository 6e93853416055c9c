"""The admin's landing page: what is going on, what waits, and how to begin."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, Final, cast

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_safe

from accounts.models import User
from accounts.permissions import can
from evaluations.analytics import charts, overview
from evaluations.analytics.history import Period, RatingHistory, get_rating_history
from evaluations.analytics.overview import RunState
from evaluations.analytics.scopes import ScaleFacts, Scope, get_scale

CHART_DAYS: Final = 30
_BAR_WIDTH: Final = 400


def add_dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the landing page's context: only what the viewer's role may see."""
    actor = cast("User", request.user)
    now = timezone.now()
    context |= _describe_progress(actor)
    context |= {
        "may_view_generations": can(actor, "generations.view_generation"),
        "may_add_prompt": can(actor, "prompts.add_prompt"),
        "may_add_run": can(actor, "generations.add_run"),
        "may_review": can(actor, "evaluations.review"),
    }
    if can(actor, "generations.view_generation"):
        context["failures"] = overview.list_recent_failures(actor=actor, now=now)
        context["steps"] = overview.get_first_steps()
    if can(actor, "evaluations.view_rating"):
        context["recent_ratings"] = overview.list_recent_ratings(actor=actor)
    if can(actor, "evaluations.view_analytics"):
        context |= _describe_quality(now)
    return context


@require_safe
def show_overview(request: HttpRequest) -> HttpResponse:
    """Send the part of the landing page that follows the work in progress."""
    context = _describe_progress(cast("User", request.user))
    return TemplateResponse(request, "admin/evaluations/_progress.html", context)


def _describe_progress(actor: User) -> dict[str, Any]:
    context: dict[str, Any] = {}
    if can(actor, "generations.view_run"):
        context["running"] = [(state, _draw_progress(state)) for state in overview.list_running(actor=actor)]
    if can(actor, "evaluations.view_reviewqueue"):
        context["unrated"] = overview.count_unrated(actor=actor)
        context["backlog"] = overview.list_backlog(actor=actor)
    return context


def _describe_quality(now: datetime) -> dict[str, Any]:
    scale = get_scale()
    first = datetime.combine(now.astimezone(UTC).date() - timedelta(days=CHART_DAYS - 1), time.min, UTC)
    history = get_rating_history(scope=Scope(rated_after=first), scale=scale, period=Period.DAY)
    return {
        "quality": history,
        "used": history.blind.value,
        "chart_days": CHART_DAYS,
        "quality_chart": _draw_quality(history, scale),
    }


def _draw_quality(history: RatingHistory, scale: ScaleFacts) -> SafeString:
    line = charts.Line("All versions", history.points)
    name = f"Mean rating by day over the last {CHART_DAYS} days. {charts.describe_mean(history.total.mean)}."
    return charts.draw_lines([line], scale, name=name)


def _draw_progress(state: RunState) -> SafeString:
    total = max(1, state.n_total)
    done, ended = (_BAR_WIDTH * n / total for n in (state.n_completed, state.n_ended))
    name = f"{state.n_completed} of {state.n_total} completed, {state.n_ended} failed or cancelled"
    return format_html(
        '<svg class="mg-progress" viewBox="0 0 {0} 8" preserveAspectRatio="none" role="img" aria-label="{1}">'
        '<rect class="mg-done" width="{2}" height="8"/>'
        '<rect class="mg-failed" x="{2}" width="{3}" height="8"/></svg>',
        _BAR_WIDTH, name, f"{done:.1f}", f"{ended:.1f}",
    )  # fmt: skip
