"""Every write of the engine about a claimed generation: compare-and-set on status and fence, in batches."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import IntEnum
from typing import Any, Final, Self

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.answering import Answered, Ended, Submitted, write_answers
from generations.engine.holding import Confirmed, LeftOpen, Postponed, after, is_ours
from generations.engine.work import Work
from generations.image_files import StoredCopies
from generations.models import Attempt, Generation, OutputImage
from generations.services.ledger import Entry, book, release_ended, release_late
from mayagen.common.statements import IsAmong, KeptStatement, insert_each, to_uuid, update_each

LATE_WARNING: Final = "The provider delivered this although the generation had been cancelled."


class Written(IntEnum):
    """Whether a transition was still wanted; of something cancelled, what came all the same is kept late.

    `BEFORE` it was written by a commit whose answer was lost.
    """

    NO = 0
    YES = 1
    LATE = 2
    BEFORE = 3


@dataclass(frozen=True, slots=True)
class Completed:
    """The images are on disk: rows and status become true together.

    Args:
        unwritten_answer: What the call brought, where that was not written before.
    """

    work: Work
    outputs: Sequence[OutputImage]
    duration_ms: int
    cost_usd: Decimal | None
    warning: str = ""
    unwritten_answer: Answered | None = None

    def get_warning(self, *, is_late: bool) -> str:
        """Return what people are to know of the result."""
        return "\n".join(filter(None, (LATE_WARNING if is_late else "", self.warning)))

    def list_entries(self) -> list[Entry]:
        """Return what the ledger is to be told."""
        return [Entry(self.work.account, self.work.reserved_usd, self.cost_usd)]

    def apply(self) -> Written:
        """Write it; return whether this worker still held the generation."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, completions: Sequence[Self]) -> list[Written]:
        """Write them; return for each whether this worker still held its generation.

        One that was cancelled in flight stays cancelled, keeps what came all the same, and says so.
        """
        facts = {
            to_uuid(row_id): (status, fence)
            for row_id, status, fence in _TAKING.run_planned_anew(
                generations={completed.work.generation_id for completed in completions}
            )
        }
        won = [
            is_ours(completed.work, *facts.get(completed.work.generation_id, ("", 0)))
            for completed in completions
        ]
        winners = [completed for completed, is_won in zip(completions, won, strict=True) if is_won]
        losers = [completed for completed, is_won in zip(completions, won, strict=True) if not is_won]
        late = {row_id for row_id, (status, _) in facts.items() if status == Status.CANCELLED}
        _write_completed(winners, late)
        before = _list_written(losers)
        return [
            _to_written(completed.work.generation_id, won=is_won, late=late, before=before)
            for completed, is_won in zip(completions, won, strict=True)
        ]


def _build_taking(generations: uuid.UUID) -> QuerySet[Any, Any]:
    """Lock the generations that take a result; one that was kept after a cancel takes no second one."""
    taking = Generation.objects.filter(IsAmong("id", generations), is_completed_after_cancel=False)
    return taking.order_by("id").select_for_update().values_list("id", "status", "fence")


_TAKING: Final = KeptStatement(_build_taking, "generations")


def _write_completed(winners: Sequence[Completed], late: set[uuid.UUID]) -> None:
    """Write what has come of generations that are this worker's and locked; `late` were cancelled."""
    write_answers([each.unwritten_answer for each in winners if each.unwritten_answer is not None])
    update_each(
        Generation,
        {
            completed.work.generation_id: {
                "duration_ms": completed.duration_ms,
                "cost_usd": completed.cost_usd,
                "warning": completed.get_warning(is_late=False),
            }
            for completed in winners
            if completed.work.generation_id not in late
        },
        status=Status.COMPLETED,
        finished_at=Now(),
        lease_expires_at=None,
        reserved_usd=None,
        error_code="",
        error_message="",
        provider_error_code="",
        provider_message="",
    )
    # The cost of a late one is for the ledger to settle, which may have counted it before.
    update_each(
        Generation,
        {
            completed.work.generation_id: {
                "duration_ms": completed.duration_ms,
                "warning": completed.get_warning(is_late=True),
            }
            for completed in winners
            if completed.work.generation_id in late
        },
        is_completed_after_cancel=True,
        lease_expires_at=None,
    )
    insert_each([image for completed in winners for image in completed.outputs])


def _list_written(completions: Sequence[Completed]) -> set[uuid.UUID]:
    """Return the generations that have these very outputs already."""
    ids = [image.pk for completed in completions for image in completed.outputs]
    if not ids:
        return set()
    return set(OutputImage.objects.filter(pk__in=ids).values_list("generation_id", flat=True))


