"""Hold, extend, give back and expire places of items; leases run on the database's clock.

Locks are taken in one order everywhere: items by id, then assignments, then the generation. A claim passes
over locked items, so it never waits for anybody.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from evaluations.choices import AssignmentState
from evaluations.models import Assignment, QueueItem, ReviewQueue

EXPIRY_BATCH: Final = 100


def now() -> Combinable:
    """Return the expression of the database's time; a file's database has the machine's own."""
    return Now() if connection.vendor == "postgresql" else Value(timezone.now())


def after(seconds: int) -> Combinable:
    """Return the expression of the database's time so many seconds from now."""
    return ExpressionWrapper(now() + Value(timedelta(seconds=seconds)), output_field=DateTimeField())


def lock_item(item_id: int) -> None:
    """Keep the places of an item from changing until the transaction ends."""
    QueueItem.objects.select_for_update(no_key=True).filter(pk=item_id).values_list("pk").first()


def take_place(item_id: int) -> bool:
    """Take an open place of a locked item; False when there is none."""
    return bool(QueueItem.objects.filter(pk=item_id, n_open__gt=0).update(n_open=F("n_open") - 1))


def free_place(item_id: int) -> None:
    """Open a place of a locked item again."""
    QueueItem.objects.filter(pk=item_id).update(n_open=F("n_open") + 1)


def close_in_default_queue(output_image_id: uuid.UUID) -> None:
    """Take an output that was rated elsewhere out of the default queue, unless somebody has it there.

    One that is locked at this moment is left to the next comparison of queue and outputs.
    """
    holders = Assignment.objects.filter(item=OuterRef("pk"), holds_place=True)
    item = (
        QueueItem.objects.select_for_update(no_key=True, skip_locked=True, of=("self",))
        .filter(queue__is_default=True, output_image=output_image_id, n_open__gt=0)
        .exclude(Exists(holders))
        .values_list("pk", flat=True)
        .first()
    )
    if item is not None:
        QueueItem.objects.filter(pk=item).update(n_open=0)


@transaction.atomic
def extend_leases(
    *,
    queue: ReviewQueue,
    evaluator_id: uuid.UUID,
    public_ids: Sequence[uuid.UUID],
    shown_id: uuid.UUID | None,
) -> dict[uuid.UUID, datetime]:
    """Extend the leases that the evaluator still holds; never shorten one.

    Returns:
        When each lease ends now, by public id; what is missing is no longer held.
    """
    wanted = Q(public_id__in=public_ids) | Q(public_id=shown_id)
    held = Assignment.objects.leased().filter(wanted, queue=queue, evaluator=evaluator_id)
    locked = list(
        held.select_for_update(no_key=True, of=("self",)).order_by("pk").values_list("pk", "public_id")
    )
    rows = Assignment.objects.filter(pk__in=[pk for pk, _ in locked])
    rows.update(lease_expires_at=Greatest("lease_expires_at", after(queue.held_lease_seconds)))
    if shown_id in {public_id for _, public_id in locked}:
        shown = rows.filter(public_id=shown_id)
        shown.update(lease_expires_at=Greatest("lease_expires_at", after(queue.shown_lease_seconds)))
        shown.filter(shown_at__isnull=True).update(shown_at=now())
    return dict(rows.values_list("public_id", "lease_expires_at"))


def return_leases(*, queue_id: uuid.UUID, evaluator_id: uuid.UUID, public_ids: Sequence[uuid.UUID]) -> int:
    """Give back leases that the evaluator holds; returns how many it were."""
    held = Q(queue=queue_id, evaluator=evaluator_id, public_id__in=public_ids)
    return _end_leases(held, state=AssignmentState.RETURNED, is_waiting=True)


def release_leases(assignment_ids: Iterable[uuid.UUID]) -> int:
    """Take back these leases, whoever holds them; returns how many it were."""
    return _end_leases(Q(pk__in=list(assignment_ids)), state=AssignmentState.RETURNED, is_waiting=True)


def expire_leases(*, queue_id: uuid.UUID | None = None) -> int:
    """End one batch of leases that have lapsed or whose holder was sent away; returns how many it were.

    Their places are open again. Items that somebody is working on at this moment are left for the next time.
    """
    lapsed = Q(lease_expires_at__lt=now()) | Q(evaluator__is_active=False)
    if queue_id is not None:
        lapsed &= Q(queue=queue_id)
    return _end_leases(lapsed, state=AssignmentState.EXPIRED, is_waiting=False)


@transaction.atomic
def _end_leases(condition: Q, *, state: AssignmentState, is_waiting: bool) -> int:
    leased = Assignment.objects.leased().filter(condition)
    item_ids = list(leased.order_by("lease_expires_at").values_list("item", flat=True)[:EXPIRY_BATCH])
    if not item_ids:
        return 0
    items = QueueItem.objects.filter(pk__in=item_ids).order_by("pk")
    locked = list(
        items.select_for_update(no_key=True, skip_locked=not is_waiting).values_list("pk", flat=True)
    )
    ended = list(
        leased.filter(item__in=locked)
        .select_for_update(no_key=True, of=("self",))
        .order_by("pk")
        .values_list("pk", "item", "holds_place")
    )
    Assignment.objects.filter(pk__in=[pk for pk, _, _ in ended]).update(
        state=state, finished_at=now(), holds_place=False
    )
    n_freed = Counter(item_id for _, item_id, holds_place in ended if holds_place)
    for n_places in sorted(set(n_freed.values())):
        freed = [item_id for item_id, n in n_freed.items() if n == n_places]
        QueueItem.objects.filter(pk__in=freed).update(n_open=F("n_open") + n_places)
    return len(ended)
