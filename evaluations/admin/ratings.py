"""Ratings: read, and set aside with a reason; never changed."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Value
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from evaluations.forms import ExclusionForm
from evaluations.models import Rating
from evaluations.selectors import get_pseudonym
from evaluations.services.rating import exclude_rating
from mayagen.common.admin import ProductModelAdmin, add_refusal
from mayagen.common.errors import DomainError

EXCLUDE = "evaluations.change_assignment"


@admin.register(Rating)
class RatingAdmin(ProductModelAdmin):
    """Ratings with where they came from; who rated by a pseudonym for those who may not know people."""

    list_display = ("created_at", "image", "prompt_version", "verdict", "rater_shown", "queue", "standing")
    list_filter = ("level", "is_blind", "is_flagged", "is_standing", "is_excluded", "is_surplus")
    search_fields = ("note", "prompt_version__prompt__name")
    list_select_related = (
        *("prompt_version__prompt", "scale_level", "rater", "queue"),
        *("output_image", "input_image", "criterion"),
    )
    fields = (
        "image",
        "prompt_version",
        "criterion",
        "verdict",
        "rater_shown",
        "note",
        "is_flagged",
        "queue",
        "is_blind",
        "standing",
        "exclusion_reason",
        "revision",
        "shown_at",
        "decided_ms",
        "created_at",
        "exclude_link",
    )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> Any:
        knows_people = Value(can(request.user, "accounts.view_user"))
        rows = super().get_queryset(request).annotate(knows_people=knows_people)
        return rows.select_related(*self.list_select_related)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        may_exclude = can(request.user, EXCLUDE) and obj is not None
        is_counted = may_exclude and obj.is_standing and not obj.is_excluded
        return self.fields if is_counted else self.fields[:-1]

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.exclude_view)
        return [
            path("<uuid:rating_id>/exclude/", view, name="evaluations_rating_exclude"),
            *super().get_urls(),
        ]

    def exclude_view(self, request: HttpRequest, rating_id: UUID) -> HttpResponse:
        """Ask for the reason, then set the rating aside."""
        rating: Rating = self.get_visible(request, str(rating_id))
        if not can(request.user, EXCLUDE):
            raise PermissionDenied
        form = ExclusionForm(request.POST or None)
        if form.is_valid():
            try:
                exclude_rating(
                    actor=cast("User", request.user), rating=rating, reason=form.cleaned_data["reason"]
                )
            except DomainError as error:
                add_refusal(form, error)
            else:
                messages.success(request, "The rating is kept but counts no more.")
                return HttpResponseRedirect(self.url_of("change", rating.pk))
        context = {
            **self.describe_page(request, "Exclude rating", under=rating),
            "form": form,
            "back": self.url_of("change", rating.pk),
        }
        return TemplateResponse(request, "admin/evaluations/exclude_rating.html", context)

    @display(description="Image")
    def image(self, rating: Rating) -> str:
        """The rated image, linked to its generation."""
        image = rating.output_image or rating.input_image
        if image is None:
            return "–"
        return format_html(
            '<a href="{}"><img src="{}" alt="Open the generation" width="48" height="48" loading="lazy"></a>',
            reverse("admin:generations_generation_change", args=[image.generation_id]),
            reverse("generations:image-file", args=[image.pk, "small"]),
        )

    @display(description="Rating", ordering="level")
    def verdict(self, rating: Rating) -> str:
        """The level by number and name."""
        return str(rating.scale_level)

    @display(description="Rater")
    def rater_shown(self, rating: Any) -> str:
        """Who rated, as far as the reader may know."""
        return str(rating.rater) if rating.knows_people else get_pseudonym(rating.rater_id)

    @display(
        description="State",
        label={
            "Counts": "success",
            "Surplus": "warning",
            "Excluded": "danger",
            "Revised or withdrawn": "default",
        },
    )
    def standing(self, rating: Rating) -> str:
        """Whether it counts, or why not."""
        if not rating.is_standing:
            return "Revised or withdrawn"
        if rating.is_excluded:
            return "Excluded"
        return "Surplus" if rating.is_surplus else "Counts"

    @display(description="Exclude")
    def exclude_link(self, rating: Rating) -> str:
        """Where it is set aside."""
        address = reverse("admin:evaluations_rating_exclude", args=[rating.pk])
        return format_html('<a class="underline" href="{}">Set this rating aside…</a>', address)
