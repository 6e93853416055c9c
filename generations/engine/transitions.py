"""Every write of the engine about a claimed generation: compare-and-set on status and fence, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any, Self

from django.db import connection, transaction
from django.db.models import DurationField, ExpressionWrapper, F, Model, Value
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
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, answers: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether its attempt was still open."""
        ids = [answer.work.attempt_id for answer in answers]
        still_open = Attempt.objects.in_flight().filter(id__in=ids).order_by("id").select_for_update()
        open_ids = set(still_open.values_list("id", flat=True))
        won = [answer.work.attempt_id in open_ids for answer in answers]
        Attempt.objects.filter(id__in=open_ids).update(state=AttemptState.SUCCEEDED, answered_at=Now())
        update_each(
            Attempt,
            {
                answer.work.attempt_id: {
                    "duration_ms": answer.duration_ms,
                    "cost_usd": answer.cost_usd,
                    "provider_request_id": answer.provider_request_id[:200],
                    "provider_metadata": dict(answer.provider_metadata),
                }
                for answer, is_open in zip(answers, won, strict=True)
                if is_open
            },
        )
        return won


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
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, completions: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether this worker still held its generation."""
        ids = [completed.work.generation_id for completed in completions]
        processing = Generation.objects.filter(id__in=ids, status=Status.PROCESSING)
        fences = dict(processing.order_by("id").select_for_update().values_list("id", "fence"))
        won = [fences.get(completed.work.generation_id) == completed.work.fence for completed in completions]
        winners = [completed for completed, is_held in zip(completions, won, strict=True) if is_held]
        Generation.objects.filter(id__in=[completed.work.generation_id for completed in winners]).update(
            status=Status.COMPLETED,
            finished_at=Now(),
            lease_expires_at=None,
            error_code="",
            error_message="",
            provider_error_code="",
            provider_message="",
        )
        update_each(
            Generation,
            {
                completed.work.generation_id: {
                    "duration_ms": completed.duration_ms,
                    "cost_usd": completed.cost_usd,
                    "warning": completed.warning,
                }
                for completed in winners
            },
        )
        OutputImage.objects.bulk_create(image for completed in winners for image in completed.outputs)
        return won


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


def apply_all(transitions: Sequence[Transition]) -> list[bool]:
    """Write the transitions in one transaction, or none; return for each whether it was still wanted.

    Those of the two kinds that come by the hundred are written together; no two of them are about the same
    generation, since each is awaited before the next is made.
    """
    results: dict[int, bool] = {}
    with transaction.atomic():
        for kind in (Answered, Completed):
            alike = {
                index: transition
                for index, transition in enumerate(transitions)
                if isinstance(transition, kind)
            }
            if alike:
                results.update(zip(alike, kind.apply_many(list(alike.values())), strict=True))  # type: ignore[arg-type]
        for index, transition in enumerate(transitions):
            if index not in results:
                results[index] = transition.apply()
    return [results[index] for index in range(len(transitions))]


def update_each(model: type[Model], changes: Mapping[uuid.UUID, Mapping[str, Any]]) -> None:
    """Give each row its own values of the same fields, in one round trip; the caller holds their locks."""
    if not changes:
        return
    meta = model._meta
    primary_key: Any = meta.pk
    fields: list[Any] = [meta.get_field(name) for name in next(iter(changes.values()))]
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    statement = f"UPDATE {quote(meta.db_table)} SET {assignments} WHERE {quote(primary_key.column)} = %s"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.executemany(
            statement,
            [
                [
                    *(field.get_db_prep_save(values[field.name], connection) for field in fields),
                    primary_key.get_db_prep_save(key, connection),
                ]
                for key, values in changes.items()
            ],
        )


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
