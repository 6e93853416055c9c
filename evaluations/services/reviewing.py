"""The verbs on one assigned item: rate, clear, skip and take back."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User
from accounts.permissions import require
from accounts.roles import ADMIN
from evaluations.assignment import leasing, strategies
from evaluations.assignment.items import (
    AssignmentFacts,
    CriterionFacts,
    LevelFacts,
    RatingFacts,
    get_facts,
)
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, QueueItem, Rating, ReviewQueue
from evaluations.services import standing
from evaluations.services.standing import Provenance, RatedImage
from mayagen.common.errors import ConflictError, DomainError, NotFoundError
from mayagen.common.statements import Statement, write_update

MAX_NOTE_LENGTH: Final = 5_000
REVIEW: Final = "evaluations.review"


class LevelOutsideScaleError(DomainError):
    """The criterion's newest scale has no such level."""

    code = "level_outside_scale"
    sentence = "The scale has no such level."


class NoteTooLongError(DomainError):
    """The note is longer than is kept."""

    code = "note_too_long"
    sentence = f"The note is longer than {MAX_NOTE_LENGTH:,} characters."


class LeaseExpiredError(ConflictError):
    """Somebody else has been given the item in the meantime."""

    code = "lease_expired"
    sentence = "You had this image for too long, and somebody else has it now."


class AlreadyRatedError(ConflictError):
    """The item has been rated by this person."""

    code = "already_rated"
    sentence = "You have rated this image already."


class NotRatedError(ConflictError):
    """There is no rating to take back."""

    code = "not_rated"
    sentence = "You have not rated this image."


class PlaceTakenError(ConflictError):
    """As many people as wanted have the item or have rated it."""

    code = "place_taken"
    sentence = "Somebody else has this image now."


def submit_rating(
    *,
    actor: User,
    assignment_id: uuid.UUID,
    level: int,
    note: str = "",
    is_flagged: bool = False,
    shown_at: datetime | None = None,
    decided_ms: int | None = None,
) -> AssignmentFacts:
    """Rate an assigned item, or revise one's rating of it; the same once more changes nothing.

    A rating that comes late, after its place went to somebody else, is kept as surplus.

    Args:
        assignment_id: The public id.
        shown_at: When the page showed the image; dropped when that cannot be.
        decided_ms: How long it took from there; dropped likewise.

    Raises:
        NotFoundError: The actor has no such assignment.
        LevelOutsideScaleError: The criterion's newest scale has no such level.
        NoteTooLongError: The note is too long.
    """
    wish = _Wish(level, note, is_flagged, shown_at, strategies.check_decided_ms(decided_ms))
    try:
        return _submit(actor, assignment_id, wish)
    except IntegrityError:
        # The same person has rated the image elsewhere in this moment: now their rating can be seen.
        return _submit(actor, assignment_id, wish)


def clear_rating(*, actor: User, assignment_id: uuid.UUID) -> AssignmentFacts:
    """Withdraw one's rating; the item is leased to the actor again.

    Raises:
        NotFoundError: The actor has no such assignment.
        NotRatedError: The item was skipped or given back.
    """
    with _locked(actor, assignment_id) as facts:
        if facts.state == AssignmentState.SUBMITTED:
            _withdraw(facts)
            _lease_again(facts, holds_place=facts.holds_place or leasing.take_place(facts.item_id))
        elif facts.state != AssignmentState.LEASED:
            raise NotRatedError
        return _read_again(facts)


def skip_assignment(
    *, actor: User, assignment_id: uuid.UUID, note: str = "", is_flagged: bool = False
) -> AssignmentFacts:
    """Leave an item to others; it does not come back to the actor unless they take it back.

    Raises:
        NotFoundError: The actor has no such assignment.
        AlreadyRatedError: The actor has rated it.
        LeaseExpiredError: The lease has lapsed and somebody else has the item.
        NoteTooLongError: The note is too long.
    """
    check_note(note)
    with _locked(actor, assignment_id) as facts:
        if facts.state == AssignmentState.SUBMITTED:
            raise AlreadyRatedError
        if facts.state in {AssignmentState.EXPIRED, AssignmentState.RETURNED} and not _has_open(facts):
            raise LeaseExpiredError
        if facts.holds_place:
            leasing.free_place(facts.item_id)
        Assignment.objects.filter(pk=facts.id).update(
            state=AssignmentState.SKIPPED,
            holds_place=False,
            finished_at=leasing.now(),
            note=note,
            is_flagged=is_flagged,
        )
        return _read_again(facts)


