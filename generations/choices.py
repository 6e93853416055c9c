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


class ImportState(models.TextChoices):
    """Where a file on its way to a dataset version stands; the last three are final."""

    UPLOADED = "uploaded", "Waiting to be checked"
    CHECKING = "checking", "Being checked"
    CHECKED = "checked", "Checked"
    IMPORTING = "importing", "Being imported"
    COMPLETED = "completed", "Imported"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


FINAL_IMPORT_STATES = (ImportState.COMPLETED, ImportState.FAILED, ImportState.CANCELLED)
WORKED_IMPORT_STATES = (ImportState.UPLOADED, ImportState.CHECKING, ImportState.IMPORTING)


class RunKind(models.TextChoices):
    """What a run is for; the outputs of tests are in no review queue that does not name their run."""

    LAUNCHED = "launched", "Launched"
    TEST = "test", "Test of a model"


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


class BreakerState(models.TextChoices):
    """Whether a provider address is called."""

    CLOSED = "closed", "Closed: calls are made"
    OPEN = "open", "Open: work waits"
    HALF_OPEN = "half_open", "Half open: one call tries it"


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
    CEILING_REACHED = "ceiling_reached", "Run's ceiling reached"


# What the engine's own codes mean; the providers' codes bring their sentences with them.
OWN_SENTENCES = {
    ErrorCode.CEILING_REACHED: "The run had reached its ceiling before this was begun, so it was not sent."
}
