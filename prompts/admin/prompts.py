"""Prompts, each with its versions, its labels and their history on one page."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from mayagen.common.admin import DeletedFilter, SoftDeleteModelAdmin, show_refusal
from mayagen.common.errors import DomainError
from prompts import selectors, services
from prompts.admin import shared
from prompts.forms import PromptForm
from prompts.models import Label, LabelMove, Prompt, PromptVersion
from prompts.querysets import PromptQuerySet

N_MOVES_SHOWN = 20
N_VERSIONS_SHOWN = 100


@admin.register(Prompt)
class PromptAdmin(SoftDeleteModelAdmin):
    """Prompts."""

    form = PromptForm
    list_display = ("name", "newest", "n_versions", "label_list", "tag_list", "created_at")
    list_filter = (DeletedFilter,)
    search_fields = ("name", "slug", "description")
    change_form_template = "admin/prompts/prompt/change_form.html"
    fieldsets = ((None, {"fields": (("name", "slug"), "description", "tags")}),)

    class Media:
        css = {"all": ("prompts/admin.css",)}

    def get_queryset(self, request: HttpRequest) -> Any:
        return selectors.with_overview(cast("PromptQuerySet", super().get_queryset(request)))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            path("<uuid:prompt_id>/labels/", wrap(self.set_label_view), name="prompts_prompt_set_label"),
            path(
                "<uuid:prompt_id>/labels/remove/",
                wrap(self.remove_label_view),
                name="prompts_prompt_remove_label",
            ),
            *super().get_urls(),
        ]

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> Prompt:
        actor = cast("User", request.user)
        if target is None:
            return services.create_prompt(actor=actor, **form.cleaned_data)
        changes = dict(form.cleaned_data)
        if not changes["slug"]:
            del changes["slug"]
        return services.change_prompt(actor=actor, prompt=target, **changes)

    def soft_delete(self, request: HttpRequest, target: Prompt) -> None:
        services.delete_prompt(actor=cast("User", request.user), prompt=target)

    def restore(self, request: HttpRequest, target: Prompt) -> None:
        services.restore_prompt(actor=cast("User", request.user), prompt=target)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        if "_addanother" in request.POST or "_popup" in request.POST:
            return super().response_add(request, obj, post_url_continue)
        messages.success(request, f"The prompt “{obj}” was made. Now write its first version.")
        address = reverse("admin:prompts_promptversion_add")
        return HttpResponseRedirect(f"{address}?prompt={obj.pk}")

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        prompt = kwargs.get("obj")
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        if prompt is not None:
            context.update(_describe_prompt(prompt, request))
        return super().render_change_form(request, context, *args, **kwargs)

    def set_label_view(self, request: HttpRequest, prompt_id: UUID) -> HttpResponse:
        """Set or move a label of the prompt."""
        prompt = self._get_for_post(request, prompt_id)
        versions = PromptVersion.objects.filter(prompt=prompt)
        try:
            version = versions.get(pk=UUID(request.POST.get("version", "")))
            expected = request.POST.get("expected")
            name = request.POST.get("name", "").strip()
            services.set_label(
                actor=cast("User", request.user),
                prompt=prompt,
                name=name,
                version=version,
                expected_version_id=UUID(expected) if expected else None,
            )
        except (ValueError, PromptVersion.DoesNotExist):
            messages.error(request, "Choose one of the prompt's versions.")
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, f"The label “{name}” points to version {version.number}.")
        return HttpResponseRedirect(self.url_of("change", prompt.pk))

    def remove_label_view(self, request: HttpRequest, prompt_id: UUID) -> HttpResponse:
        """Take a label of the prompt away."""
        prompt = self._get_for_post(request, prompt_id)
        name = request.POST.get("name", "").replace("\x00", "")
        label = Label.objects.filter(prompt=prompt, name=name).first()
        try:
            if label is not None:
                services.remove_label(actor=cast("User", request.user), label=label)
        except DomainError as error:
            show_refusal(request, error)
        else:
            messages.success(request, f"The label “{name}” was removed; its history stays.")
        return HttpResponseRedirect(self.url_of("change", prompt.pk))

    def _get_for_post(self, request: HttpRequest, prompt_id: UUID) -> Prompt:
        prompt: Prompt = self.get_visible(request, str(prompt_id))
        if request.method != "POST" or not can(request.user, "prompts.change_label"):
            raise PermissionDenied
        return prompt

    @display(description="Newest", ordering="newest_number")
    def newest(self, prompt: Any) -> str:
        """A link to the newest version."""
        if prompt.newest_number is None:
            return "–"
        address = reverse("admin:prompts_promptversion_change", args=[prompt.newest_version_id])
        return format_html('<a href="{}">v{}</a>', address, prompt.newest_number)

    @display(description="Versions", ordering="n_versions")
    def n_versions(self, prompt: Any) -> int:
        """How many are not deleted."""
        return int(prompt.n_versions)

    @display(description="Labels")
    def label_list(self, prompt: Prompt) -> str:
        """Each label with the version that it points to."""
        parts = ((label.name, label.version.number) for label in prompt.labels.all())
        return format_html_join(" ", '<span class="mg-chip">{} <b>v{}</b></span>', parts) or "–"

    @display(description="Tags")
    def tag_list(self, prompt: Prompt) -> str:
        """The prompt's tags."""
        return ", ".join(str(tag) for tag in prompt.tags) or "–"


def _describe_prompt(prompt: Prompt, request: HttpRequest) -> dict[str, Any]:
    """Return what the prompt's page shows below its form."""
    user = cast("User", request.user)
    versions = selectors.with_context(PromptVersion.objects.visible_to(user)).filter(prompt=prompt)
    shown = list(versions.order_by("-number")[:N_VERSIONS_SHOWN])
    columns = shared.load_columns([version.pk for version in shown])
    rows = [
        {
            "version": version,
            "author": shared.name_of(version.created_by, request),
            "cells": [texts.get(version.pk, "–") for _, texts in columns],
        }
        for version in shown
    ]
    moves = LabelMove.objects.filter(prompt=prompt).select_related("from_version", "to_version", "actor")
    return {
        "version_rows": rows,
        "are_versions_cut": len(shown) == N_VERSIONS_SHOWN,
        "column_titles": [title for title, _ in columns],
        "alive_versions": [version for version in shown if not version.is_deleted],
        "labels": selectors.list_labels().filter(prompt=prompt),
        "label_moves": [
            (move, shared.name_of(move.actor, request)) for move in moves.order_by("-id")[:N_MOVES_SHOWN]
        ],
        "launch_url": shared.launch_url([], user),
        "may_add_version": can(user, "prompts.add_promptversion") and not prompt.is_deleted,
        "may_label": can(user, "prompts.change_label") and not prompt.is_deleted,
        "may_restore": can(user, "prompts.delete_prompt") and prompt.is_deleted,
    }
