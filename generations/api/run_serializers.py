"""What the API shows of runs: how far they are, what failed and why, and their grid."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from generations.api.serializers import ImageSerializer, WithPrivateFields
from generations.choices import FINAL_STATUSES, Status
from generations.models import Generation, OutputImage, Run
from generations.selectors import get_run_state


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


class UnknownOutcomesSerializer(serializers.Serializer):
    """Calls of a run of which nobody knows whether they were carried out."""

    count = serializers.IntegerField()
    at_risk_usd = serializers.DecimalField(max_digits=16, decimal_places=6)
    sentence = serializers.CharField()


class FailureDetailSerializer(WithPrivateFields, FailureGroupSerializer):
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


class GridOutputSerializer(ImageSerializer):
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
