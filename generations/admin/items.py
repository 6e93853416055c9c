"""Pages of single items of a dataset: added, changed, removed, each time in a new version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from accounts.models import User
from generations import selectors
from generations.forms import ItemForm, ItemImagesForm
from generations.models import Dataset, DatasetItem
from generations.services import dataset_items, datasets
from mayagen.common.errors import DomainError

# Items whose variables a new item is offered.
N_EXAMPLES = 50


class ItemPages:
    """Part of the admin of datasets."""

    def list_item_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        """Return the addresses of these pages."""
        name = "generations_dataset"
        return [
            path("<uuid:dataset_id>/item/", wrap(self.item_view), name=f"{name}_item"),
            path("<uuid:dataset_id>/item/remove/", wrap(self.remove_item_view), name=f"{name}_item_remove"),
            path("<uuid:dataset_id>/images/", wrap(self.images_view), name=f"{name}_images"),
        ]

    def item_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Add an item, or change the one of the key in the address."""
        dataset = self._get_changeable(request, dataset_id)
        key = _read_key(request)
        number, item, variables = _find_item(dataset, key)
        first: dict[str, Any] = {"version": number}
        if item is not None:
            first |= {"key": item.key, "brief": item.brief, "tags": ", ".join(item.tags)}
        form = ItemForm(request.POST or None, initial=first, variables=variables)
        if request.method == "POST" and form.is_valid():
            try:
                version = dataset_items.save_item(
                    actor=cast("User", request.user),
                    dataset=dataset,
                    row=form.read_row(),
                    replaces=key,
                    seen_number=form.cleaned_data["version"],
                )
            except DomainError as error:
                form.add_refusal(error)
            else:
                messages.success(request, f"Version {version.number} has the item.")
                return HttpResponseRedirect(self.url_of("change", dataset.pk))  # type: ignore[attr-defined]
        title = f"Item {key}" if key else "New item"
        context = {
            **self._get_context(request, title, dataset),
            "form": form,
            "remove_query": f"{request.GET.urlencode()}&version={number}" if item else "",
        }
        return TemplateResponse(request, "admin/generations/dataset/item.html", context)

    def remove_item_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Ask, then make a version without the item."""
        dataset = self._get_changeable(request, dataset_id)
        key, seen = _read_key(request), request.GET.get("version", "")
        number = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 10 else None  # noqa: PLR2004
        return self.confirm(  # type: ignore[attr-defined, no-any-return]
            request,
            title="Remove item",
            sentence=f"“{key}” will not be in the next version of “{dataset}”. Earlier versions, and runs"
            " over them, keep it.",
            button="Remove",
            is_dangerous=True,
            verb=lambda: dataset_items.remove_item(
                actor=cast("User", request.user), dataset=dataset, key=key, seen_number=number
            ),
            done=f"The newest version is without “{key}”.",
            back=self.url_of("change", dataset.pk),  # type: ignore[attr-defined]
            under=dataset,
        )

    def images_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Give one case other input images, in a new version."""
        dataset = self._get_changeable(request, dataset_id)
        key = _read_key(request)
        form = ItemImagesForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                version = datasets.set_item_images(
                    actor=cast("User", request.user), dataset=dataset, key=key, files=form.read_files()
                )
            except DomainError as error:
                form.add_refusal(error)
            else:
                messages.success(request, f"Version {version.number} has the new images of “{key}”.")
                return HttpResponseRedirect(self.url_of("change", dataset.pk))  # type: ignore[attr-defined]
        context = {
            **self._get_context(request, f"Input images of {key}", dataset),
            "form": form,
            "sentence": "They replace the item's images in a new version. Without any, the item has none.",
            "button": "Save",
        }
        return TemplateResponse(request, "admin/generations/dataset/form.html", context)

    def _get_changeable(self, request: HttpRequest, dataset_id: UUID) -> Dataset:
        dataset: Dataset = self.get_visible(request, str(dataset_id))  # type: ignore[attr-defined]
        if not self.has_change_permission(request, dataset):  # type: ignore[attr-defined]
            raise PermissionDenied
        return dataset

    def _get_context(self, request: HttpRequest, title: str, dataset: Dataset | None) -> dict[str, Any]:
        raise NotImplementedError


def _read_key(request: HttpRequest) -> str:
    key = request.GET.get("key", "")
    if "\x00" in key:
        raise Http404
    return key


def _find_item(dataset: Dataset, key: str) -> tuple[int, DatasetItem | None, dict[str, Any]]:
    """Return the newest version's number, its item of that key, and the variables to show: None has no value.

    Raises:
        Http404: There is no item of that key.
    """
    newest = dataset.versions.order_by("-number").first()
    items = list(newest.items.order_by("position")[:N_EXAMPLES]) if newest else []
    variables = dict.fromkeys(selectors.list_variable_names(items))
    if not key:
        return newest.number if newest else 0, None, variables
    item = newest.items.filter(key=key).first() if newest else None
    if newest is None or item is None:
        raise Http404
    return newest.number, item, {**variables, **item.variables}
