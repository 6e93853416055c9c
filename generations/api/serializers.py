"""What the API shows of datasets, generations, their images and providers."""

from __future__ import annotations

from typing import Any, ClassVar

from django.urls import reverse
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.permissions import can
from generations.models import (
    Attempt,
    Dataset,
    DatasetItem,
    DatasetItemImage,
    DatasetVersion,
    Generation,
    InputImage,
    OutputImage,
    ProviderHealth,
    StoredImage,
)

# A provider's own words and identifiers are for those who may act on them.
_PRIVATE_GENERATION_FIELDS = ("provider_error_code", "provider_message")
_PRIVATE_ATTEMPT_FIELDS = (
    *_PRIVATE_GENERATION_FIELDS,
    "provider_job_id",
    "provider_request_id",
    "provider_metadata",
    "worker",
)


class WithPrivateFields:
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


class ImageSerializer(serializers.ModelSerializer):
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


class DatasetItemImageSerializer(ImageSerializer):
    """An input image of a case."""

    class Meta:
        model = DatasetItemImage
        fields = (*_IMAGE_FIELDS, "role")


class InputImageSerializer(ImageSerializer):
    """An image that a generation was given."""

    class Meta:
        model = InputImage
        fields = (*_IMAGE_FIELDS, "role", "rating")


class OutputImageSerializer(ImageSerializer):
    """An image that a generation made."""

    perceptual_hash = serializers.SerializerMethodField()
    is_near_duplicate = serializers.BooleanField(
        read_only=True,
        allow_null=True,
        help_text="Looks nearly the same as `near_duplicate_of`, of the same run; null until compared.",
    )
    near_duplicate_of = serializers.UUIDField(source="near_duplicate_of_id", read_only=True, allow_null=True)

    class Meta:
        model = OutputImage
        fields = (*_IMAGE_FIELDS, "rating", "perceptual_hash", "is_near_duplicate", "near_duplicate_of")

    @extend_schema_field({"type": ["string", "null"], "pattern": "^[0-9a-f]{16}$"})
    def get_perceptual_hash(self, image: OutputImage) -> str | None:
        """Return the 64 bits of the difference hash in hexadecimal; null until it is made."""
        return None if image.perceptual_hash is None else f"{image.perceptual_hash % 2**64:016x}"


class DatasetItemSerializer(serializers.ModelSerializer):
    """One case."""

    images = DatasetItemImageSerializer(many=True, read_only=True)

    class Meta:
        model = DatasetItem
        fields = ("id", "dataset_version", "position", "key", "brief", "variables", "tags", "images")


class ProviderHealthSerializer(WithPrivateFields, serializers.ModelSerializer):
    """Whether a provider address is called; addresses that were never in trouble are not listed."""

    private_fields = ("base_url",)

    class Meta:
        model = ProviderHealth
        fields = (
            "id",
            "provider",
            "base_url",
            "state",
            "n_failures",
            "opened_at",
            "blocked_until",
            "last_failed_at",
            "last_error_code",
            "last_error_message",
        )


class GenerationSerializer(WithPrivateFields, serializers.ModelSerializer):
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
            "is_completed_after_cancel",
            "inputs",
            "outputs",
            "created_by",
            "created_at",
        )


class AttemptSerializer(WithPrivateFields, serializers.ModelSerializer):
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
