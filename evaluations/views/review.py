"""The pages of evaluators: their queues, the review page, their own history, and blind images."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.files.storage import default_storage
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.models import User
from accounts.permissions import can
from evaluations.assignment.items import AssignmentFacts
from evaluations.models import Assignment, ReviewQueue
from evaluations.selectors import get_history
from evaluations.services.holding import list_work
from evaluations.services.reviewing import REVIEW
from generations.models import InputImage
from mayagen.common.api import InvalidCursorError

OUTPUT_SLOT: Final = "output"
_INPUT_PREFIX: Final = "input-"


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of an evaluator's own history."""

    queue_name: str
    brief: str
    level: int | None
    level_name: str
    note: str
    flagged: bool
    submitted_at: datetime | None
    thumbnail_url: str
    url: str


@require_safe
@login_required
def list_queues(request: HttpRequest) -> HttpResponse:
    """Show the queues in which the person rates; where there is one only, go there."""
    queues = list_work(actor=_get_evaluator(request))
    if len(queues) == 1:
        return redirect("review:queue", queue_id=queues[0].id)
    return render(request, "evaluations/queue_list.html", {"queues": queues, "evaluator": request.user})


@require_safe
@login_required
def show_queue(request: HttpRequest, queue_id: uuid.UUID) -> HttpResponse:
    """Show the review page; everything on it comes by the API."""
    queue = ReviewQueue.objects.open_to(_get_evaluator(request)).filter(pk=queue_id).first()
    if queue is None:
        raise Http404
    return render(
        request, "evaluations/review_queue.html", {"queue": _describe(queue), "evaluator": request.user}
    )


@require_safe
@login_required
def show_history(request: HttpRequest) -> HttpResponse:
    """Show what the person rated and skipped, newest first."""
    try:
        page = get_history(actor=_get_evaluator(request), cursor=request.GET.get("cursor") or None)
    except InvalidCursorError:
        return redirect("review:history")
    names = dict(
        ReviewQueue.objects.filter(pk__in={facts.queue_id for facts in page.items}).values_list("pk", "name")
    )
    address = reverse("review:history")
    context = {
        "rows": [_describe_row(facts, names[facts.queue_id]) for facts in page.items],
        "older_url": page.older and f"{address}?cursor={page.older}",
        "newer_url": page.newer and f"{address}?cursor={page.newer}",
        "evaluator": request.user,
    }
    return render(request, "evaluations/history.html", context)


@require_safe
@login_required
def send_image(request: HttpRequest, assignment: uuid.UUID, slot: str) -> HttpResponse:
    """Send the blind derivative of an assigned output or input.

    The headers are the same for every image: no name, time or tag that another address also gives.
    """
    own = (
        Assignment.objects.filter(public_id=assignment, evaluator=cast(User, request.user))
        .select_related("output_image")
        .only("output_image__blind", "output_image__generation")
        .first()
    )
    name = own and _find_name(own, slot)
    if not name:
        raise Http404
    try:
        with default_storage.open(name) as file:
            content = file.read()
    except FileNotFoundError:
        raise Http404 from None
    response = HttpResponse(content, content_type="image/jpeg")
    response.headers["Cache-Control"] = "private, max-age=3600, immutable"
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def _find_name(own: Assignment, slot: str) -> str | None:
    if slot == OUTPUT_SLOT:
        return cast(str, own.output_image.blind.name)
    number = slot.removeprefix(_INPUT_PREFIX)
    if number == slot or not (number.isascii() and number.isdigit()) or not 1 <= int(number[:3]) <= 99:  # noqa: PLR2004
        return None
    inputs = InputImage.objects.filter(generation=own.output_image.generation_id).order_by("position")
    names = list(inputs.values_list("blind", flat=True)[int(number[:3]) - 1 : int(number[:3])])
    return names[0] if names else None


def _get_evaluator(request: HttpRequest) -> User:
    actor = cast(User, request.user)
    if not can(actor, REVIEW):
        raise PermissionDenied
    return actor


def _describe(queue: ReviewQueue) -> dict[str, Any]:
    """Return what evaluators may know of a queue: not its filter, which names what it hides."""
    return {"id": queue.pk, "name": queue.name, "instructions": queue.instructions}


def _describe_row(facts: AssignmentFacts, queue_name: str) -> HistoryRow:
    rating = facts.rating
    levels = {each.level: each.name for each in facts.criterion.levels}
    return HistoryRow(
        queue_name=queue_name,
        brief=facts.shown.brief,
        level=rating.level if rating else None,
        level_name=levels.get(rating.level, "") if rating else "",
        note=rating.note if rating else facts.note,
        flagged=rating.is_flagged if rating else facts.is_flagged,
        submitted_at=facts.finished_at,
        thumbnail_url=reverse("review:image", args=[facts.shown.public_id, OUTPUT_SLOT]),
        url=f"{reverse('review:queue', args=[facts.queue_id])}?item={facts.shown.public_id}",
    )
