"""What an evaluator holds: take the next items, keep them, give them back."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from accounts.models import User
from accounts.permissions import require
from evaluations import selectors
from evaluations.assignment import claiming, leasing, syncing
from evaluations.assignment.items import AssignedItem, CriterionFacts
from evaluations.models import ReviewQueue
from evaluations.selectors import QueueWork
from evaluations.services.reviewing import REVIEW
from mayagen.common.errors import DomainError, NotFoundError, PermissionDeniedError

MAX_HELD: Final = 50


class NotAMemberError(PermissionDeniedError):
    """The queue is closed, or for other evaluators."""

    code = "not_a_member"
    sentence = "You do not rate in this queue."


@dataclass(frozen=True, slots=True)
class NextItems:
    """What an evaluator holds now, oldest first, and the question that is asked of each."""

    criterion: CriterionFacts
    items: list[AssignedItem]


def take_next_items(*, actor: User, queue_id: uuid.UUID, n_wanted: int) -> NextItems:
    """Return up to `n_wanted` items: those that the actor holds already, then newly leased ones.

    It can be more when the actor asks from two tabs at once: what a call leased, it returns, for an item that
    is held and on no page would keep others waiting.

    Raises:
        NotFoundError: The actor may not know of the queue.
        PermissionDeniedError: The actor may see the queue but not rate in it.
    """
    opening = _open(actor, queue_id)
    items = claiming.claim(
        evaluator_id=actor.pk, opening=opening, n_wanted=n_wanted, after_item=opening.last_item
    )
    is_short = len(items) < min(n_wanted, opening.n_held + opening.count_new(n_wanted))
    if (opening.is_tail(n_wanted) and _refill(queue_id)) or is_short:
        opening = _open(actor, queue_id)
        first = items
        items = claiming.claim(
            evaluator_id=actor.pk, opening=opening, n_wanted=n_wanted, after_item=claiming.START
        )
        given = {item.public_id for item in items}
        items += [item for item in first if item.public_id not in given]
    return NextItems(opening.criterion, items)


def extend_leases(
    *, actor: User, queue_id: uuid.UUID, assignment_ids: Sequence[uuid.UUID], shown_id: uuid.UUID | None
) -> dict[uuid.UUID, datetime]:
    """Keep what the actor holds, the shown item for longer; returns when each lease ends now.

    Raises:
        NotFoundError: The actor may not know of the queue.
        PermissionDeniedError: The actor may see the queue but not rate in it.
    """
    queue = get_open_queue(actor, queue_id)
    return leasing.extend_leases(
        queue=queue, evaluator_id=actor.pk, public_ids=assignment_ids, shown_id=shown_id
    )


def return_leases(*, actor: User, queue_id: uuid.UUID, assignment_ids: Sequence[uuid.UUID]) -> int:
    """Give back what the actor holds and has not rated; returns how many it were.

    Raises:
        PermissionDeniedError: The actor's role does not rate.
    """
    require(actor, REVIEW)
    return leasing.return_leases(queue_id=queue_id, evaluator_id=actor.pk, public_ids=assignment_ids)


def get_open_queue(actor: User, queue_id: uuid.UUID) -> ReviewQueue:
    """Return the queue if the actor rates in it.

    Raises:
        NotFoundError: The actor may not know of it.
        PermissionDeniedError: The actor may see it but not rate in it.
    """
    queue = ReviewQueue.objects.open_to(actor).filter(pk=queue_id).first()
    if queue is None:
        raise _refuse(actor, queue_id)
    return queue


def list_work(*, actor: User) -> list[QueueWork]:
    """Return the queues open to the actor with what is due; one with nothing due is filled first."""
    work = selectors.list_queue_work(actor=actor)
    is_filled = [_refill(each.id) for each in work if not each.due]
    return selectors.list_queue_work(actor=actor) if any(is_filled) else work


def _open(actor: User, queue_id: uuid.UUID) -> claiming.Opening:
    opening = claiming.get_opening(actor=actor, queue_id=queue_id)
    if opening is None:
        raise _refuse(actor, queue_id)
    return opening


def _refill(queue_id: uuid.UUID) -> bool:
    """Pull new outputs and open the places of lapsed leases; return whether there is anything new."""
    n_pulled = syncing.sync(ReviewQueue.objects.get(pk=queue_id))
    return bool(leasing.expire_leases(queue_id=queue_id) or n_pulled)


def _refuse(actor: User, queue_id: uuid.UUID) -> DomainError:
    if not ReviewQueue.objects.visible_to(actor).alive().filter(pk=queue_id).exists():
        return NotFoundError()
    return NotAMemberError() if actor.has_perm(REVIEW) else PermissionDeniedError()
