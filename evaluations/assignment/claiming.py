"""Give an evaluator the next items: their own leases first, then open places, in the queue's mixed order.

Nobody gets an item twice, an item never has more raters than its overlap, and a claim waits for nobody.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Exists, F, IntegerField, OuterRef, Q, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts.models import User
from accounts.permissions import can
from evaluations.assignment.items import (
    AssignedItem,
    CriterionFacts,
    list_facts,
    list_shown,
    select_shown,
)
from evaluations.assignment.leasing import after
from evaluations.assignment.strategies import count_to_claim, is_tail
from evaluations.choices import KEEPS_ITEM_FROM_RETURNING, AssignmentState
from evaluations.models import Assignment, QueueItem, ReviewQueue, Scale
from mayagen.common.ids import random_id, uuid7
from mayagen.common.statements import KeptStatement, to_parameter, to_uuid

_ENOUGH: Final = 400
"""Due items are counted no further than this, which is the tail of 50 people who prefetch 8 each."""
START: Final = 0
"""Stands for the place before a queue's first item."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a claim starts from."""

    queue_id: uuid.UUID
    held_lease_seconds: int
    criterion: CriterionFacts
    n_held: int
    n_due: int
    n_raters: int
    last_item: int

    def count_new(self, n_wanted: int) -> int:
        """Return how many items to claim for who wants so many in all."""
        return count_to_claim(n_wanted=n_wanted, n_held=self.n_held, n_due=self.n_due, n_raters=self.n_raters)

    def is_tail(self, n_wanted: int) -> bool:
        """Return whether the queue runs short of items."""
        return is_tail(n_wanted=n_wanted, n_due=self.n_due, n_raters=self.n_raters)


_N_DUE: Final = f"""(SELECT count(*) FROM (
    SELECT 1 FROM evaluations_queueitem i WHERE i.queue_id = %s AND i.n_open > 0 LIMIT {_ENOUGH}) due)"""  # noqa: S608 - a constant
_N_HELD: Final = """(SELECT count(*) FROM evaluations_assignment a
    WHERE a.queue_id = %s AND a.evaluator_id = %s AND a.state = 'leased')"""
_N_OTHERS: Final = """(SELECT count(DISTINCT a.evaluator_id) FROM evaluations_assignment a
    WHERE a.queue_id = %s AND a.evaluator_id <> %s AND a.state = 'leased')"""
# The item that the evaluator finished last: going on from there spares the scan of all that they have rated
# and others have not.
_LAST_ITEM: Final = """(SELECT a.item_id FROM evaluations_assignment a
    WHERE a.queue_id = %s AND a.evaluator_id = %s AND a.state IN ('submitted', 'skipped')
    ORDER BY a.finished_at DESC, a.id DESC LIMIT 1)"""

# The two limits stand in the text: a plan made for any limit would cost more, and so never be kept.
_CLAIM: Final = """
WITH held AS (
    UPDATE evaluations_assignment
    SET lease_expires_at = greatest(lease_expires_at, statement_timestamp() + %(lease)s)
    WHERE id IN (SELECT id FROM evaluations_assignment
                 WHERE evaluator_id = %(evaluator)s AND queue_id = %(queue)s AND state = 'leased'
                 ORDER BY id LIMIT {n_wanted} FOR NO KEY UPDATE)
    RETURNING *
), picked AS (
    SELECT i.id, i.output_image_id FROM evaluations_queueitem i
    WHERE i.queue_id = %(queue)s AND i.n_open > 0
        AND (i.shuffle_key, i.id) > (
            COALESCE((SELECT p.shuffle_key FROM evaluations_queueitem p WHERE p.id = %(after)s), -1),
            %(after)s)
        AND NOT EXISTS (SELECT 1 FROM evaluations_assignment a
                        WHERE a.item_id = i.id AND a.evaluator_id = %(evaluator)s
                            AND a.state IN ('leased', 'submitted', 'skipped'))
    ORDER BY i.shuffle_key, i.id LIMIT {n_new} FOR NO KEY UPDATE OF i SKIP LOCKED
), named AS (
    SELECT picked.*, row_number() OVER () AS place FROM picked
), leased AS (
    INSERT INTO evaluations_assignment (id, public_id, queue_id, item_id, output_image_id, evaluator_id,
        state, holds_place, lease_expires_at, created_at, note, is_flagged)
    SELECT (%(ids)s::uuid[])[place], (%(public_ids)s::uuid[])[place], %(queue)s, named.id,
        named.output_image_id, %(evaluator)s, 'leased', true, statement_timestamp() + %(lease)s,
        statement_timestamp(), '', false
    FROM named
    ON CONFLICT (item_id, evaluator_id) DO UPDATE
        SET state = 'leased', holds_place = true, lease_expires_at = EXCLUDED.lease_expires_at,
            finished_at = NULL, shown_at = NULL
        WHERE evaluations_assignment.state IN ('returned', 'expired')
    RETURNING *
), closed AS (
    UPDATE evaluations_queueitem i SET n_open = i.n_open - 1 FROM leased WHERE i.id = leased.item_id
)
"""


