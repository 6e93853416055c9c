"""Stop runs at their ceilings: when work is claimed, so that nothing is begun that could go beyond."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from generations.choices import OWN_SENTENCES, ErrorCode, Status
from generations.models import Generation, Run
from generations.services.ledger import settle
from generations.services.run_money import count_begun, open_charges

_BATCH: Final = 500
_NOTHING: Final = Decimal(0)


def keep_within_ceilings(rows: Sequence[Generation]) -> list[Generation]:
    """Return the rows that the ceilings of their runs allow; a run that has reached its own is cancelled.

    What has begun counts with its cost, or until that is known with what is held back for it, so a ceiling
    is passed only by as much as calls turn out dearer than their price. Call it within the claim's
    transaction, with the rows locked; claims of other models that meet the same run wait for each other.
    """
    beginning = {
        row.run_id for row in rows if row.run_id and row.reserved_usd is not None and row.started_at is None
    }
    if not beginning:
        return list(rows)
    capped = Run.objects.filter(pk__in=beginning, ceiling_usd__isnull=False).order_by("pk")
    refused: set[uuid.UUID] = set()
    for run in capped.select_for_update(no_key=True):
        fresh = [row for row in rows if row.run_id == run.pk and row.started_at is None]
        n_fitting = _count_fitting(fresh, (run.ceiling_usd or _NOTHING) - count_begun(run))
        open_charges(row for row in fresh[:n_fitting] if row.reserved_usd is not None)
        if n_fitting < len(fresh):
            _stop(run, kept=[row.pk for row in fresh[:n_fitting]])
            refused.update(row.pk for row in fresh[n_fitting:])
    return [row for row in rows if row.pk not in refused]


def _count_fitting(rows: Sequence[Generation], room: Decimal) -> int:
    for number, row in enumerate(rows):
        room -= row.reserved_usd or _NOTHING
        if room < 0:
            return number
    return len(rows)


def _stop(run: Run, *, kept: Sequence[uuid.UUID]) -> None:
    # What another claim holds at this moment is skipped: it meets the same ceiling there.
    waiting = Generation.objects.filter(run=run, status=Status.QUEUED, started_at__isnull=True)
    ids = list(waiting.exclude(pk__in=kept).select_for_update(skip_locked=True).values_list("pk", flat=True))
    for batch in _in_batches(ids):
        Generation.objects.filter(pk__in=batch).update(
            status=Status.CANCELLED,
            finished_at=Now(),
            fence=F("fence") + 1,
            error_code=ErrorCode.CEILING_REACHED,
            error_message=OWN_SENTENCES[ErrorCode.CEILING_REACHED],
        )
    audit.record(actor=None, verb="stop_run_at_ceiling", target=run, after={"n_cancelled": len(ids)})
    settle(Generation.objects.filter(run=run, error_code=ErrorCode.CEILING_REACHED))


def _in_batches(ids: Sequence[uuid.UUID]) -> Iterator[Sequence[uuid.UUID]]:
    for start in range(0, len(ids), _BATCH):
        yield ids[start : start + _BATCH]
