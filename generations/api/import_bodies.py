"""What the API takes and shows of imports of files into datasets."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from generations.api.bodies import ImportFieldsSerializer, JSONObjectField
from generations.models import DatasetImport
from generations.services.dataset_rows import ColumnMapping
from mayagen.common.api import StrictSerializer


class MappingSerializer(StrictSerializer):
    """Which column becomes what; an empty body goes by the columns' names."""

    key = serializers.CharField(required=False, max_length=200, help_text="Column of the key.")
    brief = serializers.CharField(required=False, max_length=200, help_text="Column of the brief.")
    variables = JSONObjectField(required=False, help_text="Columns by names of variables.")
    tags = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Columns whose values are tags."
    )
    references = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Columns that name input images in the ZIP file, several with semicolons between.",
    )
    masks = serializers.ListField(
        child=serializers.CharField(), required=False, help_text="Columns that name a mask in the ZIP file."
    )


class DatasetImportUploadSerializer(ImportFieldsSerializer, MappingSerializer):
    """A file of cases, or a ZIP file of one such table and the images that its rows name."""

    dry_run = serializers.BooleanField(
        default=False, help_text="Check only, and wait to be started; else errors end the import."
    )


class DatasetImportSerializer(serializers.ModelSerializer):
    """A file on its way to a dataset version: how far it is, and what is wrong with which line."""

    class Meta:
        model = DatasetImport
        fields = (
            "id",
            "dataset",
            "version",
            "note",
            "file_name",
            "size_bytes",
            "state",
            "mapping",
            "used_mapping",
            "columns",
            "preview",
            "n_rows",
            "n_images",
            "n_images_done",
            "n_errors",
            "errors",
            "error_code",
            "error_message",
            "created_by",
            "created_at",
            "started_by",
            "updated_at",
            "finished_at",
        )


def to_mapping(values: dict[str, Any]) -> ColumnMapping:
    """Return the mapping that a body asks for; it is empty when it asks for none."""
    return ColumnMapping(
        key=values.get("key", ""),
        brief=values.get("brief", ""),
        variables={name: str(column) for name, column in values.get("variables", {}).items()},
        tags=values.get("tags", []),
        references=values.get("references", []),
        masks=values.get("masks", []),
    )
