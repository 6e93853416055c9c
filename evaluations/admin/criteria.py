"""Criteria and their scales."""

from __future__ import annotations

from typing import Any, cast

from django import forms
from django.contrib import admin
from django.db.models import Prefetch
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from accounts.models import User
from evaluations.forms import CriterionForm
from evaluations.models import Criterion, Scale
from evaluations.services import criteria
from mayagen.common.admin import ProductModelAdmin


@admin.register(Criterion)
class CriterionAdmin(ProductModelAdmin):
    """Criteria; a new scale takes the place of the old one for new ratings."""

    form = CriterionForm
    list_display = ("name", "slug", "newest_scale", "is_active")
    list_filter = ("is_active",)
    search_fields = ("name", "slug")
    ordering = ("name", "id")
    readonly_fields = ("scales_so_far",)

    def get_queryset(self, request: HttpRequest) -> Any:
        scales = Scale.objects.order_by("-number").prefetch_related("levels")
        return super().get_queryset(request).prefetch_related(Prefetch("scales", queryset=scales))

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = ["name", "slug", "description", "is_active"]
        if obj is not None:
            fields.append("scales_so_far")
        return [*fields, "levels"] if obj is None or self.has_change_permission(request, obj) else fields

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("slug", "scales_so_far") if obj is not None else ("scales_so_far",)

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> Criterion:
        actor, values = cast("User", request.user), form.cleaned_data
        if target is None:
            return criteria.create_criterion(
                actor=actor,
                slug=values["slug"],
                name=values["name"],
                description=values["description"],
                levels=values["levels"],
            )
        changed = criteria.change_criterion(
            actor=actor,
            criterion=target,
            name=values["name"],
            description=values["description"],
            is_active=values["is_active"],
        )
        if values["levels"]:
            criteria.create_scale(actor=actor, criterion=changed, levels=values["levels"])
        return changed

    @display(description="Scale")
    def newest_scale(self, criterion: Criterion) -> str:
        """The levels that new ratings use."""
        newest = next(iter(criterion.scales.all()), None)
        levels = sorted(newest.levels.all(), key=lambda each: each.level) if newest else []
        return " · ".join(f"{each.level} {each.name}" for each in levels)

    @display(description="Scales")
    def scales_so_far(self, criterion: Criterion) -> str:
        """Every scale, newest first."""
        rows = []
        for scale in criterion.scales.all():
            levels = sorted(scale.levels.all(), key=lambda each: each.level)
            items = format_html_join(
                "", "<li>{} {}: {}</li>", ((each.level, each.name, each.description) for each in levels)
            )
            rows.append((scale.number, items))
        return format_html_join("", "<p>Scale {}</p><ul>{}</ul>", rows) or format_html("–")
