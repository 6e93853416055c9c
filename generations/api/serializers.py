"""What the API shows of datasets, runs, generations and their images."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.permissions import can
from generations.choices import FINAL_STATUSES, Status
from generations.models import (
    Attempt,
    Dataset,
    DatasetItem,
    DatasetItemImage,
    DatasetVersion,
    Generation,
    InputImage,
    OutputImage,
    Run,
    StoredImage,
)
from generations.selectors import get_run_state

# A provider's own words and identifiers are for those who may act on them.
_PRIVATE_GENERATION_FIELDS = ("provider_error_code", "provider_message")
_PRIVATE_ATTEMPT_FIELDS = (
    *_PRIVATE_GENERATION_FIELDS,
    "provider_job_id",
    "provider_request_id",
    "provider_metadata",
    "worker",
)


class _WithPrivateFields:
    """Leaves out what a reader who may change nothing has no use for."""

    private_fields: ClassVar[tuple[str, ...]] = ()

    def to_representation(self, instance: Any) -> dict[str, Any]:
        shown: dict[str, Any] = super().to_representation(instance)  # type: ignore[misc]
        request = self.context.get("request")  # type: ignore[attr-defined]
        if request is None or not can(request.user, "generations.change_generation"):
            for name in self.private_fields:
                shown.pop(name, None)
        return shown


class DatasetSerializer(serializers.ModelSerializer):
    """A dataset with its newest version."""

    newest_version = serializers.UUIDField(source="newest_version_id", read_only=True, allow_null=True)
    newest_number = serializers.IntegerField(read_only=True, allow_null=True)
    n_items = serializers.IntegerField(read_only=True, help_text="Of the newest version.")

    class Meta:
        model = Dataset
        fields = (
            "id",
            "slug",
            "name",
            "description",
            "newest_version",
            "newest_number",
            "n_items",
            "created_by",
            "created_at",
            "deleted_at",
        )


class DatasetVersionSerializer(serializers.ModelSerializer):
    """One version of a dataset; it never changes."""

    n_items = serializers.IntegerField(read_only=True)

    class Meta:
        model = DatasetVersion
        fields = ("id", "dataset", "number", "note", "n_items", "created_by", "created_at")


class _ImageSerializer(serializers.ModelSerializer):
    """What is known of an image, and where its bytes are."""

    url = serializers.SerializerMethodField()
    thumbnail_url = serializers.SerializerMethodField()

    @extend_schema_field({"type": "string", "format": "uri-reference"})
    def get_url(self, image: StoredImage) -> str:
        """Return the address of the image itself."""
        return reverse("generations:image-file", args=[image.pk, "original"])

    @extend_schema_field({"type": "string", "format": "uri-reference"})
    def get_thumbnail_url(self, image: StoredImage) -> str:
        """Return the address of a WebP of at most 512 px."""
        return reverse("generations:image-file", args=[image.pk, "thumbnail"])


_IMAGE_FIELDS = (
    "id",
    "position",
    "width_px",
    "height_px",
    "size_bytes",
    "mime_type",
    "sha256",
    "url",
    "thumbnail_url",
    "created_at",
)


class DatasetItemImageSerializer(_ImageSerializer):
    """An input image of a case."""

    class Meta:
        model = DatasetItemImage
        fields = (*_IMAGE_FIELDS, "role")


class InputImageSerializer(_ImageSerializer):
    """An image that a generation was given."""

    class Meta:
        model = InputImage
        fields = (*_IMAGE_FIELDS, "role", "rating")


class OutputImageSerializer(_ImageSerializer):
    """An image that a generation made."""

    class Meta:
        model = OutputImage
        fields = (*_IMAGE_FIELDS, "rating")


class DatasetItemSerializer(serializers.ModelSerializer):
    """One case."""

    images = DatasetItemImageSerializer(many=True, read_only=True)

    class Meta:
        model = DatasetItem
        fields = ("id", "dataset_version", "position", "key", "brief", "variables", "tags", "images")


class RunSerializer(serializers.ModelSerializer):
    """A run with the number of its generations by status; those that a retry replaced are left out."""

    state = serializers.SerializerMethodField()
    counts = serializers.DictField(child=serializers.IntegerField(), read_only=True)
    n_generations = serializers.SerializerMethodField()
    n_finished = serializers.SerializerMethodField()

    class Meta:
        model = Run
        fields = (
            "id",
            "name",
            "note",
            "state",
            "counts",
            "n_generations",
            "n_finished",
            "prompt_versions",
            "dataset_version",
            "variables",
            "brief",
            "repeats",
            "base_seed",
            "priority",
            "created_by",
            "created_at",
            "cancelled_at",
        )

    @extend_schema_field(serializers.ChoiceField(choices=Status.choices))
    def get_state(self, run: Run) -> str:
        """Return the state that the counts amount to."""
        return get_run_state(run.counts)  # type: ignore[attr-defined]

    def get_n_generations(self, run: Run) -> int:
        """Return how many generations there are."""
        return sum(run.counts.values())  # type: ignore[attr-defined]

    def get_n_finished(self, run: Run) -> int:
        """Return how many are in a final status."""
        return sum(run.counts[status] for status in FINAL_STATUSES)  # type: ignore[attr-defined]


class FailureGroupSerializer(serializers.Serializer):
    """Failed generations that share a code."""

    code = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # a name of Field's own, set back by its metaclass
    sentence = serializers.CharField()
    count = serializers.IntegerField()


class RunProgressSerializer(serializers.Serializer):
    """How a run is getting on."""

    per_minute = serializers.FloatField(allow_null=True, help_text="Finished per minute lately.")
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Expected end at that rate.")
    cost_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    expected_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    failures = FailureGroupSerializer(many=True)


class RunDetailSerializer(RunSerializer):
    """A run with its progress."""

    progress = RunProgressSerializer(read_only=True)

    class Meta(RunSerializer.Meta):
        fields = (*RunSerializer.Meta.fields, "progress")  # type: ignore[assignment]


class GenerationSerializer(_WithPrivateFields, serializers.ModelSerializer):
    """A generation with all that made it, its images, and what people think of them."""

    private_fields = _PRIVATE_GENERATION_FIELDS
    prompt = serializers.UUIDField(source="prompt_version.prompt_id", read_only=True)
    inputs = InputImageSerializer(many=True, read_only=True)
    outputs = OutputImageSerializer(many=True, read_only=True)

    class Meta:
        model = Generation
        fields = (
            "id",
            "run",
            "prompt",
            "prompt_version",
            "image_model",
            "dataset_item",
            "case_key",
            "repeat",
            "source",
            "status",
            "priority",
            "brief",
            "variables",
            "system_prompt",
            "rendered_prompt",
            "negative_prompt",
            "parameters",
            "seed",
            "n_outputs",
            "width_px",
            "height_px",
            "n_attempts",
            "started_at",
            "finished_at",
            "duration_ms",
            "cost_usd",
            "error_code",
            "error_message",
            "provider_error_code",
            "provider_message",
            "warning",
            "result_rating",
            "retry_of",
            "is_superseded",
            "inputs",
            "outputs",
            "created_by",
            "created_at",
        )


class AttemptSerializer(_WithPrivateFields, serializers.ModelSerializer):
    """One call to a provider."""

    private_fields = _PRIVATE_ATTEMPT_FIELDS

    class Meta:
        model = Attempt
        fields = (
            "id",
            "number",
            "state",
            "started_at",
            "answered_at",
            "duration_ms",
            "cost_usd",
            "error_code",
            "error_message",
            *_PRIVATE_ATTEMPT_FIELDS,
        )