def reopen_assignment(*, actor: User, assignment_id: uuid.UUID) -> AssignmentFacts:
    """Take back an item that the actor skipped.

    Raises:
        NotFoundError: The actor has no such assignment.
        AlreadyRatedError: The actor has rated it.
        PlaceTakenError: Others have it.
    """
    with _locked(actor, assignment_id) as facts:
        if facts.state == AssignmentState.SUBMITTED:
            raise AlreadyRatedError
        if facts.state != AssignmentState.LEASED:
            if not leasing.take_place(facts.item_id):
                raise PlaceTakenError
            _lease_again(facts, holds_place=True)
        return _read_again(facts)


@dataclass(frozen=True, slots=True)
class _Wish:
    level: int
    note: str
    is_flagged: bool
    shown_at: datetime | None
    decided_ms: int | None


def _submit(actor: User, assignment_id: uuid.UUID, wish: _Wish) -> AssignmentFacts:
    return _submit_in_turn(actor, assignment_id, wish) or _submit_out_of_turn(actor, assignment_id, wish)


@transaction.atomic
def _submit_in_turn(actor: User, assignment_id: uuid.UUID, wish: _Wish) -> AssignmentFacts | None:
    """Rate where the item's places stay as they are; None, and nothing done, where they do not."""
    facts = _get_locked(actor, assignment_id)
    wish, level = _check(facts, wish)
    if facts.state == AssignmentState.SUBMITTED:
        return _revise(_read_again(facts), wish, level)
    if facts.state == AssignmentState.LEASED and facts.holds_place and not _find_exclusion(actor, facts):
        return _rate(facts, wish, level, holds_place=True, exclusion_reason="")
    return None


def _submit_out_of_turn(actor: User, assignment_id: uuid.UUID, wish: _Wish) -> AssignmentFacts:
    """Rate what was given back, skipped or lapsed, and what will not fill its place."""
    with _locked(actor, assignment_id) as facts:
        wish, level = _check(facts, wish)
        if facts.state == AssignmentState.SUBMITTED:
            return _revise(facts, wish, level)
        reason = _find_exclusion(actor, facts)
        if reason and facts.holds_place:
            leasing.free_place(facts.item_id)
        holds_place = not reason and (facts.holds_place or leasing.take_place(facts.item_id))
        return _rate(facts, wish, level, holds_place=holds_place, exclusion_reason=reason)


def _rate(
    facts: AssignmentFacts, wish: _Wish, level: LevelFacts, *, holds_place: bool, exclusion_reason: str
) -> AssignmentFacts:
    submitted = write_update(
        Assignment,
        facts.id,
        state=AssignmentState.SUBMITTED,
        holds_place=holds_place,
        finished_at=timezone.now(),
    )
    if not facts.is_in_default_queue and facts.criterion.slug == standing.OVERALL:
        leasing.close_in_default_queue(facts.output_image_id)
    is_surplus = not holds_place and not exclusion_reason
    return _record(
        facts, wish, level, is_surplus=is_surplus, exclusion_reason=exclusion_reason, along=[submitted]
    )


def _revise(facts: AssignmentFacts, wish: _Wish, level: LevelFacts) -> AssignmentFacts:
    earlier = facts.rating
    if earlier is None:
        return _record(facts, wish, level, is_surplus=not facts.holds_place, exclusion_reason="")
    is_same = (earlier.level, earlier.note, earlier.is_flagged) == (wish.level, wish.note, wish.is_flagged)
    if is_same and earlier.is_standing:
        return facts
    return _record(
        facts,
        wish,
        level,
        is_surplus=earlier.is_surplus,
        exclusion_reason=facts.last_exclusion_reason,
    )


def _record(
    facts: AssignmentFacts,
    wish: _Wish,
    level: LevelFacts,
    *,
    is_surplus: bool,
    exclusion_reason: str,
    along: Sequence[Statement] = (),
) -> AssignmentFacts:
    rating = standing.record_rating(
        image=_get_image(facts),
        rater_id=facts.evaluator_id,
        criterion=facts.criterion,
        level=level,
        note=wish.note,
        is_flagged=wish.is_flagged,
        last_revision=facts.last_revision,
        provenance=Provenance(
            queue_id=facts.queue_id,
            assignment_id=facts.id,
            is_blind=facts.is_blind,
            is_surplus=is_surplus,
            exclusion_reason=exclusion_reason,
            shown_at=wish.shown_at,
            decided_ms=wish.decided_ms,
        ),
        along=along,
    )
    given = RatingFacts(rating.id, level.level, wish.note, wish.is_flagged, is_surplus, is_standing=True)
    return replace(facts, shown=replace(facts.shown, state=AssignmentState.SUBMITTED, rating=given))


