"""The admin's forms of reviewing."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.models import User
from accounts.roles import ADMIN, EVALUATOR
from evaluations.models import Criterion, ReviewQueue
from evaluations.services.criteria import NewLevel

_LEVELS_HELP = "One level in each line, lowest first, as NAME: description."


def parse_levels(text: str) -> list[NewLevel]:
    """Return the levels that the lines of a text describe, numbered from 1."""
    lines = [line for line in text.splitlines() if line.strip()]
    parts = [line.partition(":") for line in lines]
    return [
        NewLevel(number, name.strip(), description.strip())
        for number, (name, _, description) in enumerate(parts, start=1)
    ]


class CriterionForm(forms.ModelForm):
    """A criterion; typing levels makes its next scale."""

    levels = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 6}), help_text=_LEVELS_HELP, max_length=5_000
    )

    class Meta:
        model = Criterion
        fields = ("name", "slug", "description", "is_active")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if kwargs.get("instance") is None or "levels" not in self.fields:
            return
        self.fields["levels"].label = "New scale"
        self.fields["levels"].required = False
        self.fields[
            "levels"
        ].help_text = (
            f"{_LEVELS_HELP} Leave it empty to keep the scale; earlier ratings keep theirs in any case."
        )

    def clean_levels(self) -> list[NewLevel]:
        """Return the levels that were typed."""
        return parse_levels(self.cleaned_data["levels"])


class ReviewQueueForm(forms.ModelForm):
    """A queue."""

    class Meta:
        model = ReviewQueue
        fields = (
            "name",
            "instructions",
            "criterion",
            "overlap",
            "is_blind",
            "is_active",
            "prompts",
            "runs",
            "datasets",
            "evaluators",
            "held_lease_seconds",
            "shown_lease_seconds",
        )


class ExclusionForm(forms.Form):
    """Why a rating is set aside."""

    reason = forms.CharField(max_length=200, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}))


def list_raters() -> QuerySet[User]:
    """Return the people who can be chosen for a queue, by name."""
    able = User.objects.get_queryset().active().filter(groups__name__in=[ADMIN, EVALUATOR])
    return able.distinct().order_by("name", "email")
