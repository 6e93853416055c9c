"""Pull completed outputs into the queues that ask for them, and put right what has drifted.

Nothing below pushes: a queue's work is a query over outputs. New outputs come by a statement over the last
minutes' outputs; now and then all of them are compared, which also finds what began or ceased to match later.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import (
    Case,
    Count,
    Exists,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Greatest
from django.utils import timezone

from evaluations.assignment.leasing import now
from evaluations.models import Assignment, QueueItem, ReviewQueue
from generations.choices import RunKind, Status
from generations.models import OutputImage

SYNC_INTERVAL: Final = timedelta(seconds=1)
RECONCILE_INTERVAL: Final = timedelta(minutes=10)
OVERLAP: Final = timedelta(minutes=10)
"""How far behind the last pull the next one looks: longer than any transaction that makes outputs runs."""
_REPAIR_BATCH: Final = 500


class RandomKey(Func):
    """A random place in the queue, which mixes versions whenever their outputs came."""

    output_field = IntegerField()
    template = "CAST(floor(random() * 2147483647) AS integer)"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Do it with SQLite's 64-bit random integer."""
        return self.as_sql(compiler, connection, template="(random() & 2147483647)", **context)


def list_matching_outputs(queue: ReviewQueue) -> QuerySet[OutputImage]:
    """Return the completed outputs that a queue asks for and that can be shown; none of deleted prompts."""
    return OutputImage.objects.filter(_match(queue, "generation__")).prepared()


def _match(queue: ReviewQueue, path: str) -> Q:
    """Return what must hold of a generation, reached by `path`, for the queue to ask for its outputs."""
    condition = Q(
        **{
            f"{path}status": Status.COMPLETED,
            f"{path}prompt_version__deleted_at__isnull": True,
            f"{path}prompt_version__prompt__deleted_at__isnull": True,
        }
    )
    for chosen, lookup in (
        (queue.prompts, "prompt_version__prompt__in"),
        (queue.runs, "run__in"),
        (queue.datasets, "dataset_item__dataset_version__dataset__in"),
    ):
        ids = list(chosen.values_list("pk", flat=True))
        if ids:
            condition &= Q(**{f"{path}{lookup}": ids})
        elif lookup == "run__in":
            condition &= Q(**{f"{path}run__isnull": True}) | Q(**{f"{path}run__kind": RunKind.LAUNCHED})
    return condition


def sync(queue: ReviewQueue) -> int:
    """Pull new outputs unless that was done within the last second; returns how many came.

    Of several processes that come at once, one pulls.
    """
    seen_at = queue.synced_at
    if seen_at is not None and timezone.now() - seen_at < SYNC_INTERVAL:
        return 0
    if not ReviewQueue.objects.filter(pk=queue.pk, synced_at=seen_at).update(synced_at=now()):
        return 0
    return _pull(queue, since=seen_at and seen_at - OVERLAP)


def reconcile_when_due(queue: ReviewQueue) -> int:
    """Compare all outputs with the queue unless that was done in the last minutes."""
    seen_at = queue.reconciled_at
    if seen_at is not None and timezone.now() - seen_at < RECONCILE_INTERVAL:
        return 0
    if not ReviewQueue.objects.filter(pk=queue.pk, reconciled_at=seen_at).update(reconciled_at=now()):
        return 0
    return reconcile(queue)


def reconcile(queue: ReviewQueue) -> int:
    """Make the queue hold exactly what matches, with the right number of open places; returns what came.

    Items that match no longer are closed; what people did with them stays.
    """
    n_new = _pull(queue, since=None)
    drifted = list(_count_places(queue).exclude(n_open=F("n_expected")).values_list("pk", flat=True))
    for start in range(0, len(drifted), _REPAIR_BATCH):
        _repair(queue, drifted[start : start + _REPAIR_BATCH])
    ReviewQueue.objects.filter(pk=queue.pk).update(reconciled_at=now())
    return n_new


def _pull(queue: ReviewQueue, *, since: datetime | None) -> int:
    outputs = list_matching_outputs(queue)
    if queue.is_default:
        outputs = outputs.filter(rating__isnull=True)
    if since is not None:
        outputs = outputs.filter(pk__gte=_first_id_at(since))
    here = QueueItem.objects.filter(queue=queue, output_image=OuterRef("pk"))
    rows = outputs.exclude(Exists(here)).values_list(
        Value(queue.pk, output_field=QueueItem._meta.get_field("queue").target_field),
        "pk",
        RandomKey(),
        Value(queue.overlap),
    )
    select, parameters = rows.query.sql_with_params()
    target = connection.ops.quote_name(QueueItem._meta.db_table)
    with transaction.atomic(), connection.cursor() as cursor:
        if since is None and connection.vendor == "postgresql":
            # Before the tables' first statistics a nested loop would look as good, and read the rows that
            # it has just written over and over: minutes instead of seconds for 100,000 outputs.
            cursor.execute("SET LOCAL enable_nestloop = off")
        cursor.execute(
            f"INSERT INTO {target} (queue_id, output_image_id, shuffle_key, n_open) {select}"
            " ON CONFLICT DO NOTHING",
            parameters,
        )
        n_pulled = int(cursor.rowcount)
        if since is None and connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_nestloop = on")
    return n_pulled


def _first_id_at(moment: datetime) -> uuid.UUID:
    """Return the lowest UUIDv7 of a millisecond: ids are made when rows are, so they bound a time."""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | 0x8 << 60)


def _count_places(queue: ReviewQueue) -> QuerySet[Any]:
    """Return the items with `n_expected`: the open places that filter and assignments say they have."""
    holding = Assignment.objects.filter(item=OuterRef("pk"), holds_place=True).order_by()
    n_held = Subquery(holding.values("item").annotate(n=Count("pk")).values("n"))
    # Joined and not asked for each item: without statistics that means all generations, each time.
    is_wanted = _match(queue, "output_image__generation__")
    if queue.is_default:
        is_wanted &= Q(output_image__rating__isnull=True) | Q(Exists(holding))
    n_left = Greatest(Value(0), Value(queue.overlap) - Coalesce(n_held, 0))
    n_expected = Case(When(is_wanted, then=n_left), default=0, output_field=IntegerField())
    return QueueItem.objects.filter(queue=queue).annotate(n_expected=n_expected)


@transaction.atomic
def _repair(queue: ReviewQueue, item_ids: list[int]) -> None:
    """Set the open places of these items right; they are locked first, so that no claim is overlooked."""
    list(QueueItem.objects.select_for_update(no_key=True).filter(pk__in=item_ids).order_by("pk"))
    by_count: dict[int, list[int]] = {}
    for item_id, n_expected in _count_places(queue).filter(pk__in=item_ids).values_list("pk", "n_expected"):
        by_count.setdefault(n_expected, []).append(item_id)
    for n_open, ids in by_count.items():
        QueueItem.objects.filter(pk__in=ids).update(n_open=n_open)
