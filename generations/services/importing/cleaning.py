"""Remove what imports leave behind once nothing will change them any more."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from generations.choices import FINAL_IMPORT_STATES, ImportState
from generations.image_files import StoredFiles, discard, discard_files
from generations.models import DatasetImport, DatasetImportImage

# Checked, and then neither imported nor cancelled by anybody.
FORGOTTEN_AFTER: Final = timedelta(days=7)
_BATCH: Final = 500


def clean_up() -> int:
    """Remove the uploads and unused images of imports that are over, and return how many had any.

    Files go before the rows that name them: after a crash the same is done again, and nothing is forgotten.
    """
    list_expired().update(
        state=ImportState.CANCELLED,
        error_code="import_expired",
        error_message="Nobody started the import within a week of its check.",
        finished_at=Now(),
    )
    n_cleaned = 0
    for dataset_import in list_left().order_by("id"):
        _discard_images(dataset_import)
        if dataset_import.upload:
            discard_files([str(dataset_import.upload)])
            DatasetImport.objects.filter(pk=dataset_import.pk).update(upload="")
        n_cleaned += 1
    return n_cleaned


def list_left() -> QuerySet[DatasetImport]:
    """Return the imports that are over and have left files behind."""
    images = DatasetImportImage.objects.filter(dataset_import=OuterRef("pk"))
    return DatasetImport.objects.filter(~Q(upload="") | Exists(images), state__in=FINAL_IMPORT_STATES)


def list_expired() -> QuerySet[DatasetImport]:
    """Return the imports whose check nobody has followed up for a week."""
    return DatasetImport.objects.filter(state=ImportState.CHECKED, updated_at__lt=Now() - FORGOTTEN_AFTER)


def _discard_images(dataset_import: DatasetImport) -> None:
    while images := list(dataset_import.images.order_by("id")[:_BATCH]):
        discard(StoredFiles.of(image) for image in images)
        DatasetImportImage.objects.filter(pk__in=[image.pk for image in images]).delete()
