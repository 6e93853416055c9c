"""Reads of reviewing that span models: what is due for whom, one's own history, and recounts."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from django.db.models import Count, IntegerField, Q, Sum
from django.db.models.expressions import RawSQL
from django.db.models.functions import TruncDate
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.models import User
from evaluations.assignment.items import AssignmentFacts, list_facts
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, Rating, RatingTally, ReviewQueue
from generations.models import Generation, OutputImage
from mayagen.common.api import InvalidCursorError
from mayagen.common.statements import to_parameter

DUE_CAP: Final = 10_000
PAGE_SIZE: Final = 20
_OWN_FINISHED: Final = (AssignmentState.SUBMITTED, AssignmentState.SKIPPED)

# What I hold is still to be rated; what I have rated or skipped is not, whoever else is wanted for it.
_DUE: Final = """(SELECT count(*) FROM (
    SELECT 1 FROM evaluations_queueitem i
    WHERE i.queue_id = evaluations_reviewqueue.id AND i.n_open > 0 AND NOT EXISTS (
        SELECT 1 FROM evaluations_assignment a WHERE a.item_id = i.id AND a.evaluator_id = %s
            AND a.state IN ('leased', 'submitted', 'skipped'))
    LIMIT %s) due)"""


@dataclass(frozen=True, slots=True)
class QueueWork:
    """A queue as one evaluator sees it."""

    id: uuid.UUID
    name: str
    instructions: str
    due: int
    due_is_capped: bool
    rated_by_me: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one evaluator is in a queue; the pace is None when nothing was rated within the hour."""

    due: int
    due_is_capped: bool
    rated_by_me: int
    rated_by_me_today: int
    pace_per_hour: int | None


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of one's own rated and skipped items, newest first, with the cursors of its neighbours."""

    items: list[AssignmentFacts]
    older: str | None
    newer: str | None


@dataclass(frozen=True, slots=True)
class Drift:
    """A stored figure that a recount does not confirm."""

    what: str
    stored: object
    counted: object


def list_queue_work(*, actor: User, queue_id: uuid.UUID | None = None) -> list[QueueWork]:
    """Return the queues open to the actor, by name, with what is due for them and what they rated."""
    queues = ReviewQueue.objects.open_to(actor)
    if queue_id is not None:
        queues = queues.filter(pk=queue_id)
    mine = Q(assignments__evaluator=actor, assignments__state=AssignmentState.SUBMITTED)
    due = RawSQL(_DUE, [to_parameter(actor.pk), DUE_CAP + 1], IntegerField())  # noqa: S611 - constant text
    held = Q(assignments__evaluator=actor, assignments__state=AssignmentState.LEASED)
    rows = (
        queues.annotate(
            n_rated=Count("assignments", filter=mine), n_held=Count("assignments", filter=held), n_due=due
        )
        .order_by("name", "pk")
        .values_list("pk", "name", "instructions", "n_rated", "n_held", "n_due")
    )
    return [
        QueueWork(
            id=pk,
            name=name,
            instructions=instructions,
            due=min(n_due + n_held, DUE_CAP),
            due_is_capped=n_due + n_held > DUE_CAP,
            rated_by_me=n_rated,
        )
        for pk, name, instructions, n_rated, n_held, n_due in rows
    ]


def get_progress(*, actor: User, queue_id: uuid.UUID) -> Progress | None:
    """Return how far the actor is in a queue, or None when it is not open to them."""
    work = next(iter(list_queue_work(actor=actor, queue_id=queue_id)), None)
    if work is None:
        return None
    now = timezone.now()
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    counts = Assignment.objects.filter(
        evaluator=actor,
        queue=queue_id,
        state=AssignmentState.SUBMITTED,
        finished_at__gte=min(midnight, now - timedelta(hours=1)),
    ).aggregate(
        n_today=Count("pk", filter=Q(finished_at__gte=midnight)),
        n_hour=Count("pk", filter=Q(finished_at__gte=now - timedelta(hours=1))),
    )
    return Progress(
        due=work.due,
        due_is_capped=work.due_is_capped,
        rated_by_me=work.rated_by_me,
        rated_by_me_today=counts["n_today"],
        pace_per_hour=counts["n_hour"] or None,
    )


