"""What the engine carries about: one claimed generation with all that its call needs; plain values."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from generations.services.ledger import Account


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The catalogue entry as it was when the work was claimed.

    `api_key` was looked up then too; `key_fault` says why there is none where one is named.
    """

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
    is_free: bool = False
    api_key: str | None = field(default=None, repr=False)
    key_fault: str = ""


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
    another. `provider_job_id` is filled when an earlier worker already submitted this attempt. What is held
    back for it on an account stays so for as long as the fence holds.

    `is_repeated` says that the attempt may have been sent before, by a worker that did not hear the answer.
    `n_spared_attempts` of the attempts so far count towards no limit. `is_unkeyed` says that the outcome of
    the call stays unknown if this worker dies. `is_probe` marks the one call that
    tries an address whose breaker is open, `is_cancelled` a job to be stopped, whose result is taken if it
    comes all the same.
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
    account: Account
    reserved_usd: Decimal | None
    claimed_at: float = field(compare=False)
    """The worker's own clock (`read_clock`) before the claim was made."""
    attempt_age_seconds: float = 0.0
    n_spared_attempts: int = 0
    is_repeated: bool = False
    is_unkeyed: bool = False
    is_probe: bool = False
    is_cancelled: bool = False

    @property
    def price_usd(self) -> Decimal | None:
        """What one image costs: by what was held back for it at launch, whatever the price is now."""
        if self.reserved_usd is None:
            return self.model.price_usd
        return round(self.reserved_usd / self.n_outputs, 6)

    @property
    def expected_cost_usd(self) -> Decimal | None:
        """What all its images cost, if nothing tells otherwise."""
        return None if self.price_usd is None else self.price_usd * self.n_outputs
