"""Generations: found by filters, shown with all that made them and all that came out."""

from __future__ import annotations

from typing import Any, Final, cast
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter, RelatedDropdownFilter
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.admin import shared
from generations.choices import RunKind, Status
from generations.models import Attempt, Generation
from generations.querysets import GenerationQuerySet
from generations.services.retrying import retry_generation
from generations.services.runs import cancel_generation
from mayagen.common.admin import ProductModelAdmin, show_refusal
from mayagen.common.errors import DomainError
from prompts.admin.shared import name_of, test_url

PART_TEMPLATE: Final = "admin/generations/generation/_body.html"


@admin.register(Generation)
class GenerationAdmin(ProductModelAdmin):
    """Generations; made by runs, so there is nothing to add or edit here."""

    list_display = (
        "picture",
        "case",
        "prompt_version",
        "state",
        "rating",
        "image_model",
        "run",
        "created_at",
    )
    list_display_links = ("picture", "case")
    list_filter = (
        "status",
        "error_code",
        shared.RatingFilter,
        ("created_at", shared.CreatedFilter),
        ("prompt_version", AutocompleteSelectFilter),
        ("image_model", RelatedDropdownFilter),
        ("run", AutocompleteSelectFilter),
        "source",
        shared.CurrentFilter,
    )
    list_filter_submit = True
    search_fields = ("case_key", "brief", "rendered_prompt")
    search_help_text = "Key of the case, its brief, or the prompt"

    class Media:
        css = {"all": ("prompts/admin.css", "generations/admin.css")}

    def get_queryset(self, request: HttpRequest) -> Any:
        rows = selectors.with_images(cast("GenerationQuerySet", super().get_queryset(request)))
        return rows.select_related("prompt_version__prompt", "image_model", "run")

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:generation_id>/part/", wrap(self.part_view), name="generations_generation_part"),
            path(
                "<uuid:generation_id>/cancel/", wrap(self.cancel_view), name="generations_generation_cancel"
            ),
            path("<uuid:generation_id>/retry/", wrap(self.retry_view), name="generations_generation_retry"),
            *super().get_urls(),
        ]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show the generation."""
        generation: Generation = self.get_visible(request, object_id)
        case = f": {generation.case_key}" if generation.case_key else ""
        context = {
            **self.describe_page(request, f"{generation.prompt_version}{case}"),
            **self._describe(request, generation),
        }
        return TemplateResponse(request, "admin/generations/generation/page.html", context)

    def part_view(self, request: HttpRequest, generation_id: UUID) -> HttpResponse:
        """Return the page's changing part, for a page that waits for the generation to end."""
        generation: Generation = self.get_visible(request, str(generation_id))
        return render(request, PART_TEMPLATE, self._describe(request, generation))

    def cancel_view(self, request: HttpRequest, generation_id: UUID) -> HttpResponse:
        """Cancel the generation."""
        generation = self._get_for_post(request, generation_id)
        try:
            cancel_generation(actor=cast("User", request.user), generation=generation)
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, "The generation was cancelled.")
        return HttpResponseRedirect(self.url_of("change", generation.pk))

    def retry_view(self, request: HttpRequest, generation_id: UUID) -> HttpResponse:
        """Queue a new generation in its place, and go there."""
        generation = self._get_for_post(request, generation_id)
        try:
            made = retry_generation(actor=cast("User", request.user), generation=generation)
        except DomainError as error:
            show_refusal(request, error)
            return HttpResponseRedirect(self.url_of("change", generation.pk))
        messages.success(request, "This generation was queued in its place.")
        return HttpResponseRedirect(self.url_of("change", made.pk))

    def _get_for_post(self, request: HttpRequest, generation_id: UUID) -> Generation:
        generation: Generation = self.get_visible(request, str(generation_id))
        if request.method != "POST" or not can(request.user, "generations.change_generation"):
            raise PermissionDenied
        return generation

    def _describe(self, request: HttpRequest, generation: Generation) -> dict[str, Any]:
        may_change = can(request.user, "generations.change_generation")
        attempts = Attempt.objects.visible_to(cast("User", request.user)).filter(generation=generation)
        retried_by = Generation.objects.filter(retry_of=generation).values_list("pk", flat=True).first()
        return {
            "generation": generation,
            "chip_class": shared.CHIP_CLASSES[Status(generation.status)],
            "error_label": selectors.get_error_label(generation.error_code),
            "error_sentence": generation.error_message or selectors.get_error_sentence(generation.error_code),
            "attempts": attempts.order_by("number"),
            "author": name_of(generation.created_by, request),
            "retried_by": retried_by,
            "shows_provider": may_change,
            "may_cancel": may_change and not generation.is_final,
            "may_retry": may_change and selectors.is_retryable(generation),
            "test_url": _get_test_address(request, generation),
            "panels": shared.render_panels(generation, request),
        }

    @display(description="Image")
    def picture(self, generation: Generation) -> str:
        """The first output, small."""
        outputs = list(generation.outputs.all())
        if not outputs:
            empty = '<span class="mg-thumb mg-thumb-empty" role="img" aria-label="{0}" title="{0}"></span>'
            return format_html(empty, "No image")
        address = shared.image_url(outputs[0], "small")
        return format_html('<img class="mg-thumb" src="{}" alt="Image" loading="lazy">', address)

    @display(description="Case")
    def case(self, generation: Generation) -> str:
        """Its key, and what the picture should show."""
        text = generation.brief or generation.rendered_prompt
        shown = f"{text[:80]}…" if len(text) > 80 else text  # noqa: PLR2004 - a line
        return format_html("{}<br><small>{}</small>", generation.case_key or "one case", shown)

    @display(description="Status", ordering="status", label=shared.STATUS_LABELS)
    def state(self, generation: Generation) -> str:
        """Where it stands."""
        return generation.get_status_display()

    @display(description="Rating", ordering="result_rating")
    def rating(self, generation: Generation) -> str:
        """The mean of its ratings."""
        return f"{generation.result_rating:.2f}" if generation.result_rating is not None else "–"


def _get_test_address(request: HttpRequest, generation: Generation) -> str | None:
    """Return where its model is tested, if it came of such a test."""
    if generation.run is None or generation.run.kind != RunKind.TEST:
        return None
    return test_url(generation.image_model, cast("User", request.user))
