"""The API's shapes of queues, assignments and ratings."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.models import User
from evaluations.assignment.strategies import MAX_PREFETCH
from evaluations.choices import AssignmentState
from evaluations.models import Criterion, Rating, ReviewQueue
from evaluations.selectors import get_pseudonym
from evaluations.services.holding import MAX_HELD
from evaluations.services.reviewing import MAX_NOTE_LENGTH
from generations.choices import ImageRole
from generations.models import Dataset, InputImage, OutputImage, Run
from mayagen.common.api import (
    StrictIntegerField,
    StrictPrimaryKeyField,
    StrictSerializer,
    StrictUUIDField,
)
from prompts.models import Prompt


class LevelSerializer(serializers.Serializer):
    """One level of a scale."""

    level = serializers.IntegerField()
    name = serializers.CharField()
    description = serializers.CharField()


class QuestionSerializer(serializers.Serializer):
    """What is asked of an image."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField()
    levels = LevelSerializer(many=True)


class BlindImageSerializer(serializers.Serializer):
    """An image as evaluators are shown it: one format, one size, a random address."""

    url = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()


class BlindInputSerializer(BlindImageSerializer):
    """An input image likewise."""

    role = serializers.ChoiceField(choices=ImageRole.choices)


class OwnRatingSerializer(serializers.Serializer):
    """The rating that an assignment was submitted with."""

    level = serializers.IntegerField()
    note = serializers.CharField()
    flagged = serializers.BooleanField()
    surplus = serializers.BooleanField(help_text="Kept, but given after somebody else took the place.")


class AssignmentSerializer(serializers.Serializer):
    """An assigned item."""

    id = serializers.UUIDField()
    state = serializers.ChoiceField(choices=AssignmentState.choices)
    brief = serializers.CharField()
    lease_expires_at = serializers.DateTimeField(allow_null=True)
    criterion = QuestionSerializer()
    image = BlindImageSerializer()
    inputs = BlindInputSerializer(many=True)
    rating = OwnRatingSerializer(allow_null=True)


class AssignmentsSerializer(serializers.Serializer):
    """Assigned items."""

    assignments = AssignmentSerializer(many=True)


class HistorySerializer(serializers.Serializer):
    """A page of one's own rated and skipped items, newest first."""

    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = AssignmentSerializer(many=True)


class ProgressSerializer(serializers.Serializer):
    """How far one is in a queue."""

    due = serializers.IntegerField()
    due_is_capped = serializers.BooleanField()
    rated_by_me = serializers.IntegerField()
    rated_by_me_today = serializers.IntegerField()
    pace_per_hour = serializers.IntegerField(allow_null=True)


class LeaseSerializer(serializers.Serializer):
    """A lease and its end."""

    id = serializers.UUIDField()
    lease_expires_at = serializers.DateTimeField()


class LeasesSerializer(serializers.Serializer):
    """What is still held, and what no longer is."""

    assignments = LeaseSerializer(many=True)
    lost = serializers.ListField(child=serializers.UUIDField())


class NextSerializer(StrictSerializer):
    """How many items are wanted in all."""

    count = StrictIntegerField(min_value=1, max_value=MAX_PREFETCH, default=1)


class HeldSerializer(StrictSerializer):
    """The items that the page holds."""

    assignments = serializers.ListField(child=StrictUUIDField(), max_length=MAX_HELD)


class HeartbeatSerializer(HeldSerializer):
    """The items that the page holds, and which of them is in sight."""

    shown = StrictUUIDField(allow_null=True, default=None)


class SubmitSerializer(StrictSerializer):
    """A rating of an assigned item."""

    level = StrictIntegerField()
    note = serializers.CharField(
        allow_blank=True,
        default="",
        trim_whitespace=False,
        help_text=f"At most {MAX_NOTE_LENGTH} characters.",
    )
    flagged = serializers.BooleanField(default=False)
    shown_at = serializers.DateTimeField(allow_null=True, default=None)
    decided_ms = StrictIntegerField(allow_null=True, default=None, min_value=0)


class SkipSerializer(StrictSerializer):
    """Why an item is skipped."""

    note = serializers.CharField(allow_blank=True, default="", trim_whitespace=False)
    flagged = serializers.BooleanField(default=False)


class EmptySerializer(StrictSerializer):
    """Nothing."""


class CriterionSerializer(serializers.ModelSerializer):
    """A criterion."""

    class Meta:
        model = Criterion
        fields = ("id", "slug", "name")


class OpenQueueSerializer(serializers.ModelSerializer):
    """A queue as those see it who rate in it: its filter would tell what it hides."""

    class Meta:
        model = ReviewQueue
        fields = ("id", "name", "instructions")


