"""What the engine carries about: one claimed generation with all that its call needs; plain values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The catalogue entry as it was when the work was claimed."""

    id: uuid.UUID
    provider: str
    endpoint: str
    kind: str
    base_url: str
    credential_name: str
    options: Mapping[str, Any]
    price_usd: Decimal | None
    timeout_seconds: int
    max_attempts: int
    repeats_unknown: bool


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An input image by its storage key; its bytes are read when the call is about to leave."""

    role: str
    name: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class Work:
    """One claimed generation and its open attempt.

    `fence` is the number under which it was claimed: every write about it is refused once the row has
    another. `provider_job_id` is filled when an earlier worker already submitted this attempt.
    """

    generation_id: uuid.UUID
    fence: int
    attempt_id: uuid.UUID
    attempt_number: int
    idempotency_key: str
    provider_job_id: str
    model: ModelSpec
    prompt: str
    system_prompt: str
    negative_prompt: str
    parameters: Mapping[str, Any]
    seed: int | None
    n_outputs: int
    width_px: int | None
    height_px: int | None
    inputs: tuple[StoredInput, ...]
    claimed_at: float = field(compare=False)
    """The worker's monotonic clock, in seconds, when the claim was made."""
