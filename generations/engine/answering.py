"""What is written of a call under way: its job was named, the job ended, the answer came."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Self

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from generations.choices import AttemptState
from generations.engine.holding import is_ours
from generations.engine.work import Work
from generations.models import Attempt, Generation
from mayagen.common.statements import IsAmong, KeptStatement, to_uuid, update_each


@dataclass(frozen=True, slots=True)
class Submitted:
    """The provider named the job; from here on it is asked for, never submitted again."""

    work: Work
    provider_job_id: str

    def apply(self) -> bool:
        """Write it; return whether the attempt is still open."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, submits: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether its attempt is still open."""
        open_ids = _lock_open([submitted.work for submitted in submits])
        update_each(
            Attempt,
            {
                submitted.work.attempt_id: {"provider_job_id": submitted.provider_job_id[:200]}
                for submitted in submits
                if submitted.work.attempt_id in open_ids
            },
            state=AttemptState.SUBMITTED,
        )
        return [submitted.work.attempt_id in open_ids for submitted in submits]


@dataclass(frozen=True, slots=True)
class Ended:
    """The provider's job has ended: the model's place is free, although the result is not fetched yet."""

    work: Work

    def apply(self) -> bool:
        """Write it; return whether the attempt is still open."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, ends: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether its attempt is still open."""
        open_ids = _lock_open([ended.work for ended in ends])
        update_each(Attempt, {each: {} for each in open_ids}, job_ended_at=Now())
        return [ended.work.attempt_id in open_ids for ended in ends]


@dataclass(frozen=True, slots=True)
class Answered:
    """The call brought a result: the model's place is free, although the images are not stored yet.

    The answer of a job, which gives it again when it is asked, is written with the images' rows.
    """

    work: Work
    duration_ms: int
    cost_usd: Decimal | None
    provider_request_id: str
    provider_metadata: Mapping[str, Any]

    def apply(self) -> bool:
        """Write it; return whether the attempt is this worker's."""
        return self.apply_many([self])[0]

    @classmethod
    def apply_many(cls, answers: Sequence[Self]) -> list[bool]:
        """Write them; return for each whether its attempt is this worker's.

        One that was written before, by a commit whose answer was lost, is written again.
        """
        ids = [answer.work.attempt_id for answer in answers]
        locked = {
            to_uuid(row_id): to_uuid(attempt_id)
            for row_id, attempt_id in _UNSETTLED.run_planned_anew(attempts=ids)
        }
        # Asked only now: a statement that waits for a lock sees other tables as they were before it waited,
        # and whoever had the attempts locked may have given the generations to somebody else.
        rows = _HOLDERS.run_planned_anew(generations=locked)
        facts = {locked[to_uuid(row_id)]: (status, fence) for row_id, status, fence in rows}
        won = [is_ours(answer.work, *facts.get(answer.work.attempt_id, ("", 0))) for answer in answers]
        write_answers([answer for answer, is_open in zip(answers, won, strict=True) if is_open])
        return won


def write_answers(answers: Sequence[Answered]) -> None:
    """Close the attempts with what was answered; the caller has seen that they are this worker's."""
    update_each(
        Attempt,
        {
            answer.work.attempt_id: {
                "duration_ms": answer.duration_ms,
                "cost_usd": answer.cost_usd,
                "provider_request_id": answer.provider_request_id[:200],
                "provider_metadata": dict(answer.provider_metadata),
            }
            for answer in answers
        },
        state=AttemptState.SUCCEEDED,
        answered_at=Now(),
    )


def _build_open(attempts: uuid.UUID) -> QuerySet[Any, Any]:
    still_open = Attempt.objects.in_flight().filter(IsAmong("id", attempts))
    return still_open.order_by("id").select_for_update().values_list("id")


def _build_unsettled(attempts: uuid.UUID) -> QuerySet[Any, Any]:
    is_open = Q(answered_at__isnull=True) | Q(state=AttemptState.SUCCEEDED)
    unsettled = Attempt.objects.filter(is_open, IsAmong("id", attempts))
    return unsettled.order_by("id").select_for_update().values_list("generation_id", "id")


def _build_holders(generations: uuid.UUID) -> QuerySet[Any, Any]:
    return Generation.objects.filter(IsAmong("id", generations)).values_list("id", "status", "fence")


_OPEN: Final = KeptStatement(_build_open, "attempts")
_UNSETTLED: Final = KeptStatement(_build_unsettled, "attempts")
_HOLDERS: Final = KeptStatement(_build_holders, "generations")


def _lock_open(works: Sequence[Work]) -> set[uuid.UUID]:
    """Lock the attempts of these that are still open, and return their ids."""
    return {
        to_uuid(row_id) for (row_id,) in _OPEN.run_planned_anew(attempts=[work.attempt_id for work in works])
    }