def _to_written(
    generation_id: uuid.UUID, *, won: bool, late: set[uuid.UUID], before: set[uuid.UUID]
) -> Written:
    if not won:
        return Written.BEFORE if generation_id in before else Written.NO
    return Written.LATE if generation_id in late else Written.YES


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
    """The attempt brought nothing: the generation is queued again after `delay_seconds`, or has failed.

    Args:
        is_spared: The provider could not be reached: the attempt counts towards no limit.
    """

    work: Work
    failure: Failure
    duration_ms: int
    delay_seconds: float | None = None
    cost_usd: Decimal | None = field(default=None)
    is_spared: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether this ends the generation and its cost is known; what may yet be charged stays held back."""
        is_unknown = self.failure.code == ErrorCode.OUTCOME_UNKNOWN and self.cost_usd is None
        return self.delay_seconds is None and not is_unknown

    def list_entries(self) -> list[Entry]:
        """Return what the ledger is to be told."""
        return [Entry(self.work.account, self.work.reserved_usd, self.cost_usd)] if self.is_settled else []

    def apply(self) -> bool:
        """Write it; return whether this worker still held the generation."""
        changes: dict[str, Any]
        if self.delay_seconds is not None:
            changes = {"status": Status.QUEUED, "due_at": after(self.delay_seconds)}
            if self.is_spared:
                changes["n_spared_attempts"] = F("n_spared_attempts") + 1
        else:
            changes = {
                "status": Status.FAILED,
                "finished_at": Now(),
                "duration_ms": self.duration_ms,
                "cost_usd": self.cost_usd,
            }
            if self.is_settled:
                changes["reserved_usd"] = None
        is_held = bool(
            _held(self.work).update(
                lease_expires_at=None, fence=F("fence") + 1, **changes, **self.failure.as_fields()
            )
        )
        # Whoever has the generation by now also has the attempt, and will say what became of it.
        if is_held or _cancelled(self.work).update(lease_expires_at=None):
            Attempt.objects.filter(pk=self.work.attempt_id).update(
                state=AttemptState.UNKNOWN if self.failure.is_unknown else AttemptState.FAILED,
                answered_at=Now(),
                duration_ms=self.duration_ms,
                **self._get_attempt_cost(is_held=is_held),
                **self.failure.as_fields(),
            )
        return is_held

    def _get_attempt_cost(self, *, is_held: bool) -> dict[str, Decimal | None]:
        """What a cancelled call of unknown outcome may have cost counts as spent: nobody decides it."""
        if self.cost_usd is not None:
            return {"cost_usd": self.cost_usd}
        return {} if is_held or not self.failure.is_unknown else {"cost_usd": self.work.reserved_usd}


@dataclass(frozen=True, slots=True)
class Dropped:
    """A person cancelled the generation, or another worker has it: the call is no longer waited for.

    Args:
        cost_usd: What it cost all the same.
    """

    work: Work
    cost_usd: Decimal | None = None

    def apply(self) -> bool:
        """Close the attempt if the generation was cancelled; return whether it was."""
        return bool(
            _open_attempt(self.work)
            .filter(generation__status=Status.CANCELLED)
            .update(state=AttemptState.CANCELLED, answered_at=Now(), cost_usd=self.cost_usd)
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """The copies of an output exist: it may be shown in lists and is due for review."""

    output_image_id: uuid.UUID
    copies: StoredCopies

    def apply(self) -> bool:
        """Write it; return whether nobody else had made them."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, prepared: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether nobody else had made them."""
        rows = _PREPARING.run_planned_anew(outputs=[each.output_image_id for each in prepared])
        copies = {to_uuid(row_id): blind for row_id, blind in rows}
        update_each(
            OutputImage,
            {
                each.output_image_id: {
                    "thumbnail": each.copies.thumbnail,
                    "small_thumbnail": each.copies.small_thumbnail,
                    "blind": each.copies.blind,
                    "perceptual_hash": each.copies.perceptual_hash,
                }
                for each in prepared
                if copies.get(each.output_image_id) == ""
            },
        )
        # These very copies may be there by a commit whose answer was lost.
        return [copies.get(each.output_image_id) in {"", each.copies.blind} for each in prepared]


def _build_preparing(outputs: uuid.UUID) -> QuerySet[Any, Any]:
    preparing = OutputImage.objects.filter(IsAmong("id", outputs))
    return preparing.order_by("id").select_for_update().values_list("id", "blind")


_PREPARING: Final = KeptStatement(_build_preparing, "outputs")


Transition = (
    Confirmed | Submitted | Ended | Answered | Completed | Failed | Postponed | LeftOpen | Dropped | Prepared
)


def apply_all(transitions: Sequence[Transition]) -> list[bool]:
    """Write the transitions in one transaction, or none; return for each whether it was still wanted.

    Those of the kinds that come by the hundred are written together; no two of them are about the same
    generation, since each is awaited before the next is made.
    """
    results: dict[int, bool | Written] = {}
    with transaction.atomic():
        for kind in (Confirmed, Submitted, Ended, Answered, Completed, Prepared):
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
        _account([(transition, results[index]) for index, transition in enumerate(transitions)])
    return [bool(results[index]) for index in range(len(transitions))]


def _account(written: Sequence[tuple[Transition, bool | Written]]) -> None:
    """Settle what has come to an end; not one statement where nothing was held back or spent.

    What let go of a cancelled generation, or came too late for one, may have been all it still waited for.
    """
    entries: list[Entry] = []
    late: dict[uuid.UUID, Decimal | None] = {}
    ended: list[uuid.UUID] = []
    for transition, is_won in written:
        if isinstance(transition, Completed | Failed) and is_won == Written.YES:
            entries += transition.list_entries()
        elif isinstance(transition, Completed) and is_won == Written.LATE:
            late[transition.work.generation_id] = transition.cost_usd
        elif isinstance(transition, Completed | Failed) or (isinstance(transition, Dropped) and is_won):
            ended.append(transition.work.generation_id)
    if late:
        entries += release_late(late)
    if ended:
        entries += release_ended(Generation.objects.filter(id__in=ended))
    book(entries)


def _held(work: Work) -> Any:
    return Generation.objects.filter(pk=work.generation_id, fence=work.fence, status=Status.PROCESSING)


def _cancelled(work: Work) -> Any:
    return Generation.objects.filter(pk=work.generation_id, fence=work.fence + 1, status=Status.CANCELLED)


def _open_attempt(work: Work) -> Any:
    return Attempt.objects.in_flight().filter(pk=work.attempt_id)