def _build_opening(*, queue: uuid.UUID, evaluator: uuid.UUID) -> QuerySet[Any, Any]:
    who = [to_parameter(queue), to_parameter(evaluator)]
    newest = Scale.objects.filter(criterion=OuterRef("criterion")).order_by("-number")
    return (
        ReviewQueue.objects.with_member(evaluator)
        .filter(pk=queue)
        .values_list(
            *("held_lease_seconds", "criterion", "criterion__slug", "criterion__name"),
            *("criterion__description", Subquery(newest.values("pk")[:1])),
            RawSQL(_N_HELD, who, IntegerField()),  # noqa: S611 - constant text
            RawSQL(_N_DUE, who[:1], IntegerField()),  # noqa: S611 - constant text
            RawSQL(_N_OTHERS, who, IntegerField()),  # noqa: S611 - constant text
            RawSQL(_LAST_ITEM, who, IntegerField()),  # noqa: S611 - constant text
        )
    )


_OPENING: Final = KeptStatement(_build_opening, "queue", "evaluator")


def get_opening(*, actor: User, queue_id: uuid.UUID) -> Opening | None:
    """Return what a claim in this queue starts from, or None when the queue is not open to the actor."""
    if not can(actor, "evaluations.review"):
        return None
    row = next(iter(_OPENING.run(queue=queue_id, evaluator=actor.pk)), None)
    if row is None:
        return None
    lease_s, criterion_id, slug, name, description, scale_id, n_held, n_due, n_others, last_item = row
    return Opening(
        queue_id=queue_id,
        held_lease_seconds=lease_s,
        criterion=CriterionFacts(to_uuid(criterion_id), slug, name, description, to_uuid(scale_id)),
        n_held=n_held,
        n_due=n_due,
        n_raters=n_others + 1,
        last_item=last_item or START,
    )


def claim(*, evaluator_id: uuid.UUID, opening: Opening, n_wanted: int, after_item: int) -> list[AssignedItem]:
    """Return the evaluator's own leases, extended, and as many new ones as the queue's state allows.

    Args:
        evaluator_id: Who gets them.
        opening: What `get_opening` returned.
        n_wanted: Leases wanted in all.
        after_item: New items come from behind this one, in the queue's order.
    """
    n_new = opening.count_new(n_wanted)
    verb = _claim_by_one_statement if connection.vendor == "postgresql" else _claim_in_order
    return verb(
        evaluator_id=evaluator_id, opening=opening, n_wanted=n_wanted, n_new=n_new, after_item=after_item
    )


def _claim_by_one_statement(
    *, evaluator_id: uuid.UUID, opening: Opening, n_wanted: int, n_new: int, after_item: int
) -> list[AssignedItem]:
    parameters = {
        "queue": opening.queue_id,
        "evaluator": evaluator_id,
        "lease": timedelta(seconds=opening.held_lease_seconds),
        "after": after_item,
        "ids": [uuid7() for _ in range(n_new)],
        "public_ids": [random_id() for _ in range(n_new)],
    }
    given = select_shown("(SELECT * FROM held UNION ALL SELECT * FROM leased)")
    claim_text = _CLAIM.replace("{n_wanted}", str(int(n_wanted))).replace("{n_new}", str(int(n_new)))
    return list_shown(claim_text + given, parameters)


@transaction.atomic
def _claim_in_order(
    *, evaluator_id: uuid.UUID, opening: Opening, n_wanted: int, n_new: int, after_item: int
) -> list[AssignedItem]:
    """Do the same where the database has one writer at a time, which the transaction makes us."""
    own = Assignment.objects.filter(evaluator=evaluator_id, queue=opening.queue_id)
    lease = after(opening.held_lease_seconds)
    held = list(own.leased().order_by("pk").values_list("pk", flat=True)[:n_wanted])
    own.filter(pk__in=held).update(lease_expires_at=Greatest("lease_expires_at", lease))
    last = QueueItem.objects.filter(pk=after_item).values_list("shuffle_key", flat=True).first()
    shuffle_key = -1 if last is None else last
    picked = list(
        QueueItem.objects.filter(queue=opening.queue_id, n_open__gt=0)
        .filter(Q(shuffle_key=shuffle_key, pk__gt=after_item) | Q(shuffle_key__gt=shuffle_key))
        .exclude(Exists(own.filter(item=OuterRef("pk"), state__in=KEEPS_ITEM_FROM_RETURNING)))
        .order_by("shuffle_key", "pk")[:n_new]
    )
    QueueItem.objects.filter(pk__in=[item.pk for item in picked]).update(n_open=F("n_open") - 1)
    own.filter(item__in=picked).update(
        state=AssignmentState.LEASED, holds_place=True, finished_at=None, shown_at=None
    )
    known = set(own.filter(item__in=picked).values_list("item", flat=True))
    new = [
        Assignment(
            queue_id=opening.queue_id,
            item=item,
            output_image_id=item.output_image_id,
            evaluator_id=evaluator_id,
            lease_expires_at=timezone.now(),
        )
        for item in picked
        if item.pk not in known
    ]
    Assignment.objects.bulk_create(new)
    own.filter(item__in=picked).update(lease_expires_at=lease)
    given = own.filter(Q(pk__in=held) | Q(item__in=picked)).order_by("pk")
    return [facts.shown for facts in list_facts(list(given.values_list("pk", flat=True)))]
