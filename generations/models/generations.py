"""Generations and the attempts made for them."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from generations.choices import FINAL_STATUSES, AttemptState, ErrorCode, Priority, Source, Status
from generations.models.datasets import DatasetItem
from generations.models.runs import Run
from generations.querysets import AttemptQuerySet, GenerationQuerySet
from mayagen.common.models import UUIDModel
from prompts.models import ImageModel, PromptVersion


class Generation(UUIDModel):
    """One request to a provider, with all that is needed to make it again.

    The row is the queue: the engine claims due rows with a lease and a fencing number, and every
    transition is a compare-and-set on status and fence. `completed`, `failed` and `cancelled` are final;
    a retry is a new row that supersedes this one.

    `n_spared_attempts` were made while the provider could not be reached and count towards no limit. A
    cancelled generation whose provider delivered all the same keeps its outputs and its cost, and says so
    by `is_completed_after_cancel`. `accepted_as_lost_at` is when a person said not to send again a call of
    unknown outcome.

    `reserved_usd` is what quotas hold back for it, null when nothing is (its model is free, or it is
    settled); `cost_usd` is what they count as spent. Both change together with the ledger, `MonthlySpend`.
    """

    run = models.ForeignKey(Run, null=True, blank=True, on_delete=models.PROTECT, related_name="generations")
    prompt_version = models.ForeignKey(PromptVersion, on_delete=models.PROTECT, related_name="generations")
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="generations")
    dataset_item = models.ForeignKey(
        DatasetItem, null=True, blank=True, on_delete=models.PROTECT, related_name="generations"
    )
    case_key = models.CharField(max_length=120, blank=True)
    repeat = models.PositiveSmallIntegerField(default=0)
    source = models.CharField(max_length=10, choices=Source.choices, default=Source.ENGINE)
    status = models.CharField(max_length=12, choices=Status.choices, default=Status.QUEUED)
    priority = models.SmallIntegerField(choices=Priority.choices, default=Priority.NORMAL)

    brief = models.TextField(blank=True)
    variables = models.JSONField(default=dict, blank=True)
    system_prompt = models.TextField(blank=True)
    rendered_prompt = models.TextField(blank=True)
    negative_prompt = models.TextField(blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    seed = models.BigIntegerField(null=True, blank=True)
    n_outputs = models.PositiveSmallIntegerField(default=1)
    width_px = models.PositiveIntegerField(null=True, blank=True)
    height_px = models.PositiveIntegerField(null=True, blank=True)

    due_at = models.DateTimeField(default=timezone.now)
    fence = models.PositiveIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    worker = models.CharField(max_length=80, blank=True)
    n_attempts = models.PositiveSmallIntegerField(default=0)

    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    reserved_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True, editable=False)
    error_code = models.CharField(max_length=24, blank=True, choices=ErrorCode.choices)
    error_message = models.TextField(blank=True)
    provider_error_code = models.CharField(max_length=80, blank=True)
    provider_message = models.TextField(blank=True)
    warning = models.TextField(blank=True)

    result_rating = models.DecimalField(max_digits=4, decimal_places=2, null=True, blank=True, editable=False)
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")
    retry_of = models.OneToOneField(
        "self", null=True, blank=True, on_delete=models.PROTECT, related_name="retried_by"
    )
    is_superseded = models.BooleanField(default=False)
    n_spared_attempts = models.PositiveSmallIntegerField(default=0, db_default=0)
    is_completed_after_cancel = models.BooleanField(default=False, db_default=False)
    accepted_as_lost_at = models.DateTimeField(null=True, blank=True)

    objects = GenerationQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=Q(status__in=Status.values), name="generation_status_known"),
            models.CheckConstraint(
                condition=~Q(status__in=FINAL_STATUSES) | Q(finished_at__isnull=False),
                name="generation_final_has_finish_time",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.FAILED) | ~Q(error_code=""), name="generation_failed_has_code"
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.PROCESSING) | Q(lease_expires_at__isnull=False),
                name="generation_processing_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(source=Source.EXTERNAL) | Q(run__isnull=False), name="generation_engine_has_run"
            ),
            models.CheckConstraint(
                condition=Q(reserved_usd__isnull=True) | Q(reserved_usd__gte=0),
                name="generation_reserved_not_negative",
            ),
            models.CheckConstraint(
                condition=~Q(status=Status.COMPLETED) | Q(reserved_usd__isnull=True),
                name="generation_completed_is_settled",
            ),
            models.UniqueConstraint(
                fields=["run", "prompt_version", "case_key", "repeat"],
                condition=Q(is_superseded=False),
                name="generation_unique_in_run",
            ),
        )
        indexes = (
            models.Index(
                fields=["image_model", "-priority", "due_at", "id"],
                name="generation_due",
                condition=Q(status=Status.QUEUED),
            ),
            models.Index(
                fields=["lease_expires_at"], name="generation_leased", condition=Q(status=Status.PROCESSING)
            ),
            # With what lists count by, so that counting reads no rows.
            models.Index(fields=["run", "is_superseded", "status"], name="generation_run_current"),
            models.Index(
                fields=["prompt_version", "is_superseded", "status", "id"], name="generation_version_current"
            ),
            models.Index(
                fields=["status", "-id"], name="generation_current", condition=Q(is_superseded=False)
            ),
            models.Index(fields=["status", "-id"], name="generation_status_recent"),
            models.Index(fields=["finished_at"], name="generation_failed", condition=Q(status=Status.FAILED)),
            models.Index(fields=["-result_rating", "-id"], name="generation_rating"),
            models.Index(
                fields=["-id"],
                name="generation_unrated",
                condition=Q(status=Status.COMPLETED, result_rating__isnull=True),
            ),
        )

    def __str__(self) -> str:
        return f"Generation {str(self.id)[-12:]}"

    @property
    def is_final(self) -> bool:
        """Whether nothing will change its status any more."""
        return self.status in FINAL_STATUSES


class Attempt(UUIDModel):
    """One call to a provider, committed before the call leaves, so that no call is ever unknown to us."""

    generation = models.ForeignKey(Generation, on_delete=models.PROTECT, related_name="attempts")
    image_model = models.ForeignKey(ImageModel, on_delete=models.PROTECT, related_name="+")
    number = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=12, choices=AttemptState.choices, default=AttemptState.STARTED)
    fence = models.PositiveIntegerField()
    worker = models.CharField(max_length=80, blank=True)
    idempotency_key = models.CharField(max_length=64, unique=True)
    provider_job_id = models.CharField(max_length=200, blank=True)
    provider_request_id = models.CharField(max_length=200, blank=True)
    webhook_at = models.DateTimeField(null=True, blank=True)
    provider_metadata = models.JSONField(default=dict, blank=True)
    started_at = models.DateTimeField(default=timezone.now)
    job_ended_at = models.DateTimeField(null=True, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    duration_ms = models.PositiveIntegerField(null=True, blank=True)
    cost_usd = models.DecimalField(max_digits=12, decimal_places=6, null=True, blank=True)
    error_code = models.CharField(max_length=24, blank=True, choices=ErrorCode.choices)
    error_message = models.TextField(blank=True)
    provider_error_code = models.CharField(max_length=80, blank=True)
    provider_message = models.TextField(blank=True)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=["generation", "number"], name="attempt_number_unique"),
            models.CheckConstraint(
                condition=Q(state__in=[AttemptState.STARTED, AttemptState.SUBMITTED])
                | Q(answered_at__isnull=False),
                name="attempt_ended_has_answer_time",
            ),
        )
        indexes = (
            models.Index(
                fields=["image_model"], name="attempt_in_flight", condition=Q(answered_at__isnull=True)
            ),
            models.Index(fields=["provider_job_id"], name="attempt_job", condition=~Q(provider_job_id="")),
        )

    def __str__(self) -> str:
        return f"Attempt {self.number}"
