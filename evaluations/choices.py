"""The vocabularies of reviewing."""

from __future__ import annotations

from django.db import models


class Mode(models.TextChoices):
    """How a queue asks."""

    RATING = "rating", "Rating"


class AssignmentState(models.TextChoices):
    """Where one evaluator stands with one item."""

    LEASED = "leased", "Leased"
    SUBMITTED = "submitted", "Submitted"
    SKIPPED = "skipped", "Skipped"
    RETURNED = "returned", "Returned"
    EXPIRED = "expired", "Expired"


KEEPS_ITEM_FROM_RETURNING = (AssignmentState.LEASED, AssignmentState.SUBMITTED, AssignmentState.SKIPPED)
"""The states in which an item is not offered to the same evaluator again."""


class RaterKind(models.TextChoices):
    """Who rated; only people count in the consensus."""

    PERSON = "person", "Person"
    MODEL = "model", "Model"
    CODE = "code", "Code"
    IMPORT = "import", "Import"
