"""Datasets: made from files, shown with their versions and items."""

from __future__ import annotations

from typing import Any, Final, cast

from django import forms
from django.contrib import admin
from django.db.models import CharField, Count, Prefetch, Value
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, reverse
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.admin.importing import ImportPages, list_imports
from generations.admin.items import ItemPages
from generations.admin.shared import get_page
from generations.forms import DatasetForm
from generations.models import Dataset, DatasetItem, DatasetItemImage, DatasetVersion
from generations.querysets import DatasetQuerySet
from generations.run_grid import HasTag
from generations.services import datasets as services
from mayagen.common.admin import DeletedFilter, SoftDeleteModelAdmin
from prompts.admin.shared import LAUNCH_URL_NAME, name_of

ITEMS_PER_PAGE: Final = 50
N_VERSIONS_SHOWN: Final = 50


@admin.register(Dataset)
class DatasetAdmin(ImportPages, ItemPages, SoftDeleteModelAdmin):
    """Datasets."""

    form = DatasetForm
    list_display = ("name", "newest", "n_items", "slug", "created_at")
    list_filter = (DeletedFilter,)
    search_fields = ("name", "slug", "description")
    change_form_template = "admin/generations/dataset/change_form.html"
    fieldsets = ((None, {"fields": (("name", "slug"), "description")}),)

    class Media:
        css = {"all": ("prompts/admin.css", "generations/admin.css")}

    def get_queryset(self, request: HttpRequest) -> Any:
        return selectors.with_overview(cast("DatasetQuerySet", super().get_queryset(request)))

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [*self.list_import_urls(wrap), *self.list_item_urls(wrap), *super().get_urls()]

    def save_by_service(self, request: HttpRequest, form: forms.ModelForm, target: Any | None) -> Dataset:
        values = dict(form.cleaned_data)
        values["slug"] = values["slug"] or None
        return services.change_dataset(
            actor=cast("User", request.user), dataset=cast("Dataset", target), **values
        )

    def soft_delete(self, request: HttpRequest, target: Dataset) -> None:
        services.delete_dataset(actor=cast("User", request.user), dataset=target)

    def restore(self, request: HttpRequest, target: Dataset) -> None:
        services.restore_dataset(actor=cast("User", request.user), dataset=target)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        dataset = kwargs.get("obj")
        context["show_save_and_add_another"] = context["show_save_and_continue"] = False
        if dataset is not None:
            context.update(_describe_dataset(dataset, request))
        return super().render_change_form(request, context, *args, **kwargs)

    def _get_context(self, request: HttpRequest, title: str, dataset: Dataset | None) -> dict[str, Any]:
        return {
            **self.describe_page(request, title, under=dataset),
            "original": dataset,
            "back": self.url_of("change", dataset.pk) if dataset else self.url_of("changelist"),
        }

    @display(description="Newest", ordering="newest_number")
    def newest(self, dataset: Any) -> str:
        """The newest version's number."""
        return f"v{dataset.newest_number}" if dataset.newest_number else "–"

    @display(description="Items", ordering="n_items")
    def n_items(self, dataset: Any) -> str:
        """How many the newest version has."""
        return f"{dataset.n_items:,}"


def _describe_dataset(dataset: Dataset, request: HttpRequest) -> dict[str, Any]:
    """Return what the dataset's page shows above its form: versions, and the items of one of them."""
    user = cast("User", request.user)
    counted = DatasetVersion.objects.filter(dataset=dataset).annotate(n_items=Count("items"))
    versions = list(counted.select_related("created_by").order_by("-number")[:N_VERSIONS_SHOWN])
    wanted = request.GET.get("version", "")
    chosen = next((version for version in versions if str(version.number) == wanted), None)
    chosen = chosen or (versions[0] if versions else None)
    images = Prefetch("images", DatasetItemImage.objects.order_by("position"))
    items = DatasetItem.objects.filter(dataset_version=chosen).order_by("position").prefetch_related(images)
    tag = request.GET.get("tag", "").replace("\x00", "")
    if tag:
        items = items.filter(HasTag("tags", Value(tag, output_field=CharField())))
    number = str(chosen.number) if chosen else ""
    page = get_page(request, items, size=ITEMS_PER_PAGE, version=number, tag=tag)
    may_change = can(user, "generations.change_dataset") and not dataset.is_deleted
    launch = reverse(LAUNCH_URL_NAME) if can(user, "generations.add_run") else ""
    return {
        "version_rows": [(version, name_of(version.created_by, request)) for version in versions],
        "chosen": chosen,
        "item_page": page,
        "tag": tag,
        "variable_names": selectors.list_variable_names(page.rows),
        "may_import": may_change,
        "imports": list_imports(dataset),
        "may_change_items": may_change and bool(versions) and chosen == versions[0],
        "launch_url": f"{launch}?dataset={chosen.pk}" if launch and chosen and not dataset.is_deleted else "",
        "may_restore": can(user, "generations.delete_dataset") and dataset.is_deleted,
    }
