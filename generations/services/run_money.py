"""What the begun generations of a run with a ceiling add up to, known without summing all of them.

`Run.settled_usd` holds the costs of those that are settled, and an `OpenCharge` stands for each of the
others: at every look those settled since are added and their charges removed. So a look reads what is in
flight, however much the run has made, and nothing is written when a generation ends, where many do at once.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.db import transaction
from django.db.models import DecimalField, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, Round

from accounts import audit
from generations.models import Generation, OpenCharge, Run
from generations.querysets import GenerationQuerySet

_BATCH: Final = 500
_BEGUN: Final = Q(started_at__isnull=False)
# While money is held back for a generation, that counts; afterwards what it has cost.
_CHARGE: Final = Coalesce("reserved_usd", "cost_usd")


def open_charges(generations: Iterable[Generation]) -> None:
    """Let the money of these generations count towards the ceilings of their runs once they have begun.

    Call it in the transaction that begins them, with their runs' rows locked. One that is not begun after
    all counts nothing and may be given again.
    """
    charges = [OpenCharge(generation_id=each.pk, run_id=each.run_id) for each in generations if each.run_id]
    OpenCharge.objects.bulk_create(charges, ignore_conflicts=True, batch_size=_BATCH)


def reopen_charges(generations: GenerationQuerySet) -> None:
    """Let a cost count that these settled generations are about to be given, in this transaction."""
    begun = generations.filter(_BEGUN, run__ceiling_usd__isnull=False).only("pk", "run_id")
    late = {each.pk: each for each in begun}
    runs = Run.objects.filter(pk__in={each.run_id for each in late.values()}).order_by("pk")
    if late and runs.select_for_update(no_key=True):
        open_charges(late.values())


def count_begun(run: Run) -> Decimal:
    """Return what the begun generations of a run with a ceiling have cost, or are expected to.

    The caller has locked the run's row, and read it since.
    """
    charges = OpenCharge.objects.filter(run=run).values_list(
        "pk", "generation__started_at", "generation__reserved_usd", "generation__cost_usd"
    )
    settled: list[uuid.UUID] = []
    settled_usd = expected_usd = Decimal(0)
    for pk, started_at, reserved_usd, cost_usd in charges:
        if reserved_usd is None:
            settled.append(pk)
            settled_usd += cost_usd or 0
        elif started_at is not None:
            expected_usd += reserved_usd
    if settled:
        run.settled_usd += settled_usd
        Run.objects.filter(pk=run.pk).update(settled_usd=run.settled_usd)
        for ids in _in_batches(settled):
            OpenCharge.objects.filter(pk__in=ids).delete()
    return run.settled_usd + expected_usd


@dataclass(frozen=True, slots=True)
class RunDrift:
    """A run with a ceiling whose known sum is not what its begun generations add up to."""

    run_id: uuid.UUID
    stored: Decimal
    counted: Decimal


def list_run_drift() -> list[RunDrift]:
    """Return the runs with a ceiling whose sums differ from a recount; one query, so at one moment."""
    begun = Generation.objects.filter(_BEGUN, run__ceiling_usd__isnull=False).order_by()
    sums = begun.values("run", "run__settled_usd").annotate(
        all_usd=_sum(_CHARGE), open_usd=_sum(_CHARGE, filter=Q(open_charge__isnull=False))
    )
    facts = [(row["run"], row["run__settled_usd"] + row["open_usd"], row["all_usd"]) for row in sums]
    facts += [
        (run_id, settled_usd, Decimal(0))
        for run_id, settled_usd in _list_unbegun().values_list("pk", "settled_usd")
    ]
    return [RunDrift(*each) for each in sorted(facts) if each[1] != each[2]]


def _list_unbegun() -> QuerySet[Run]:
    """Return the runs with a ceiling that say they have cost something, and have begun nothing."""
    begun = Generation.objects.filter(_BEGUN, run__isnull=False)
    return (
        Run.objects.filter(ceiling_usd__isnull=False)
        .exclude(settled_usd=0)
        .exclude(pk__in=begun.values("run"))
    )


@transaction.atomic
def repair_run(run_id: uuid.UUID) -> None:
    """Set what is known of one run with a ceiling to what its begun generations add up to.

    They begin only with the run's row locked; what ends meanwhile has a charge, and is counted by that.
    """
    run = Run.objects.select_for_update(no_key=True).get(pk=run_id)
    before = {"settled_usd": str(run.settled_usd)}
    OpenCharge.objects.filter(run=run).delete()
    begun = Generation.objects.filter(_BEGUN, run=run)
    rows = list(begun.values_list("pk", "reserved_usd", "cost_usd"))
    open_charges(Generation(pk=pk, run_id=run_id) for pk, reserved_usd, _ in rows if reserved_usd is not None)
    settled = (cost_usd for _, reserved_usd, cost_usd in rows if reserved_usd is None)
    run.settled_usd = sum((cost_usd or Decimal(0) for cost_usd in settled), start=Decimal(0))
    Run.objects.filter(pk=run_id).update(settled_usd=run.settled_usd)
    after = {"settled_usd": str(run.settled_usd)}
    audit.record(actor=None, verb="repair_run_money", target=run, before=before, after=after)


def _sum(amount: Any, **how: Any) -> Round:
    """Return the sum to the last digit that is kept: SQLite adds decimals as floating point numbers."""
    summed = Coalesce(Sum(amount, **how), Decimal(0))
    return Round(summed, precision=6, output_field=DecimalField(max_digits=16, decimal_places=6))


def _in_batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
