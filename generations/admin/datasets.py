"""Datasets: made from files, shown with their versions and items."""

from __future__ import annotations

from typing import Any, Final, cast
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, Prefetch
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.decorators import display

from accounts.models import User
from accounts.permissions import can
from generations import selectors
from generations.admin.shared import get_page
from generations.forms import DatasetForm, DatasetImportForm, ItemImagesForm
from generations.models import Dataset, DatasetItem, DatasetItemImage, DatasetVersion
from generations.querysets import DatasetQuerySet
from generations.services import datasets as services
from generations.services.dataset_rows import DatasetImportError, ItemRow, read_rows
from mayagen.common.admin import DeletedFilter, SoftDeleteModelAdmin
from mayagen.common.errors import DomainError
from prompts.admin.shared import LAUNCH_URL_NAME, name_of

ITEMS_PER_PAGE: Final = 50
N_PREVIEWED: Final = 5
N_VERSIONS_SHOWN: Final = 50


@admin.register(Dataset)
class DatasetAdmin(SoftDeleteModelAdmin):
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
        return [
            path("<uuid:dataset_id>/import/", wrap(self.import_view), name="generations_dataset_import"),
            path("<uuid:dataset_id>/images/", wrap(self.images_view), name="generations_dataset_images"),
            *super().get_urls(),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a dataset from a file or from rows as text."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._import(request, None)

    def import_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Make a new version of a dataset from a file or from rows as text."""
        dataset: Dataset = self.get_visible(request, str(dataset_id))
        if not self.has_change_permission(request, dataset):
            raise PermissionDenied
        return self._import(request, dataset)

    def images_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Give one case other input images, in a new version."""
        dataset: Dataset = self.get_visible(request, str(dataset_id))
        if not self.has_change_permission(request, dataset):
            raise PermissionDenied
        key = request.GET.get("key", "")
        form = ItemImagesForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                version = services.set_item_images(
                    actor=cast("User", request.user), dataset=dataset, key=key, files=form.read_files()
                )
            except DomainError as error:
                form.add_refusal(error)
            else:
                messages.success(request, f"Version {version.number} has the new images of “{key}”.")
                return HttpResponseRedirect(self.url_of("change", dataset.pk))
        context = {
            **self._get_context(request, f"Input images of {key}", dataset),
            "form": form,
            "sentence": "They replace the item's images in a new version. Without any, the item has none.",
            "button": "Save",
        }
        return TemplateResponse(request, "admin/generations/dataset/form.html", context)

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

    def _import(self, request: HttpRequest, dataset: Dataset | None) -> HttpResponse:
        form = DatasetImportForm(request.POST or None, request.FILES or None, dataset=dataset)
        preview: list[ItemRow] = []
        n_rows = 0
        if request.method == "POST" and form.is_valid():
            try:
                content, file_name = form.read_content()
                if "_preview" not in request.POST:
                    version = self._save_import(request, form, dataset, content, file_name)
                    n_items = version.items.count()
                    messages.success(request, f"{version} was imported with {n_items:,} items.")
                    return HttpResponseRedirect(self.url_of("change", version.dataset_id))
                rows = read_rows(content, file_name=file_name, mapping=form.read_mapping())
                preview, n_rows = rows[:N_PREVIEWED], len(rows)
            except DatasetImportError as error:
                form.add_refusal(error)
            except DomainError as error:
                form.add_refusal(error)
        title = "Add dataset" if dataset is None else f"New version of {dataset}"
        context = {
            **self._get_context(request, title, dataset),
            "form": form,
            "preview": preview,
            "n_rows": n_rows,
        }
        return TemplateResponse(request, "admin/generations/dataset/import.html", context)

    def _save_import(
        self,
        request: HttpRequest,
        form: DatasetImportForm,
        dataset: Dataset | None,
        content: bytes,
        file_name: str,
    ) -> DatasetVersion:
        named = {name: form.cleaned_data[name] for name in ("name", "description") if name in form.fields}
        return services.import_dataset(
            actor=cast("User", request.user),
            content=content,
            file_name=file_name,
            mapping=form.read_mapping(),
            dataset=dataset,
            note=form.cleaned_data["note"],
            **named,
        )

    def _get_context(self, request: HttpRequest, title: str, dataset: Dataset | None) -> dict[str, Any]:
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": title,
            "media": self.media,
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
    page = get_page(request, items, size=ITEMS_PER_PAGE, version=str(chosen.number) if chosen else "")
    may_change = can(user, "generations.change_dataset") and not dataset.is_deleted
    launch = reverse(LAUNCH_URL_NAME) if can(user, "generations.add_run") else ""
    return {
        "version_rows": [(version, name_of(version.created_by, request)) for version in versions],
        "chosen": chosen,
        "item_page": page,
        "variable_names": selectors.list_variable_names(page.rows),
        "may_import": may_change,
        "may_set_images": may_change and bool(versions) and chosen == versions[0],
        "launch_url": f"{launch}?dataset={chosen.pk}" if launch and chosen and not dataset.is_deleted else "",
        "may_restore": can(user, "generations.delete_dataset") and dataset.is_deleted,
    }
