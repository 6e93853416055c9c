"""Every write of the engine about a claimed generation: compare-and-set on status and fence, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction
from django.db.models import DurationField, ExpressionWrapper, F, Value
from django.db.models.functions import Now

from generations.choices import AttemptState, Status
from generations.engine.claiming import LEASE
from generations.engine.work import Work
from generations.image_files import StoredCopies
from generations.models import Attempt, Generation, OutputImage


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider named the job; from here on it is asked for, never submitted again."""

    work: Work
    provider_job_id: str

    def apply(self) -> bool:
        """Write it; return whether this worker still holds the generation."""
        return bool(
            _open_attempt(self.work).update(
                state=AttemptState.SUBMITTED, provider_job_id=self.provider_job_id
            )
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """The call brought a result: the model's place is free, although the images are not stored yet."""

    work: Work
    duration_ms: int
    cost_usd: Decimal | None
    provider_request_id: str
    provider_metadata: Mapping[str, Any]

    def apply(self) -> bool:
        """Write it; return whether the attempt was still open."""
        return bool(
            _open_attempt(self.work).update(
                state=AttemptState.SUCCEEDED,
                answered_at=Now(),
                duration_ms=self.duration_ms,
                cost_usd=self.cost_usd,
                provider_request_id=self.provider_request_id[:200],
                provider_metadata=dict(self.provider_metadata),
            )
        )


@dataclass(frozen=True, slots=True)
class Completed:
    """The images are on disk: rows and status become true together."""

    work: Work
    outputs: Sequence[OutputImage]
    duration_ms: int
    cost_usd: Decimal | None
    warning: str = ""

    def apply(self) -> bool:
        """Write it; return whether this worker still held the generation."""
        won = _held(self.work).update(
            status=Status.COMPLETED,
            finished_at=Now(),
            lease_expires_at=None,
            duration_ms=self.duration_ms,
            cost_usd=self.cost_usd,
            warning=self.warning,
            error_code="",
            error_message="",
            provider_error_code="",
            provider_message="",
        )
        if won:
            OutputImage.objects.bulk_create(self.outputs)
        return bool(won)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, classed once."""

    code: str
    sentence: str
    provider_code: str = ""
    provider_message: str = ""
    is_unknown: bool = False

    def as_fields(self) -> dict[str, str]:
        """Return the values for the error columns of generations and attempts."""
        return {
            "error_code": self.code,
            "error_message": self.sentence,
            "provider_error_code": self.provider_code[:80],
            "provider_message": self.provider_message,
        }


@dataclass(frozen=True, slots=True)
class Failed:
    """The attempt brought nothing: the generation is queued again after `delay_seconds`, or has failed."""

    work: Work
    failure: Failure
    duration_ms: int
    delay_seconds: float | None = None
    cost_usd: Decimal | None = field(default=None)

    def apply(self) -> bool:
        """Write it; return whether this worker still held the generation."""
        Attempt.objects.filter(pk=self.work.attempt_id).exclude(state=AttemptState.CANCELLED).update(
            state=AttemptState.UNKNOWN if self.failure.is_unknown else AttemptState.FAILED,
            answered_at=Now(),
            duration_ms=self.duration_ms,
            **self.failure.as_fields(),
        )
        if self.delay_seconds is not None:
            wait = ExpressionWrapper(
                Now() + Value(timedelta(seconds=self.delay_seconds), output_field=DurationField()),
                output_field=Generation._meta.get_field("due_at"),
            )
            changes: dict[str, Any] = {"status": Status.QUEUED, "due_at": wait}
        else:
            changes = {
                "status": Status.FAILED,
                "finished_at": Now(),
                "duration_ms": self.duration_ms,
                "cost_usd": self.cost_usd,
            }
        return bool(
            _held(self.work).update(
                lease_expires_at=None, fence=F("fence") + 1, **changes, **self.failure.as_fields()
            )
        )


@dataclass(frozen=True, slots=True)
class Dropped:
    """A person cancelled the generation, or another worker has it: the call is no longer waited for."""

    work: Work

    def apply(self) -> bool:
        """Close the attempt if the generation was cancelled; return whether it was."""
        return bool(
            _open_attempt(self.work)
            .filter(generation__status=Status.CANCELLED)
            .update(state=AttemptState.CANCELLED, answered_at=Now())
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """The copies of an output exist: it may be shown in lists and is due for review."""

    output_image_id: uuid.UUID
    copies: StoredCopies

    def apply(self) -> bool:
        """Write it; return whether nobody else had made them."""
        return bool(
            OutputImage.objects.unprepared()
            .filter(pk=self.output_image_id)
            .update(
                thumbnail=self.copies.thumbnail,
                small_thumbnail=self.copies.small_thumbnail,
                blind=self.copies.blind,
            )
        )


Transition = Submitted | Answered | Completed | Failed | Dropped | Prepared


def apply_all(transitions: Iterable[Transition]) -> list[bool]:
    """Write the transitions in one transaction, or none; return for each whether it was still wanted."""
    with transaction.atomic():
        return [transition.apply() for transition in transitions]


def extend_leases(*, generation_ids: Sequence[uuid.UUID], worker: str) -> None:
    """Beat the leases that this worker still holds."""
    Generation.objects.filter(id__in=generation_ids, worker=worker, status=Status.PROCESSING).update(
        lease_expires_at=Now() + LEASE
    )


def list_held(*, generation_ids: Sequence[uuid.UUID], worker: str) -> set[uuid.UUID]:
    """Return which of the generations this worker still holds; the others were cancelled or taken over."""
    held = Generation.objects.filter(id__in=generation_ids, worker=worker, status=Status.PROCESSING)
    return set(held.values_list("id", flat=True))


def _held(work: Work) -> Any:
    return Generation.objects.filter(pk=work.generation_id, fence=work.fence, status=Status.PROCESSING)


def _open_attempt(work: Work) -> Any:
    return Attempt.objects.in_flight().filter(pk=work.attempt_id)
