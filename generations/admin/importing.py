"""Pages by which files become datasets: handed in, checked, their columns chosen, imported or cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from accounts.models import User
from accounts.permissions import can
from generations.choices import WORKED_IMPORT_STATES, ImportState
from generations.forms import ColumnsForm, DatasetUploadForm
from generations.models import Dataset, DatasetImport
from generations.services import dataset_imports as services
from generations.services.datasets import create_dataset
from mayagen.common.admin import show_refusal
from mayagen.common.errors import DomainError
from prompts.admin.shared import name_of

STOP_POLLING: Final = 286
PAGE: Final = "admin:generations_dataset_imported"
N_IMPORTS_SHOWN: Final = 5
_CHIPS: Final = {
    ImportState.COMPLETED: "mg-chip-success",
    ImportState.FAILED: "mg-chip-danger",
    ImportState.CANCELLED: "mg-chip-plain",
}


class ImportPages:
    """Part of the admin of datasets."""

    def list_import_urls(self, wrap: Callable[..., Any]) -> list[URLPattern]:
        """Return the addresses of these pages."""
        name = "generations_dataset"
        return [
            path("<uuid:dataset_id>/import/", wrap(self.import_view), name=f"{name}_import"),
            path("imports/<uuid:import_id>/", wrap(self.imported_view), name=f"{name}_imported"),
            path(
                "imports/<uuid:import_id>/state/", wrap(self.import_state_view), name=f"{name}_import_state"
            ),
            path("imports/<uuid:import_id>/columns/", wrap(self.columns_view), name=f"{name}_import_columns"),
            path("imports/<uuid:import_id>/start/", wrap(self.start_view), name=f"{name}_import_start"),
            path("imports/<uuid:import_id>/cancel/", wrap(self.cancel_view), name=f"{name}_import_cancel"),
        ]

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Make a dataset: from a file, from rows as text, or without items."""
        if not can(request.user, "generations.add_dataset"):
            raise PermissionDenied
        return self._take_file(request, None)

    def import_view(self, request: HttpRequest, dataset_id: UUID) -> HttpResponse:
        """Hand in what becomes a new version of a dataset."""
        dataset: Dataset = self.get_visible(request, str(dataset_id))  # type: ignore[attr-defined]
        if not self.has_change_permission(request, dataset):  # type: ignore[attr-defined]
            raise PermissionDenied
        return self._take_file(request, dataset)

    # Looked at before the body is read.
    add_view.max_multipart_bytes = services.MAX_FORM_BYTES  # type: ignore[attr-defined]
    import_view.max_multipart_bytes = services.MAX_FORM_BYTES  # type: ignore[attr-defined]

    def imported_view(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        """Show an import: its progress, then what it found, then what came of it."""
        dataset_import = _get_import(request, import_id)
        context = {
            **self._get_context(request, f"Import of {dataset_import}", dataset_import.dataset),
            **_describe(request, dataset_import),
        }
        return TemplateResponse(request, "admin/generations/dataset/imported.html", context)

    def import_state_view(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        """Return the page's changing part; what rests says that nobody need ask again."""
        dataset_import = _get_import(request, import_id)
        status = 200 if dataset_import.state in WORKED_IMPORT_STATES else STOP_POLLING
        context = {**_describe(request, dataset_import), "is_news": True}
        return render(request, "admin/generations/dataset/_import.html", context, status=status)

    def columns_view(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        """Have the stored file checked again with other columns."""
        dataset_import = _get_import(request, import_id, may_change=True)
        form = ColumnsForm(request.POST, dataset_import=dataset_import)
        if form.is_valid():
            mapping = form.read_mapping()
            return _do(
                request,
                dataset_import,
                lambda user: services.change_mapping(
                    actor=user, dataset_import=dataset_import, mapping=mapping
                ),
            )
        context = {
            **self._get_context(request, f"Import of {dataset_import}", dataset_import.dataset),
            **_describe(request, dataset_import),
            "form": form,
        }
        return TemplateResponse(request, "admin/generations/dataset/imported.html", context)

    def start_view(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        """Import what was checked."""
        dataset_import = _get_import(request, import_id, may_change=True)
        return _do(
            request,
            dataset_import,
            lambda user: services.start_dataset_import(actor=user, dataset_import=dataset_import),
        )

    def cancel_view(self, request: HttpRequest, import_id: UUID) -> HttpResponse:
        """End an import without a version."""
        dataset_import = _get_import(request, import_id, may_change=True)
        return _do(
            request,
            dataset_import,
            lambda user: services.cancel_dataset_import(actor=user, dataset_import=dataset_import),
        )

    def _take_file(self, request: HttpRequest, dataset: Dataset | None) -> HttpResponse:
        form = DatasetUploadForm(request.POST or None, request.FILES or None, dataset=dataset)
        if request.method == "POST" and form.is_valid():
            try:
                return HttpResponseRedirect(self._save(request, form, dataset))
            except DomainError as error:
                form.add_refusal(error)
        title = "Add dataset" if dataset is None else "New version"
        unfinished = DatasetImport.objects.open().filter(dataset=dataset).select_related("version")
        context = {
            **self._get_context(request, title, dataset),
            "form": form,
            "imports": unfinished.order_by("-id")[:N_IMPORTS_SHOWN],
            "imports_title": "Handed in, and neither imported nor cancelled yet",
        }
        return TemplateResponse(request, "admin/generations/dataset/import.html", context)

    def _save(self, request: HttpRequest, form: DatasetUploadForm, dataset: Dataset | None) -> str:
        """Keep the file, or make a dataset without items, and return the address to go to."""
        user = cast("User", request.user)
        names = {name: form.cleaned_data[name] for name in ("name", "description") if name in form.fields}
        upload = form.read_upload()
        if upload is None:
            made = create_dataset(actor=user, **names)
            messages.success(request, f"“{made}” was made. Add its items here, or import them.")
            return self.url_of("change", made.pk)  # type: ignore[attr-defined, no-any-return]
        dataset_import = services.upload_dataset_import(
            actor=user,
            file=upload,
            file_name=upload.name or "",
            dataset=dataset,
            note=form.cleaned_data["note"],
            **names,
        )
        return reverse(PAGE, args=[dataset_import.pk])

    def _get_context(self, request: HttpRequest, title: str, dataset: Dataset | None) -> dict[str, Any]:
        raise NotImplementedError


def list_imports(dataset: Dataset) -> list[DatasetImport]:
    """Return the last files that were handed in for a dataset."""
    return list(dataset.imports.select_related("version").order_by("-id")[:N_IMPORTS_SHOWN])


def _get_import(request: HttpRequest, import_id: UUID, *, may_change: bool = False) -> DatasetImport:
    user = cast("User", request.user)
    visible = DatasetImport.objects.visible_to(user).select_related("dataset", "version", "created_by")
    found = visible.filter(pk=import_id).first()
    if found is None:
        raise PermissionDenied if not can(user, "generations.view_dataset") else Http404
    if may_change and (request.method != "POST" or not _may_change(user, found)):
        raise PermissionDenied
    return found


def _may_change(user: User, dataset_import: DatasetImport) -> bool:
    is_new = dataset_import.dataset_id is None
    return can(user, "generations.add_dataset" if is_new else "generations.change_dataset")


def _do(
    request: HttpRequest, dataset_import: DatasetImport, verb: Callable[[User], object]
) -> HttpResponseRedirect:
    try:
        verb(cast("User", request.user))
    except DomainError as error:
        show_refusal(request, error)
    return HttpResponseRedirect(reverse(PAGE, args=[dataset_import.pk]))


def _get_upload_address(dataset_import: DatasetImport) -> str:
    if dataset_import.dataset_id is None:
        return reverse("admin:generations_dataset_add")
    return reverse("admin:generations_dataset_import", args=[dataset_import.dataset_id])


def _describe(request: HttpRequest, dataset_import: DatasetImport) -> dict[str, Any]:
    state = ImportState(dataset_import.state)
    may_change = _may_change(cast("User", request.user), dataset_import)
    is_checked = state == ImportState.CHECKED
    can_map = is_checked and may_change and "variables" not in dataset_import.columns
    may_hand_in_again = state == ImportState.FAILED or (is_checked and bool(dataset_import.n_errors))
    n_images, n_done = dataset_import.n_images, dataset_import.n_images_done
    return {
        "dataset_import": dataset_import,
        "state_label": state.label,
        "chip_class": _CHIPS.get(state, ""),
        "author": name_of(dataset_import.created_by, request),
        "is_worked_on": state in WORKED_IMPORT_STATES,
        "is_checked": is_checked,
        "is_completed": state == ImportState.COMPLETED,
        "may_start": may_change and is_checked and not dataset_import.n_errors,
        "may_cancel": may_change and not dataset_import.is_final,
        "again_url": _get_upload_address(dataset_import) if may_change and may_hand_in_again else "",
        "share": 100 * n_done / n_images if n_images else None,
        "form": ColumnsForm(dataset_import=dataset_import) if can_map else None,
        "n_more_errors": dataset_import.n_errors - len(dataset_import.errors),
    }