def _withdraw(facts: AssignmentFacts) -> None:
    if facts.rating is not None and facts.rating.is_standing:
        rating = Rating.objects.select_related("criterion").get(pk=facts.rating.id)
        standing.withdraw_rating(rating=rating, image=_get_image(facts))


def _lease_again(facts: AssignmentFacts, *, holds_place: bool) -> None:
    queue = ReviewQueue.objects.get(pk=facts.queue_id)
    Assignment.objects.filter(pk=facts.id).update(
        state=AssignmentState.LEASED,
        holds_place=holds_place,
        finished_at=None,
        lease_expires_at=leasing.after(queue.shown_lease_seconds),
    )


def require_own(*, actor: User, assignment_id: uuid.UUID) -> None:
    """Do nothing when the item was assigned to the actor, whatever became of it.

    Raises:
        NotFoundError: It was not.
        PermissionDeniedError: The actor's role does not rate.
    """
    if get_facts(public_id=assignment_id, evaluator_id=actor.pk) is None:
        raise NotFoundError
    require(actor, REVIEW)


@contextmanager
def _locked(actor: User, assignment_id: uuid.UUID) -> Iterator[AssignmentFacts]:
    """Lock the item, then the assignment and its generation, until the block's transaction ends."""
    with transaction.atomic():
        facts = get_facts(public_id=assignment_id, evaluator_id=actor.pk)
        if facts is None:
            raise NotFoundError
        leasing.lock_item(facts.item_id)
        yield _read_again(_get_locked(actor, assignment_id))


def _get_locked(actor: User, assignment_id: uuid.UUID) -> AssignmentFacts:
    facts = get_facts(public_id=assignment_id, evaluator_id=actor.pk, is_locked=True)
    if facts is None:
        raise NotFoundError
    require(actor, REVIEW)
    return facts


def _read_again(facts: AssignmentFacts) -> AssignmentFacts:
    """Return what is true now: a statement that waited for its lock saw other rows as they were before."""
    now = get_facts(public_id=facts.shown.public_id, evaluator_id=facts.evaluator_id)
    assert now is not None  # noqa: S101 - locked by this transaction
    return now


def _check(facts: AssignmentFacts, wish: _Wish) -> tuple[_Wish, LevelFacts]:
    """Return the wish without a time that cannot be, and the level that it names."""
    check_note(wish.note)
    shown_at = strategies.check_shown_at(wish.shown_at, leased_at=facts.leased_at, now=timezone.now())
    return replace(wish, shown_at=shown_at), find_level(facts.criterion, wish.level)


def find_level(criterion: CriterionFacts, level: int) -> LevelFacts:
    """Return that level of the criterion's newest scale.

    Raises:
        LevelOutsideScaleError: There is none.
    """
    found = next((each for each in criterion.levels if each.level == level), None)
    if found is None:
        levels = ", ".join(str(each.level) for each in criterion.levels)
        raise LevelOutsideScaleError(
            fields={"level": [f"The levels are {levels}."]},
            extra={"levels": [each.level for each in criterion.levels]},
        )
    return found


def check_note(note: str) -> None:
    """Do nothing when the note is of a length that is kept.

    Raises:
        NoteTooLongError: It is longer.
    """
    if len(note) > MAX_NOTE_LENGTH:
        raise NoteTooLongError(fields={"note": [NoteTooLongError.sentence]})


def _find_exclusion(actor: User, facts: AssignmentFacts) -> str:
    return facts.last_exclusion_reason or strategies.find_exclusion_reason(
        is_blind=facts.is_blind, is_admin=actor.role == ADMIN, is_author=facts.author_id == actor.pk
    )


def _has_open(facts: AssignmentFacts) -> bool:
    return QueueItem.objects.filter(pk=facts.item_id, n_open__gt=0).exists()


def _get_image(facts: AssignmentFacts) -> RatedImage:
    return RatedImage(
        generation_id=facts.generation_id,
        prompt_version_id=facts.prompt_version_id,
        output_image_id=facts.output_image_id,
    )
