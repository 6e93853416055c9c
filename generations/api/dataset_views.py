"""Datasets over the API."""

from __future__ import annotations

from typing import Any, ClassVar, cast
from uuid import UUID

from django.conf import settings
from django.db.models import CharField, Count, Prefetch, QuerySet, Value
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.idempotency import IDEMPOTENCY_KEY, answer_once
from generations import selectors
from generations.api import bodies, filters, serializers
from generations.api.import_bodies import (
    DatasetImportSerializer,
    DatasetImportUploadSerializer,
    to_mapping,
)
from generations.api.uploads import UploadViewMixin, is_multipart, read_files
from generations.models import Dataset, DatasetItem, DatasetItemImage, DatasetVersion
from generations.run_grid import HasTag
from generations.services import datasets as services
from generations.services.dataset_imports import MAX_FORM_BYTES, upload_dataset_import
from generations.services.dataset_rows import MAX_FILE_BYTES, ItemRow
from mayagen.common.api import InvalidParameterError
from mayagen.common.errors import NotFoundError
from prompts.api.views import ReadableViewSet

# What a form holds besides its images.
FORM_OVERHEAD_BYTES = 1024 * 1024
VERSION = OpenApiParameter(
    "version", OpenApiTypes.INT, description="Number of the dataset's version; the newest if left out."
)

TAG = OpenApiParameter("tag", OpenApiTypes.STR, description="Only items with this tag.")


