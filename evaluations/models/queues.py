"""What is reviewed, by whom, and who holds which item now."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q

from accounts.models import User
from evaluations.choices import AssignmentState, Mode
from evaluations.models.criteria import Criterion
from evaluations.querysets import AssignmentQuerySet, ReviewQueueQuerySet
from generations.models import Dataset, OutputImage, Run
from mayagen.common.ids import random_id
from mayagen.common.models import SoftDeleteModel, UUIDModel
from prompts.models import Prompt


class ReviewQueue(SoftDeleteModel, UUIDModel):
    """What is reviewed and how; its work is a query over completed outputs, pulled into `QueueItem` rows.

    An empty filter matches every output, except in the default queue: it holds every output that nobody has
    rated anywhere. Elsewhere only ratings given in the queue itself fill its places. `synced_at` is when new
    outputs were last pulled, `reconciled_at` when all of them were compared.
    """

    name = models.CharField(max_length=120)
    instructions = models.TextField(blank=True)
    mode = models.CharField(max_length=12, choices=Mode.choices, default=Mode.RATING)
    criterion = models.ForeignKey(Criterion, on_delete=models.PROTECT, related_name="queues")
    prompts: models.ManyToManyField[Prompt, models.Model] = models.ManyToManyField(
        Prompt, blank=True, related_name="+"
    )
    runs: models.ManyToManyField[Run, models.Model] = models.ManyToManyField(
        Run, blank=True, related_name="+"
    )
    datasets: models.ManyToManyField[Dataset, models.Model] = models.ManyToManyField(
        Dataset, blank=True, related_name="+"
    )
    evaluators: models.ManyToManyField[User, models.Model] = models.ManyToManyField(
        User, blank=True, related_name="+", help_text="Nobody chosen: every evaluator."
    )
    overlap = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="Ratings wanted for each image."
    )
    is_blind = models.BooleanField(default=True)
    is_default = models.BooleanField(default=False, editable=False)
    is_active = models.BooleanField(default=True)
    held_lease_seconds = models.PositiveIntegerField(
        default=180, validators=[MinValueValidator(30), MaxValueValidator(3600)]
    )
    shown_lease_seconds = models.PositiveIntegerField(
        default=900, validators=[MinValueValidator(60), MaxValueValidator(86400)]
    )
    synced_at = models.DateTimeField(null=True, blank=True, editable=False)
    reconciled_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    objects = ReviewQueueQuerySet.as_manager()

    class Meta:
        permissions = (
            ("review", "Can work in review queues"),
            ("view_analytics", "Can read rating analytics"),
        )
        constraints = (
            models.UniqueConstraint(
                fields=["is_default"], condition=Q(is_default=True), name="review_queue_one_default"
            ),
            models.CheckConstraint(condition=Q(overlap__gte=1), name="review_queue_overlap_positive"),
        )

    def __str__(self) -> str:
        return self.name


class QueueItem(models.Model):
    """One output in one queue, with how many places are open for raters.

    `n_open` is the overlap less the assignments that hold a place; it is kept in step in the transactions
    that lease, submit, return and expire, so the next item is one indexed read however long the queue.
    `shuffle_key` gives the queue a random order that mixes versions.
    """

    id = models.BigAutoField(primary_key=True)
    # Indexes that lead with the column serve it; each of their own would cost a write per rating.
    queue = models.ForeignKey(ReviewQueue, on_delete=models.CASCADE, related_name="items", db_index=False)
    output_image = models.ForeignKey(OutputImage, on_delete=models.PROTECT, related_name="queue_items")
    shuffle_key = models.IntegerField()
    n_open = models.SmallIntegerField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["queue", "output_image"], name="queue_item_unique"),
            models.CheckConstraint(condition=Q(n_open__gte=0), name="queue_item_open_not_negative"),
        )
        indexes = (
            models.Index(
                fields=["queue", "shuffle_key", "id"], name="queue_item_open", condition=Q(n_open__gt=0)
            ),
        )

    def __str__(self) -> str:
        return f"Item {self.pk}"


class Assignment(UUIDModel):
    """One evaluator's stand with one item; `public_id` is random, the only id that the evaluator is given.

    There is one for each item and evaluator: an item that comes back to somebody is the same assignment,
    leased again. `holds_place` says whether it is one of the ratings wanted for the item: from the lease on
    while nothing speaks against it, no longer once the item was given back, skipped or its place was lost,
    and not when the rating is excluded.
    """

    public_id = models.UUIDField(default=random_id, unique=True, editable=False)
    # Each rating changes the row twice and with it every index, so there are as few as the reads need.
    queue = models.ForeignKey(
        ReviewQueue, on_delete=models.PROTECT, related_name="assignments", db_index=False
    )
    item = models.ForeignKey(QueueItem, on_delete=models.PROTECT, related_name="assignments", db_index=False)
    output_image = models.ForeignKey(OutputImage, on_delete=models.PROTECT, related_name="+", db_index=False)
    evaluator = models.ForeignKey(User, on_delete=models.PROTECT, related_name="assignments", db_index=False)
    state = models.CharField(max_length=10, choices=AssignmentState.choices, default=AssignmentState.LEASED)
    holds_place = models.BooleanField(default=True)
    lease_expires_at = models.DateTimeField()
    shown_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    note = models.TextField(blank=True)
    is_flagged = models.BooleanField(default=False)

    objects = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["item", "evaluator"], name="assignment_once_per_evaluator"),
            models.CheckConstraint(
                condition=Q(state=AssignmentState.LEASED) | Q(finished_at__isnull=False),
                name="assignment_ended_has_finish_time",
            ),
        )
        indexes = (
            models.Index(
                fields=["lease_expires_at"],
                name="assignment_leased",
                condition=Q(state=AssignmentState.LEASED),
            ),
            models.Index(
                fields=["evaluator", "queue"],
                name="assignment_held",
                condition=Q(state=AssignmentState.LEASED),
            ),
            models.Index(fields=["evaluator", "-finished_at", "-id"], name="assignment_history"),
        )

    def __str__(self) -> str:
        return f"Assignment {self.public_id}"
