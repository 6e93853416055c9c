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
    ProviderHealth,
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
            "kind",
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
            "ceiling_usd",
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
    """Generations that ended without an image for the same reason."""

    code = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # a name of Field's own, set back by its metaclass
    sentence = serializers.CharField()
    count = serializers.IntegerField()
    status = serializers.ChoiceField(
        choices=Status.choices, help_text="`failed`, or `cancelled` for what the run's ceiling stopped."
    )


class ProviderHealthSerializer(_WithPrivateFields, serializers.ModelSerializer):
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


class UnknownOutcomesSerializer(serializers.Serializer):
    """Calls of a run of which nobody knows whether they were carried out."""

    count = serializers.IntegerField()
    at_risk_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    sentence = serializers.CharField()


class FailureDetailSerializer(_WithPrivateFields, FailureGroupSerializer):
    """Generations that ended for the same reason, with what the provider said most often."""

    private_fields = ("messages",)
    messages = serializers.ListField(child=serializers.CharField(), help_text="At most three; for admins.")


class RunProgressSerializer(serializers.Serializer):
    """How a run is getting on."""

    per_minute = serializers.FloatField(allow_null=True, help_text="Finished per minute lately.")
    ends_at = serializers.DateTimeField(allow_null=True, help_text="Expected end at that rate.")
    cost_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    expected_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    reserved_usd = serializers.DecimalField(
        max_digits=16, decimal_places=6, help_text="Held back by quotas for what has not ended or is at risk."
    )
    at_risk_usd = serializers.DecimalField(
        max_digits=16, decimal_places=6, help_text="Perhaps paid for calls whose outcome nobody knows."
    )
    failures = FailureGroupSerializer(many=True)


class RunDetailSerializer(RunSerializer):
    """A run with its progress."""

    progress = RunProgressSerializer(read_only=True)

    class Meta(RunSerializer.Meta):
        fields = (*RunSerializer.Meta.fields, "progress")  # type: ignore[assignment]


class RunStandingSerializer(RunProgressSerializer):
    """How far a run is."""

    state = serializers.ChoiceField(choices=Status.choices)
    counts = serializers.DictField(child=serializers.IntegerField())
    n_total = serializers.IntegerField()
    n_finished = serializers.IntegerField()
    is_finished = serializers.BooleanField()


class GridOutputSerializer(_ImageSerializer):
    """An image in a run's grid."""

    near_duplicate_of = serializers.UUIDField(source="near_duplicate_of_id", read_only=True, allow_null=True)

    class Meta:
        model = OutputImage
        fields = (
            "id",
            "position",
            "width_px",
            "height_px",
            "rating",
            "is_near_duplicate",
            "near_duplicate_of",
            "url",
            "thumbnail_url",
        )


class GridGenerationSerializer(serializers.ModelSerializer):
    """A generation in a run's grid."""

    outputs = GridOutputSerializer(many=True, read_only=True)

    class Meta:
        model = Generation
        fields = ("id", "repeat", "status", "error_code", "result_rating", "outputs")


class GridCellSerializer(serializers.Serializer):
    """What one version made of one case."""

    prompt_version = serializers.UUIDField()
    generations = GridGenerationSerializer(many=True)


class GridRowSerializer(serializers.Serializer):
    """One case with a cell for each version of the run."""

    dataset_item = serializers.UUIDField(source="item_id", allow_null=True)
    position = serializers.IntegerField()
    case_key = serializers.CharField(source="key")
    brief = serializers.CharField()
    tags = serializers.ListField(child=serializers.CharField())
    cells = GridCellSerializer(many=True, source="named_cells")


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
            "is_completed_after_cancel",
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
