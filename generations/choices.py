"""The vocabularies of runs and generations."""

from __future__ import annotations

from django.db import models


class Status(models.TextChoices):
    """Where a generation stands; the last three are final."""

    QUEUED = "queued", "Queued"
    PROCESSING = "processing", "Processing"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


FINAL_STATUSES = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)


class Priority(models.IntegerChoices):
    """Which queued work is taken up first."""

    LOW = -1, "Low"
    NORMAL = 0, "Normal"
    HIGH = 1, "High"


class Source(models.TextChoices):
    """Who made a generation's outputs."""

    ENGINE = "engine", "Generated here"
    EXTERNAL = "external", "Made elsewhere"


class AttemptState(models.TextChoices):
    """What is known of one call to a provider."""

    STARTED = "started", "Started"
    SUBMITTED = "submitted", "Submitted"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    UNKNOWN = "unknown", "Outcome unknown"
    CANCELLED = "cancelled", "Cancelled"


class ImageRole(models.TextChoices):
    """What an input image is for."""

    REFERENCE = "reference", "Reference"
    MASK = "mask", "Mask"


class ErrorCode(models.TextChoices):
    """Why a generation failed; the provider adapters' codes and the engine's own."""

    REFUSED = "refused", "Refused by the provider"
    INVALID_REQUEST = "invalid_request", "Invalid request"
    RATE_LIMITED = "rate_limited", "Rate limited"
    QUOTA_EXHAUSTED = "quota_exhausted", "Provider quota exhausted"
    PROVIDER_UNAVAILABLE = "provider_unavailable", "Provider unavailable"
    TIMEOUT = "timeout", "Timed out"
    BAD_OUTPUT = "bad_output", "Unusable output"
    OUTCOME_UNKNOWN = "outcome_unknown", "Outcome unknown"
    CONFIGURATION = "configuration", "Model not set up"
