"""Files that become versions of datasets: what was handed in, how far it is, what is wrong with it."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from generations.choices import FINAL_IMPORT_STATES, ImportState
from generations.models.datasets import Dataset, DatasetVersion
from generations.models.images import StoredImage
from generations.querysets import DatasetImportQuerySet
from mayagen.common.models import UUIDModel


class DatasetImport(UUIDModel):
    """One file on its way to a dataset version; nothing of it is in the dataset until all of it is.

    Whoever works on it holds a lease with a fencing number; a worker without either writes nothing.

    `mapping` is what a person asked for, empty to go by the columns' names; `used_mapping` is what was
    read by. `errors` holds the first hundred, `n_errors` counts all.
    """

    dataset = models.ForeignKey(
        Dataset, null=True, blank=True, on_delete=models.PROTECT, related_name="imports"
    )
    version = models.OneToOneField(
        DatasetVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="made_by_import"
    )
    name = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    note = models.CharField(max_length=500, blank=True)
    upload = models.FileField(max_length=200, blank=True)
    file_name = models.CharField(max_length=255, blank=True)
    file_format = models.CharField(max_length=8, blank=True)
    size_bytes = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=12, choices=ImportState.choices, default=ImportState.UPLOADED)
    starts_when_checked = models.BooleanField(default=False)
    mapping = models.JSONField(default=dict, blank=True)
    used_mapping = models.JSONField(default=dict, blank=True)
    columns = models.JSONField(default=list, blank=True)
    preview = models.JSONField(default=list, blank=True)
    errors = models.JSONField(default=list, blank=True)
    n_errors = models.PositiveIntegerField(default=0)
    n_rows = models.PositiveIntegerField(default=0)
    n_images = models.PositiveIntegerField(default=0)
    n_images_done = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)
    fence = models.PositiveIntegerField(default=0)
    n_claims = models.PositiveSmallIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    started_by = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    updated_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = DatasetImportQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=ImportState.values), name="dataset_import_state_known"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=FINAL_IMPORT_STATES) | Q(finished_at__isnull=False),
                name="dataset_import_final_has_finish_time",
            ),
            models.CheckConstraint(
                condition=~Q(state=ImportState.COMPLETED) | Q(version__isnull=False),
                name="dataset_import_completed_has_version",
            ),
        )

    def __str__(self) -> str:
        return self.file_name or "Rows as text"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change its state any more."""
        return self.state in FINAL_IMPORT_STATES


class DatasetImportImage(StoredImage):
    """An image of an import's archive that was checked: stored, or refused for a reason.

    While such a row stands, its files belong to the import alone. They become the items' own in the
    transaction that makes the version, which removes the row.
    """

    dataset_import = models.ForeignKey(DatasetImport, on_delete=models.CASCADE, related_name="images")
    name = models.CharField(max_length=500)
    error_code = models.CharField(max_length=40, blank=True)
    error_message = models.TextField(blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=["dataset_import", "name"], name="dataset_import_image_name_unique"
            ),
        )

    def __str__(self) -> str:
        return self.name