class DatasetViewSet(UploadViewMixin, ReadableViewSet):
    """Datasets, their versions and items."""

    queryset = Dataset.objects.none()
    serializer_class = serializers.DatasetSerializer
    filterset_class = filters.DatasetFilterSet
    ordering_fields = ("created_at", "name")
    view_permission = "generations.view_dataset"
    max_json_bytes = MAX_FILE_BYTES
    upload_actions: ClassVar = {
        "create": True,
        "import_rows": False,
        "start_import": False,
        "set_item_images": False,
    }
    rights: ClassVar = {
        "create": "generations.add_dataset",
        "partial_update": "generations.change_dataset",
        "destroy": "generations.delete_dataset",
        "restore": "generations.delete_dataset",
        "import_rows": "generations.change_dataset",
        "start_import": "generations.change_dataset",
        "add_items": "generations.change_dataset",
        "set_item_images": "generations.change_dataset",
    }

    @property
    def query_parameters(self) -> tuple[str, ...]:
        """The parameters that this action knows beside filters and pages."""
        return ("version", "tag", "cursor", "page_size", "ordering") if self.action == "items" else ()

    @property
    def max_multipart_bytes(self) -> int:
        """How much a form with files may hold."""
        if self.action == "start_import":
            return MAX_FORM_BYTES
        return int(settings.MEDIA_MAX_UPLOAD_BYTES) + FORM_OVERHEAD_BYTES

    def get_queryset(self) -> QuerySet[Dataset]:
        """Return the datasets that the caller may see."""
        return selectors.with_overview(Dataset.objects.visible_to(self.actor))

    @extend_schema(
        request={
            "application/json": bodies.NewDatasetSerializer,
            "multipart/form-data": bodies.DatasetUploadSerializer,
        },
        responses={201: serializers.DatasetSerializer},
    )
    def create(self, request: Request) -> Response:
        """Make a dataset: empty, with items, or from a file as a multipart body."""
        if is_multipart(request):
            values = self.read_body(request, serializer=bodies.DatasetUploadSerializer)
            version = services.import_dataset(actor=self.actor, **_read_import(values))
            return self.answer(version.dataset_id, status.HTTP_201_CREATED)
        values = self.read_body(request, serializer=bodies.NewDatasetSerializer)
        rows = services.make_rows(values.pop("items")) if values.get("items") else []
        values.pop("items", None)
        dataset = services.create_dataset(actor=self.actor, rows=rows, **values)
        return self.answer(dataset.pk, status.HTTP_201_CREATED)

    @extend_schema(request=bodies.DatasetFieldsSerializer)
    def partial_update(self, request: Request, pk: UUID) -> Response:
        """Change what a dataset is called; what is left out stays."""
        dataset = self.get_object()
        values = self.read_body(request, serializer=bodies.DatasetFieldsSerializer, partial=True)
        services.change_dataset(actor=self.actor, dataset=dataset, **{"name": dataset.name, **values})
        return self.answer(dataset.pk)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: UUID) -> Response:
        """Hide a dataset; it can be restored."""
        services.delete_dataset(actor=self.actor, dataset=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID) -> Response:
        """Bring a deleted dataset back."""
        return self.answer(services.restore_dataset(actor=self.actor, dataset=self.get_object()).pk)

    @extend_schema(
        request={"multipart/form-data": bodies.ImportFieldsSerializer},
        responses={201: serializers.DatasetVersionSerializer},
    )
    @action(detail=True, methods=["post"], url_path="import", url_name="import")
    def import_rows(self, request: Request, pk: UUID) -> Response:
        """Make a new version from a file of CSV, TSV or JSON Lines: all of it, or nothing."""
        dataset = self.get_object()
        values = self.read_body(request, serializer=bodies.ImportFieldsSerializer)
        version = services.import_dataset(actor=self.actor, dataset=dataset, **_read_import(values))
        return self._answer_version(version)

    @extend_schema(
        request={"multipart/form-data": DatasetImportUploadSerializer},
        responses={201: DatasetImportSerializer},
        parameters=[IDEMPOTENCY_KEY],
    )
    @action(detail=True, methods=["post"], url_path="imports", url_name="imports")
    def start_import(self, request: Request, pk: UUID) -> Response:
        """Hand in a file that becomes a new version in the background: all of it, or nothing.

        CSV, TSV or JSON Lines, or a ZIP file of one such table and the images that its rows name.
        """
        dataset = self.get_object()
        values = self.read_body(request, serializer=DatasetImportUploadSerializer)

        def upload() -> tuple[int, Any]:
            dataset_import = upload_dataset_import(
                actor=self.actor,
                dataset=dataset,
                file=values["file"],
                file_name=values["file"].name or "",
                file_format=values.get("format", ""),
                mapping=to_mapping(values),
                note=values.get("note", ""),
                is_dry_run=values["dry_run"],
            )
            shown = DatasetImportSerializer(dataset_import, context=self.get_serializer_context())
            return status.HTTP_201_CREATED, shown.data

        return answer_once(request, upload)

    @extend_schema(responses=serializers.DatasetVersionSerializer(many=True), filters=False)
    @action(detail=True, methods=["get"], pagination_class=None)
    def versions(self, request: Request, pk: UUID) -> Response:
        """List a dataset's versions, the newest first."""
        versions = _with_counts(DatasetVersion.objects.filter(dataset=self.get_object()))
        found = serializers.DatasetVersionSerializer(versions.order_by("-number"), many=True)
        return Response(found.data)

    @extend_schema(
        responses=serializers.DatasetItemSerializer(many=True), parameters=[VERSION, TAG], filters=False
    )
    @action(detail=True, methods=["get"])
    def items(self, request: Request, pk: UUID) -> Response:
        """List the items of a dataset's version, or those with a tag."""
        items = DatasetItem.objects.filter(dataset_version=self._get_version(self.get_object()))
        tag = request.query_params.get("tag", "")
        if tag:
            items = items.filter(HasTag("tags", Value(tag, output_field=CharField())))
        images = Prefetch("images", DatasetItemImage.objects.order_by("position"))
        page = self.paginate_queryset(items.prefetch_related(images))
        shown = serializers.DatasetItemSerializer(page, many=True, context=self.get_serializer_context())
        return self.get_paginated_response(shown.data)

    @extend_schema(request=bodies.NewItemsSerializer, responses={201: serializers.DatasetVersionSerializer})
    @items.mapping.post
    def add_items(self, request: Request, pk: UUID) -> Response:
        """Make a new version with these items, beside the others or instead of them."""
        dataset = self.get_object()
        values = self.read_body(request, serializer=bodies.NewItemsSerializer)
        rows = services.make_rows(values["items"])
        if values["keep_others"]:
            rows = self._keep_others(dataset, rows)
        version = services.create_dataset_version(
            actor=self.actor, dataset=dataset, rows=rows, note=values.get("note", "")
        )
        return self._answer_version(version)

    @extend_schema(
        request={"multipart/form-data": bodies.ItemImagesSerializer},
        responses={201: serializers.DatasetVersionSerializer},
    )
    @action(detail=True, methods=["post"], url_path="item-images", url_name="item-images")
    def set_item_images(self, request: Request, pk: UUID) -> Response:
        """Make a new version in which one item has exactly these input images."""
        dataset = self.get_object()
        values = self.read_body(request, serializer=bodies.ItemImagesSerializer)
        version = services.set_item_images(
            actor=self.actor,
            dataset=dataset,
            key=values["key"],
            files=read_files(values["files"], values["role"]),
        )
        return self._answer_version(version)

    def _keep_others(self, dataset: Dataset, rows: list[ItemRow]) -> list[ItemRow]:
        given = {row.key: row for row in rows}
        newest = dataset.versions.order_by("-number").first()
        others = newest.items.order_by("position") if newest else DatasetItem.objects.none()
        kept = [
            given.pop(item.key, ItemRow(item.key, item.brief, item.variables, item.tags)) for item in others
        ]
        return [*kept, *given.values()]

    def _get_version(self, dataset: Dataset) -> DatasetVersion | None:
        number = self.request.query_params.get("version")
        versions = dataset.versions.order_by("-number")
        if number is None:
            return versions.first()
        if not (number.isascii() and number.isdigit() and len(number) < 10):  # noqa: PLR2004 - fits a column
            raise InvalidParameterError(fields={"version": ["Give the number of a version."]})
        found = versions.filter(number=int(number)).first()
        if found is None:
            raise NotFoundError("The dataset has no version of this number.")
        return found

    def _answer_version(self, version: DatasetVersion) -> Response:
        stored = _with_counts(DatasetVersion.objects.filter(pk=version.pk)).get()
        shown = serializers.DatasetVersionSerializer(stored)
        return Response(shown.data, status=status.HTTP_201_CREATED)


def _with_counts(versions: QuerySet[DatasetVersion]) -> QuerySet[DatasetVersion]:
    return cast("QuerySet[DatasetVersion]", versions.annotate(n_items=Count("items")))


def _read_import(values: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an import from the body of one."""
    file = values["file"]
    return {
        "content": file.read(MAX_FILE_BYTES + 1),
        "file_name": file.name or "",
        "file_format": values.get("format", ""),
        "mapping": to_mapping(values) or None,
        **{name: values[name] for name in ("name", "slug", "description", "note") if name in values},
    }