def get_history(*, actor: User, cursor: str | None, queue_id: uuid.UUID | None = None) -> HistoryPage:
    """Return a page of what the actor rated and skipped, in one queue or in all.

    Args:
        cursor: One of an earlier page's; it holds nothing but a public id of the actor's own.

    Raises:
        InvalidCursorError: The cursor is none of this actor's history.
    """
    own = Assignment.objects.filter(evaluator=actor, state__in=_OWN_FINISHED)
    if queue_id is not None:
        own = own.filter(queue=queue_id)
    is_newer, edge = _read_cursor(actor, cursor)
    if edge is not None:
        sign = "gt" if is_newer else "lt"
        same_time = Q(**{"finished_at": edge.finished_at, f"pk__{sign}": edge.pk})
        own = own.filter(Q(**{f"finished_at__{sign}": edge.finished_at}) | same_time)
    order = ("finished_at", "pk") if is_newer else ("-finished_at", "-pk")
    ids = list(own.order_by(*order).values_list("pk", flat=True)[: PAGE_SIZE + 1])
    has_more = len(ids) > PAGE_SIZE
    ids = ids[:PAGE_SIZE]
    items = list_facts(ids[::-1] if is_newer else ids)
    if not items:
        return HistoryPage([], None, None)
    has_older, has_newer = (True, has_more) if is_newer else (has_more, edge is not None)
    return HistoryPage(
        items,
        older=f"older-{items[-1].shown.public_id}" if has_older else None,
        newer=f"newer-{items[0].shown.public_id}" if has_newer else None,
    )


def _read_cursor(actor: User, cursor: str | None) -> tuple[bool, Assignment | None]:
    if cursor is None:
        return False, None
    side, _, text = cursor.partition("-")
    try:
        public_id = uuid.UUID(text)
    except ValueError:
        raise InvalidCursorError from None
    edge = Assignment.objects.filter(evaluator=actor, public_id=public_id).first()
    if side not in {"older", "newer"} or edge is None or edge.finished_at is None or str(public_id) != text:
        raise InvalidCursorError
    return side == "newer", edge


def get_pseudonym(rater_id: uuid.UUID) -> str:
    """Return the name under which a rater appears to those who may not know people; always the same."""
    return "rater-" + salted_hmac("evaluations.pseudonym", str(rater_id)).hexdigest()[:10]


def get_recount() -> dict[tuple[Any, ...], int]:
    """Return how many counted ratings of outputs there are, by the columns of a tally."""
    counted = Rating.objects.counted().filter(output_image__isnull=False)
    rows = (
        counted.annotate(rated_on=TruncDate("created_at", tzinfo=UTC))
        .values_list("prompt_version", "criterion", "scale", "level", "is_blind", "rated_on")
        .annotate(n=Count("pk"))
        .order_by()
    )
    return {tuple(row[:-1]): row[-1] for row in rows}


def list_drift() -> Iterator[Drift]:
    """Yield each tally and each consensus that is not what a recount of the ratings gives."""
    recount = get_recount()
    tallies = RatingTally.objects.filter(n_ratings__gt=0).values_list(
        "prompt_version", "criterion", "scale", "level", "is_blind", "rated_on", "n_ratings"
    )
    stored = {tuple(row[:-1]): row[-1] for row in tallies}
    for key in sorted(recount.keys() | stored.keys(), key=str):
        if recount.get(key, 0) != stored.get(key, 0):
            yield Drift(f"tally {key}", stored.get(key, 0), recount.get(key, 0))
    counted = Rating.objects.counted().filter(criterion__slug="overall", output_image__isnull=False)
    for model, path, field in (
        (OutputImage, "output_image", "rating"),
        (Generation, "output_image__generation", "result_rating"),
    ):
        yield from _list_consensus_drift(model, counted, path, field)


def _list_consensus_drift(model: Any, counted: Any, path: str, field: str) -> Iterator[Drift]:
    sums = counted.values_list(path).annotate(s=Sum("level"), n=Count("pk")).order_by()
    means = {pk: round_mean(total, n) for pk, total, n in sums}
    rows = model.objects.filter(**{f"{field}__isnull": False}).values_list("pk", field)
    stored = dict(rows)
    for pk in sorted(means.keys() | stored.keys()):
        if means.get(pk) != stored.get(pk):
            yield Drift(f"{model.__name__} {pk} {field}", stored.get(pk), means.get(pk))


def round_mean(total: int | None, n: int) -> Decimal | None:
    """Return a consensus: the mean, two decimals, halves up; None of nothing."""
    if not n or total is None:
        return None
    return (Decimal(total) / n).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
