"""The admin's page that tells how the task queue stands; it changes nothing."""

from __future__ import annotations

from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from django_q.status import Stat

from accounts.models import User
from accounts.permissions import can
from generations.choices import Status
from generations.models import Attempt, Generation, OutputImage
from mayagen.common.admin_pages import head_page

_RIGHT = "generations.change_run"


@require_safe
def show_queue_status(request: HttpRequest) -> HttpResponse:
    """Show clusters, workers and what waits for them, to those who launch runs."""
    if not can(cast("User", request.user), _RIGHT):
        raise PermissionDenied
    is_fragment = request.headers.get("HX-Request") == "true"
    if is_fragment:
        return TemplateResponse(request, "admin/_queue_status.html", _describe())
    context = {**head_page(request, "Task queue"), **_describe()}
    return TemplateResponse(request, "admin/queue_status.html", context)


def _describe() -> dict[str, Any]:
    now = timezone.now()
    by_status = dict(Generation.objects.current().values_list("status").annotate(n=Count("*")).order_by())
    oldest = Generation.objects.due(Now()).order_by("due_at").values_list("due_at", flat=True).first()
    clusters = [
        {
            "host": stat.host,
            "process": stat.pid,
            "status": stat.status,
            "n_workers": len(stat.workers),
            "n_waiting": stat.task_q_size,
            "started_at": stat.tob,
            "beat_ms": max(0, round((now - stat.timestamp).total_seconds() * 1000)),
        }
        for stat in Stat.get_all()
    ]
    return {
        "clusters": clusters,
        "n_workers": sum(cluster["n_workers"] for cluster in clusters),
        "statuses": [(status, by_status.get(status.value, 0)) for status in Status],
        "oldest_due_at": oldest,
        "n_calls": Attempt.objects.in_flight().count(),
        "n_abandoned": Generation.objects.abandoned(Now()).count(),
        "n_unprepared": OutputImage.objects.unprepared().count(),
        "now": now,
    }