class ReviewQueueSerializer(serializers.ModelSerializer):
    """A queue."""

    criterion = CriterionSerializer(read_only=True)
    evaluators = serializers.SerializerMethodField(help_text="Ids; null for who may not know people.")

    class Meta:
        model = ReviewQueue
        fields = (
            "id",
            "name",
            "instructions",
            "criterion",
            "prompts",
            "runs",
            "datasets",
            "evaluators",
            "overlap",
            "is_blind",
            "is_default",
            "is_active",
            "held_lease_seconds",
            "shown_lease_seconds",
            "created_at",
            "deleted_at",
        )

    def get_evaluators(self, queue: ReviewQueue) -> list[str] | None:
        """Return who rates in the queue; empty for everybody who may."""
        if not self.context.get("knows_people"):
            return None
        return [str(person.pk) for person in queue.evaluators.all()]


class QueueFieldsSerializer(StrictSerializer):
    """What a queue is made from."""

    name = serializers.CharField(max_length=120)
    instructions = serializers.CharField(allow_blank=True, required=False, max_length=10_000)
    criterion = StrictPrimaryKeyField(queryset=Criterion.objects.all())
    prompts = StrictPrimaryKeyField(queryset=Prompt.objects.alive(), many=True, required=False)
    runs = StrictPrimaryKeyField(queryset=Run.objects.all(), many=True, required=False)
    datasets = StrictPrimaryKeyField(queryset=Dataset.objects.alive(), many=True, required=False)
    evaluators = StrictPrimaryKeyField(queryset=User.objects.all(), many=True, required=False)
    overlap = StrictIntegerField(min_value=1, max_value=100, required=False)
    is_blind = serializers.BooleanField(required=False)
    is_active = serializers.BooleanField(required=False)
    held_lease_seconds = StrictIntegerField(min_value=30, max_value=3_600, required=False)
    shown_lease_seconds = StrictIntegerField(min_value=60, max_value=86_400, required=False)


class BlindRatingSerializer(serializers.ModelSerializer):
    """One's own rating, without anything that a blind queue hides."""

    level_name = serializers.CharField(source="scale_level.name", read_only=True)
    criterion = serializers.CharField(source="criterion.slug", read_only=True)
    assignment = serializers.UUIDField(source="assignment.public_id", read_only=True, allow_null=True)

    class Meta:
        model = Rating
        fields = (
            "id",
            "queue",
            "assignment",
            "criterion",
            "level",
            "level_name",
            "note",
            "is_flagged",
            "is_surplus",
            "revision",
            "is_standing",
            "ended_at",
            "created_at",
        )


class RatingSerializer(serializers.ModelSerializer):
    """A rating with its provenance; the rater by a name that only those see who may know people."""

    level_name = serializers.CharField(source="scale_level.name", read_only=True)
    criterion = serializers.CharField(source="criterion.slug", read_only=True)
    generation = serializers.SerializerMethodField()
    rater = serializers.SerializerMethodField(help_text="The person's id, or a lasting pseudonym.")
    rater_name = serializers.SerializerMethodField(help_text="Null where the rater is a pseudonym.")

    class Meta:
        model = Rating
        fields = (
            "id",
            "generation",
            "output_image",
            "input_image",
            "prompt_version",
            "criterion",
            "scale",
            "level",
            "level_name",
            "rater",
            "rater_name",
            "rater_kind",
            "note",
            "is_flagged",
            "queue",
            "mode",
            "is_blind",
            "is_gold",
            "is_surplus",
            "is_excluded",
            "exclusion_reason",
            "shown_at",
            "decided_ms",
            "revision",
            "is_standing",
            "ended_at",
            "created_at",
        )

    def get_generation(self, rating: Rating) -> str:
        """Return the id of the generation whose image was rated."""
        image = rating.output_image or rating.input_image
        return str(image.generation_id) if image else ""

    def get_rater(self, rating: Rating) -> str:
        """Return who rated."""
        return str(rating.rater_id) if self.context.get("knows_people") else get_pseudonym(rating.rater_id)

    def get_rater_name(self, rating: Rating) -> str | None:
        """Return the rater's name."""
        return str(rating.rater) if self.context.get("knows_people") else None


class OpenRatingSerializer(StrictSerializer):
    """A rating of one image of a generation."""

    level = StrictIntegerField()
    note = serializers.CharField(allow_blank=True, default="", trim_whitespace=False)
    output = StrictPrimaryKeyField(queryset=OutputImage.objects.all(), default=None, allow_null=True)
    input = StrictPrimaryKeyField(queryset=InputImage.objects.all(), default=None, allow_null=True)


class RatedImageSerializer(StrictSerializer):
    """Which image of a generation; may be left out where there is one output."""

    output = StrictPrimaryKeyField(queryset=OutputImage.objects.all(), default=None, allow_null=True)
    input = StrictPrimaryKeyField(queryset=InputImage.objects.all(), default=None, allow_null=True)


class ImageConsensusSerializer(serializers.Serializer):
    """An image and its consensus."""

    id = serializers.UUIDField()
    rating = serializers.DecimalField(max_digits=4, decimal_places=2, allow_null=True)


class GenerationRatingSerializer(serializers.Serializer):
    """What people think of a generation."""

    rating = serializers.DecimalField(max_digits=4, decimal_places=2, allow_null=True)
    outputs = ImageConsensusSerializer(many=True)
    inputs = ImageConsensusSerializer(many=True)
    mine = RatingSerializer(many=True)
    ratings: Any = RatingSerializer(many=True)
