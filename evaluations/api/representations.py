"""What the review page is given, as plain values; nothing here asks the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from django.urls import reverse

from evaluations.assignment.items import AssignedItem, AssignmentFacts, CriterionFacts
from evaluations.choices import AssignmentState
from generations.media.derivatives import BLIND_CANVAS_PX

_SIDE: Final = {"width": BLIND_CANVAS_PX, "height": BLIND_CANVAS_PX}


def present_facts(facts: AssignmentFacts) -> dict[str, Any]:
    """Return an assignment as the page knows it."""
    return present_item(facts.shown, present_criterion(facts.criterion))


def present_item(item: AssignedItem, criterion: dict[str, Any]) -> dict[str, Any]:
    """Return an item as the page knows it; two outputs of one case differ in random ids and their rating."""
    is_leased = item.state == AssignmentState.LEASED
    rating = item.rating
    return {
        "id": str(item.public_id),
        "state": item.state,
        "brief": item.brief,
        "lease_expires_at": present_time(item.lease_expires_at) if is_leased else None,
        "criterion": criterion,
        "image": {"url": reverse("review:image", args=[item.public_id, "output"]), **_SIDE},
        "inputs": [
            {"url": reverse("review:image", args=[item.public_id, f"input-{n}"]), **_SIDE, "role": role}
            for n, role in enumerate(item.input_roles, start=1)
        ],
        "rating": rating
        and {
            "level": rating.level,
            "note": rating.note,
            "flagged": rating.is_flagged,
            "surplus": rating.is_surplus,
        },
    }


def present_criterion(criterion: CriterionFacts) -> dict[str, Any]:
    """Return the question and its levels."""
    return {
        "id": str(criterion.id),
        "name": criterion.name,
        "description": criterion.description,
        "levels": [
            {"level": each.level, "name": each.name, "description": each.description}
            for each in criterion.levels
        ],
    }


def present_time(moment: datetime) -> str:
    """Return a time as ISO 8601 in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
