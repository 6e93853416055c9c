"""What this app adds to the pages of prompts, versions and generations: how they are rated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast
from uuid import UUID

from django.http import HttpRequest
from django.template.loader import render_to_string

from accounts.models import User
from accounts.permissions import can
from evaluations.analytics import charts
from evaluations.analytics.overview import list_ratings_of
from evaluations.analytics.performance import summarise_versions
from evaluations.analytics.scopes import get_scale
from generations.admin.shared import GenerationPanel, add_generation_panel
from generations.models import Generation
from prompts.admin.shared import VersionColumn, add_version_column


def describe_versions(version_ids: Sequence[UUID]) -> Mapping[UUID, str]:
    """Return mean, interval and distribution of each version that is rated; three queries."""
    scale = get_scale()
    return {
        version_id: render_to_string(
            "admin/evaluations/_quality.html",
            {
                "ratings": ratings,
                "interval": charts.draw_interval(ratings.mean, scale),
                "distribution": charts.draw_distribution(ratings.levels),
            },
        )
        for version_id, ratings in summarise_versions(version_ids, scale=scale).items()
        if ratings.n_ratings
    }


def describe_generation(generation: Generation, request: HttpRequest) -> Mapping[str, Any] | None:
    """Return the standing ratings of a generation's images, for those who read ratings."""
    actor = cast("User", request.user)
    if not can(actor, "evaluations.view_rating"):
        return None
    return {"generation": generation, "ratings": list_ratings_of(generation, actor=actor)}


def add_to_other_pages() -> None:
    """Add the column and the panel."""
    add_version_column(VersionColumn("Ratings", describe_versions))
    add_generation_panel(GenerationPanel("admin/evaluations/_generation_ratings.html", describe_generation))
