"""Imports of files into datasets over the API: watched, started, cancelled."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from generations.api import filters
from generations.api.import_bodies import DatasetImportSerializer, MappingSerializer, to_mapping
from generations.models import DatasetImport
from generations.services import dataset_imports as services
from prompts.api.views import ReadableViewSet


class DatasetImportViewSet(ReadableViewSet):
    """Files on their way to dataset versions; they are handed in at their dataset."""

    queryset = DatasetImport.objects.none()
    serializer_class = DatasetImportSerializer
    filterset_class = filters.DatasetImportFilterSet
    view_permission = "generations.view_dataset"
    rights: ClassVar = {
        "start": "generations.change_dataset",
        "cancel": "generations.change_dataset",
        "change_mapping": "generations.change_dataset",
    }

    def get_queryset(self) -> QuerySet[DatasetImport]:
        """Return the imports that the caller may see."""
        return DatasetImport.objects.visible_to(self.actor).select_related("dataset")

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, pk: UUID) -> Response:
        """Import a file that was checked without errors, in the background."""
        started = services.start_dataset_import(actor=self.actor, dataset_import=self.get_object())
        return self.answer(started.pk)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID) -> Response:
        """End an import without a version."""
        cancelled = services.cancel_dataset_import(actor=self.actor, dataset_import=self.get_object())
        return self.answer(cancelled.pk)

    @extend_schema(request=MappingSerializer)
    @action(detail=True, methods=["post"], url_path="mapping", url_name="mapping")
    def change_mapping(self, request: Request, pk: UUID) -> Response:
        """Check the stored file again by another mapping of its columns."""
        values = self.read_body(request, serializer=MappingSerializer)
        changed = services.change_mapping(
            actor=self.actor, dataset_import=self.get_object(), mapping=to_mapping(values)
        )
        return self.answer(changed.pk)
