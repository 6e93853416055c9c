"""Ratings, with where each came from, and the tallies that analytics read."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from evaluations.choices import Mode, RaterKind
from evaluations.models.criteria import Criterion, Scale, ScaleLevel
from evaluations.models.queues import Assignment, ReviewQueue
from evaluations.querysets import RatingQuerySet
from generations.models import InputImage, OutputImage
from mayagen.common.models import UUIDModel
from prompts.models import PromptVersion


class Rating(UUIDModel):
    """One rater's level on one criterion of one image.

    Never overwritten: a revision is a new row and the old one stops standing, as does a withdrawn one.
    It counts in the consensus when it stands, comes from a person and is not gold, excluded or surplus.
    """

    output_image = models.ForeignKey(OutputImage, null=True, on_delete=models.PROTECT, related_name="ratings")
    input_image = models.ForeignKey(InputImage, null=True, on_delete=models.PROTECT, related_name="ratings")
    prompt_version = models.ForeignKey(
        PromptVersion, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    criterion = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="ratings", db_index=False)
    scale = models.ForeignKey(Scale, on_delete=models.PROTECT, related_name="+", db_index=False)
    scale_level = models.ForeignKey(ScaleLevel, on_delete=models.PROTECT, related_name="+", db_index=False)
    level = models.PositiveSmallIntegerField()
    rater = models.ForeignKey(User, on_delete=models.PROTECT, related_name="ratings", db_index=False)
    rater_kind = models.CharField(max_length=8, choices=RaterKind.choices, default=RaterKind.PERSON)
    note = models.TextField(blank=True)
    is_flagged = models.BooleanField(default=False)

    queue = models.ForeignKey(ReviewQueue, null=True, on_delete=models.PROTECT, related_name="ratings")
    assignment = models.ForeignKey(Assignment, null=True, on_delete=models.PROTECT, related_name="ratings")
    mode = models.CharField(max_length=12, choices=Mode.choices, default=Mode.RATING)
    is_blind = models.BooleanField()
    is_gold = models.BooleanField(default=False)
    is_surplus = models.BooleanField(default=False)
    is_excluded = models.BooleanField(default=False)
    exclusion_reason = models.CharField(max_length=200, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True)
    decided_ms = models.PositiveIntegerField(null=True, blank=True)
    position = models.PositiveIntegerField(null=True, blank=True)

    revision = models.PositiveIntegerField(default=1)
    is_standing = models.BooleanField(default=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = RatingQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(output_image__isnull=False, input_image__isnull=True)
                | Q(output_image__isnull=True, input_image__isnull=False),
                name="rating_of_one_image",
            ),
            models.CheckConstraint(condition=Q(level__gte=1, level__lte=100), name="rating_level_range"),
            models.CheckConstraint(condition=Q(revision__gte=1), name="rating_revision_positive"),
            models.CheckConstraint(
                condition=Q(is_standing=True) | Q(ended_at__isnull=False), name="rating_ended_has_time"
            ),
            models.UniqueConstraint(
                fields=["output_image", "criterion", "rater"],
                condition=Q(is_standing=True, output_image__isnull=False),
                name="rating_one_standing_output",
            ),
            models.UniqueConstraint(
                fields=["input_image", "criterion", "rater"],
                condition=Q(is_standing=True, input_image__isnull=False),
                name="rating_one_standing_input",
            ),
        )
        indexes = (
            models.Index(fields=["rater", "-id"], name="rating_rater"),
            models.Index(fields=["prompt_version", "-id"], name="rating_version"),
        )

    def __str__(self) -> str:
        return f"{self.level} by {self.rater_id}"


class RatingTally(models.Model):
    """How many counted ratings of outputs a version has at a level, by day; equal to a recount always.

    Holds exactly the ratings that count in the consensus. Written in the transaction of the rating.
    """

    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.CASCADE, related_name="+")
    criterion = models.ForeignKey(Criterion, on_delete=models.CASCADE, related_name="+")
    scale = models.ForeignKey(Scale, on_delete=models.CASCADE, related_name="+")
    level = models.PositiveSmallIntegerField()
    is_blind = models.BooleanField()
    rated_on = models.DateField()
    n_ratings = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "rating tallies"
        constraints = (
            models.UniqueConstraint(
                fields=["prompt_version", "criterion", "scale", "level", "is_blind", "rated_on"],
                name="rating_tally_unique",
            ),
        )

    def __str__(self) -> str:
        return f"{self.n_ratings} × {self.level}"
