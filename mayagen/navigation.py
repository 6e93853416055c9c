"""The admin's sidebar and its search: what each role finds there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from unfold.dataclasses import SearchResult

from accounts.permissions import can

N_FOUND: Final = 6
MAX_SEARCH_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Place:
    """One entry of the sidebar; `right` is what one must hold to go there, empty for everybody inside."""

    title: str
    icon: str
    route: str
    right: str = ""


PLACES: Final[tuple[tuple[str, tuple[Place, ...]], ...]] = (
    (
        "Overview",
        (
            Place("Overview", "home", "admin:index"),
            Place("Task queue", "monitor_heart", "admin:queue-status", "generations.change_run"),
            Place(
                "Provider health",
                "health_and_safety",
                "admin:generations_providerhealth_changelist",
                "generations.view_providerhealth",
            ),
        ),
    ),
    (
        "Prompts",
        (
            Place("Prompts", "edit_note", "admin:prompts_prompt_changelist", "prompts.view_prompt"),
            Place(
                "Versions", "history", "admin:prompts_promptversion_changelist", "prompts.view_promptversion"
            ),
            Place("Image models", "memory", "admin:prompts_imagemodel_changelist", "prompts.view_imagemodel"),
            Place("Provider keys", "key", "admin:prompts_providerkey_changelist", "prompts.view_providerkey"),
        ),
    ),
    (
        "Generations",
        (
            Place("Runs", "play_circle", "admin:generations_run_changelist", "generations.view_run"),
            Place(
                "Generations",
                "photo_library",
                "admin:generations_generation_changelist",
                "generations.view_generation",
            ),
            Place("Datasets", "dataset", "admin:generations_dataset_changelist", "generations.view_dataset"),
        ),
    ),
    (
        "Reviews",
        (
            Place("Review images", "reviews", "review:queue-list", "evaluations.review"),
            Place("Ratings", "star", "admin:evaluations_rating_changelist", "evaluations.view_rating"),
            Place(
                "Review queues",
                "checklist",
                "admin:evaluations_reviewqueue_changelist",
                "evaluations.view_reviewqueue",
            ),
            Place(
                "Assignments",
                "assignment_ind",
                "admin:evaluations_assignment_changelist",
                "evaluations.view_assignment",
            ),
            Place("Criteria", "rule", "admin:evaluations_criterion_changelist", "evaluations.view_criterion"),
        ),
    ),
    (
        "Analytics",
        (
            Place("Analytics", "monitoring", "admin:analytics", "evaluations.view_analytics"),
            Place("Spending", "payments", "admin:spending", "generations.view_quota"),
            Place("Quotas", "savings", "admin:generations_quota_changelist", "generations.view_quota"),
            Place("API", "api", "api-docs"),
        ),
    ),
    (
        "People",
        (
            Place("People", "group", "admin:accounts_user_changelist", "accounts.view_user"),
            Place(
                "Audit trail",
                "policy",
                "admin:accounts_auditentry_changelist",
                "accounts.view_auditentry",
            ),
        ),
    ),
)


def list_navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar's groups with the entries that the user may go to."""
    groups = (
        {"title": title, "separator": False, "items": _list_items(request, places)}
        for title, places in PLACES
    )
    return [group for group in groups if group["items"]]


def find(request: HttpRequest, text: str) -> list[SearchResult]:
    """Return entries of the sidebar, prompts, runs and datasets whose name holds the text, a few of each."""
    text = text.strip()
    if not text or len(text) > MAX_SEARCH_LENGTH or "\x00" in text:
        return []
    found = [
        SearchResult(title=item["title"], description=group["title"], link=item["link"], icon="arrow_forward")
        for group in list_navigation(request)
        for item in group["items"]
        if text.lower() in item["title"].lower()
    ]
    return found + _find_rows(request, text)


def _list_items(request: HttpRequest, places: tuple[Place, ...]) -> list[dict[str, Any]]:
    items = []
    for place in places:
        address = _address(place)
        if address and (not place.right or can(request.user, place.right)):
            is_index = place.route == "admin:index"
            is_here = request.path == address if is_index else request.path.startswith(address)
            items.append({"title": place.title, "icon": place.icon, "link": address, "active": is_here})
    return items


def _address(place: Place) -> str | None:
    try:
        return reverse(place.route)
    except NoReverseMatch:
        return None


def _find_rows(request: HttpRequest, text: str) -> list[SearchResult]:
    from generations.models import Dataset, Run
    from prompts.models import Prompt

    user: Any = request.user
    by_slug = Q(name__icontains=text) | Q(slug__icontains=text)
    kinds: tuple[tuple[QuerySet[Any], str, str], ...] = (
        (Prompt.objects.visible_to(user).alive().filter(by_slug), "Prompt", "prompts_prompt"),
        (Run.objects.visible_to(user).filter(name__icontains=text), "Run", "generations_run"),
        (Dataset.objects.visible_to(user).alive().filter(by_slug), "Dataset", "generations_dataset"),
    )
    return [
        SearchResult(
            title=str(row),
            description=kind,
            link=reverse(f"admin:{route}_change", args=[row.pk]),
            icon="arrow_forward",
        )
        for rows, kind, route in kinds
        for row in rows.order_by("-pk")[:N_FOUND]
    ]
