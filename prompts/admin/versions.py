"""Versions: written, shown with their variables, compared side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html_join
from django.utils.http import urlencode
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from mayagen.common.admin import DeletedFilter, SoftDeleteModelAdmin
from mayagen.common.errors import DomainError
from mayagen.common.ids import read_ids
from prompts import selectors, services
from prompts.admin import shared
from prompts.diffing import Row
from prompts.forms import VersionForm
from prompts.models import ImageModel, Prompt, PromptVersion
from prompts.querysets import PromptVersionQuerySet
from prompts.rendering import render
from prompts.services import VersionFields

N_COMPARED = 2
N_CHOICES = 200
FIELD_LABELS = {
    "system_prompt": "System prompt",
    "user_prompt": "User prompt",
    "negative_prompt": "Negative prompt",
    "image_model": "Image model",
    "n_outputs": "Images",
    "resolution_px": "Resolution",
}


class UsedFilter(admin.SimpleListFilter):
    """Versions by whether images were made from them."""

    title = "use"
    parameter_name = "used"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Used"), ("no", "Unused")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {"yes", "no"}:
            return queryset
        return queryset.filter(first_used_at__isnull=self.value() == "no")


@admin.register(PromptVersion)
class PromptVersionAdmin(SoftDeleteModelAdmin):
    """Versions of prompts; saving one that was used makes a new one."""

    form = VersionForm
    list_display = ("title", "image_model", "label_list", "use", "change_note", "author", "created_at")
    list_filter = (DeletedFilter, UsedFilter, ("image_model", admin.RelatedOnlyFieldListFilter))
    search_fields = ("prompt__name", "prompt__slug", "user_prompt", "change_note")
    search_help_text = "Name of the prompt, its text, or the change note"
    actions = ("compare", "launch")
    autocomplete_fields = ("prompt",)
    change_form_template = "admin/prompts/promptversion/change_form.html"
    fieldsets = (
        (None, {"fields": ("prompt", "parent", "user_prompt", "system_prompt", "negative_prompt")}),
        (
            "Image model",
            {
                "fields": (
                    "image_model",
                    ("aspect_ratio", "resolution_px"),
                    ("n_outputs", "temperature"),
                    "parameters",
                )
            },
        ),
        ("About this version", {"fields": ("change_note",)}),
    )

    class Media:
        css = {"all": ("prompts/admin.css",)}
        js = (forms.Script("prompts/parameters.js", type="module"),)

    def get_queryset(self, request: HttpRequest) -> Any:
        return selectors.with_context(cast("PromptVersionQuerySet", super().get_queryset(request)))

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.compare_view)
        return [path("compare/", view, name="prompts_promptversion_compare"), *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None:
            return fieldsets
        first = {"fields": ("user_prompt", "system_prompt", "negative_prompt")}
        return [(None, first), *fieldsets[1:]]

    def get_form(
        self,
        request: HttpRequest,
        obj: Any = None,
        change: bool = False,
        **kwargs: Any,
    ) -> type[forms.ModelForm]:
        form = super().get_form(request, obj, change=change, **kwargs)
        for name in {"prompt", "image_model"} & form.base_fields.keys():
            widget: Any = form.base_fields[name].widget
            for right in ("add", "change", "view", "delete"):
                setattr(widget, f"can_{right}_related", False)
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with the version named in the address, or with the newest one of the prompt named there."""
        user = cast("User", request.user)
        parent = _find(selectors.with_context(PromptVersion.objects.visible_to(user)), request, "parent")
        prompt = parent.prompt if parent else _find(Prompt.objects.visible_to(user), request, "prompt")
        if parent is None and prompt is not None:
            parent = selectors.get_newest_version(prompt)
        if parent is None:
            models = ImageModel.objects.active()
            return {"prompt": prompt, "image_model": models.order_by("created_at").first()}
        taken_over = {name: getattr(parent, name) for name in selectors.CONTENT_FIELDS}
        return {**taken_over, "prompt": prompt, "parent": parent}

    def save_by_service(
        self, request: HttpRequest, form: forms.ModelForm, target: Any | None
    ) -> PromptVersion:
        actor = cast("User", request.user)
        values = dict(form.cleaned_data)
        prompt, parent = values.pop("prompt", None), values.pop("parent", None)
        fields = cast("VersionFields", values)
        if target is None:
            return services.create_version(actor=actor, prompt=prompt, parent=parent, **fields)
        stored = PromptVersion.objects.select_related("prompt").get(pk=target.pk)
        if stored.is_used or "_newversion" in request.POST:
            return services.create_version(actor=actor, prompt=stored.prompt, parent=stored, **fields)
        return services.change_version(actor=actor, version=stored, **fields)

    def response_add(
        self, request: HttpRequest, obj: Any, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._go_to(request, obj)

    def response_change(self, request: HttpRequest, obj: Any) -> HttpResponse:
        return self._go_to(request, obj)

    def _go_to(self, request: HttpRequest, version: PromptVersion) -> HttpResponse:
        messages.success(request, f"Version {version.number} of “{version.prompt}” was saved.")
        return HttpResponseRedirect(self.url_of("change", version.pk))

    def soft_delete(self, request: HttpRequest, target: PromptVersion) -> None:
        services.delete_version(actor=cast("User", request.user), version=target)

    def restore(self, request: HttpRequest, target: PromptVersion) -> None:
        services.restore_version(actor=cast("User", request.user), version=target)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        version = kwargs.get("obj")
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        if can(request.user, "prompts.change_promptversion"):
            context["model_schemas"] = _list_schemas()
        if version is not None:
            context.update(_describe_version(version, request))
        return super().render_change_form(request, context, *args, **kwargs)

    def compare_view(self, request: HttpRequest) -> HttpResponse:
        """Show two versions side by side; any two may be picked."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        visible = selectors.with_context(PromptVersion.objects.visible_to(cast("User", request.user)))
        ids = read_ids(request.GET.getlist("version")[:N_COMPARED])
        found = {version.pk: version for version in visible.filter(pk__in=ids)}
        chosen = [found[pk] for pk in ids if pk in found]
        if request.GET.get("order") == "number":
            chosen.sort(key=lambda version: version.number)
        if len(chosen) < len(request.GET.getlist("version")[:N_COMPARED]):
            messages.warning(request, "One of the versions does not exist.")
        before = chosen[0] if chosen else None
        after = chosen[1] if len(chosen) == N_COMPARED else None
        choices = visible.filter(prompt__in={version.prompt_id for version in chosen}) if chosen else visible
        context = {
            **self.describe_page(request, "Compare versions"),
            "before": before,
            "after": after,
            "choices": choices.order_by("prompt__name", "prompt_id", "-number")[:N_CHOICES],
            "changes": _label_changes(before, after),
            "swap_query": urlencode([("version", str(version.pk)) for version in reversed(chosen)]),
            "launch_url": shared.launch_url(chosen, cast("User", request.user)) if after else None,
        }
        return TemplateResponse(request, "admin/prompts/promptversion/compare.html", context)

    @admin.action(description="Compare the two selected versions", permissions=["view"])
    def compare(self, request: HttpRequest, queryset: QuerySet[PromptVersion]) -> HttpResponse | None:
        """Go to the page that compares them."""
        versions = list(queryset.order_by("number", "id")[: N_COMPARED + 1])
        if len(versions) != N_COMPARED:
            messages.warning(request, "Select exactly two versions to compare.")
            return None
        query = urlencode([("version", str(version.pk)) for version in versions])
        return HttpResponseRedirect(f"{reverse('admin:prompts_promptversion_compare')}?{query}")

    @admin.action(description="Launch a run of the selected versions", permissions=["launch"])
    def launch(self, request: HttpRequest, queryset: QuerySet[PromptVersion]) -> HttpResponse | None:
        """Go to the page that launches a run of them."""
        address = shared.launch_url(list(queryset.order_by("number", "id")[:20]), cast("User", request.user))
        return HttpResponseRedirect(address) if address else None

    def has_launch_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may launch runs."""
        return shared.launch_url([], cast("User", request.user)) is not None

    @display(description="Version", ordering="prompt__name")
    def title(self, version: PromptVersion) -> str:
        """The prompt's name with the number."""
        return str(version)

    @display(description="Labels")
    def label_list(self, version: PromptVersion) -> str:
        """The labels that point to it."""
        names = ((label.name,) for label in version.labels.all())
        return format_html_join(" ", '<span class="mg-chip">{}</span>', names) or "–"

    @display(description="Use", label={"Used": "info", "Unused": "success", "Deleted": "danger"})
    def use(self, version: PromptVersion) -> str:
        """Whether it may still change."""
        if version.is_deleted:
            return "Deleted"
        return "Used" if version.is_used else "Unused"

    @display(description="Author")
    def author(self, version: PromptVersion) -> str:
        """Who made it, if they have given a name."""
        return version.created_by.name if version.created_by and version.created_by.name else "–"


def _find(rows: QuerySet[Any], request: HttpRequest, name: str) -> Any | None:
    ids = read_ids([request.GET.get(name, "")])
    return rows.filter(pk__in=ids, deleted_at__isnull=True).first() if ids else None


def _list_schemas() -> dict[str, Any]:
    """Return what the script needs to make fields from the schemas of all models that may be chosen."""
    return {
        str(model.pk): {"schema": model.parameters_schema, "defaults": model.default_parameters}
        for model in ImageModel.objects.active().only("pk", "parameters_schema", "default_parameters")
    }


def _label_changes(before: PromptVersion | None, after: PromptVersion | None) -> list[tuple[str, list[Row]]]:
    if before is None or after is None:
        return []
    changes = selectors.compare_versions(before, after)
    return [
        (FIELD_LABELS.get(change.name, change.name.replace("_", " ").capitalize()), _join_rows(change.rows))
        for change in changes
    ]


def _join_rows(rows: Sequence[Row]) -> list[Row]:
    """Set a removed line beside the added one that follows it, although they have nothing in common."""
    joined: list[Row] = []
    for row in rows:
        if row.kind == "added" and joined and joined[-1].kind == "removed":
            joined[-1] = Row("changed", joined[-1].before, row.after)
        else:
            joined.append(row)
    return joined


def _describe_version(version: PromptVersion, request: HttpRequest) -> dict[str, Any]:
    """Return what the version's page shows beside its form."""
    user = cast("User", request.user)
    variables = selectors.list_version_variables(version)
    values = {name: request.GET.get(f"var-{name}", "") for name in variables}
    return {
        "title": str(version),
        "subtitle": None,
        "variables": list(values.items()),
        **_preview(version, values),
        "version_author": shared.name_of(version.created_by, request),
        "version_labels": list(version.labels.all()),
        "extra_columns": [
            (title, texts.get(version.pk, "–")) for title, texts in shared.load_columns([version.pk])
        ],
        "compare_with": _find_neighbour(version),
        "launch_url": None if version.is_deleted else shared.launch_url([version], user),
        "may_add_version": can(user, "prompts.add_promptversion"),
        "may_restore": can(user, "prompts.delete_promptversion") and version.is_deleted,
    }


def _find_neighbour(version: PromptVersion) -> PromptVersion | None:
    """Return the version to compare with: its parent, else the one numbered before."""
    if version.parent is not None:
        return version.parent
    earlier = PromptVersion.objects.filter(prompt_id=version.prompt_id, number__lt=version.number)
    return earlier.order_by("-number").first()


def _preview(version: PromptVersion, values: dict[str, str]) -> dict[str, str]:
    """Return the rendered prompt, variables without a value standing in braces."""
    filled = {name: value or f"{{{name}}}" for name, value in values.items()}
    try:
        return {"preview": render(version.user_prompt, filled, allow_unused=True)}
    except DomainError as error:
        return {"preview_error": error.message}
