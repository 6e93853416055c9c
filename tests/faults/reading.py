"""Read from an installation what is judged: its generations, files, ledger and tallies."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.installation import Launched
from tests.faults.judging import Charged, Finding, Ratings, Row
from tests.faults.raters import OVERLAP

if TYPE_CHECKING:
    from generations.models import Generation, OutputImage


def list_rows(launched: Sequence[Launched]) -> list[Row]:
    """Return the generations of these runs."""
    from generations.models import Generation

    kinds = {each.run.pk: each.kind for each in launched}
    found = Generation.objects.filter(run__in=list(kinds)).prefetch_related("attempts", "outputs")
    return [
        _read_row(generation, kinds[generation.run_id])
        for generation in found.order_by("id")
        if generation.run_id is not None
    ]


def _read_row(generation: Generation, kind: str) -> Row:
    from generations.choices import AttemptState, Status

    outputs = list(generation.outputs.all())
    unknown = [
        attempt.cost_usd or Decimal(0)
        for attempt in generation.attempts.all()
        if attempt.state == AttemptState.UNKNOWN and generation.status == Status.CANCELLED
    ]
    return Row(
        id=str(generation.pk),
        kind=kind,
        key=str(generation.pk) if kind == "openai-keyed" else generation.rendered_prompt,
        status=generation.status,
        error_code=generation.error_code,
        error_message=generation.error_message,
        cost_usd=generation.cost_usd,
        reserved_usd=generation.reserved_usd,
        is_undecided=generation.status == Status.FAILED and generation.reserved_usd is not None,
        may_have_cost_usd=sum(unknown, Decimal(0)),
        n_outputs=len(outputs),
        n_sound_outputs=sum(map(_is_sound, outputs)),
    )


def _is_sound(output: OutputImage) -> bool:
    try:
        with output.file.open("rb") as file:
            content = file.read()
        copies = [output.thumbnail, output.small_thumbnail, output.blind]
        has_copies = all(copy and copy.storage.exists(str(copy)) for copy in copies)
    except OSError:
        return False
    is_same = hashlib.sha256(content).hexdigest() == output.sha256 and len(content) == output.size_bytes
    return is_same and has_copies


def decide_unknown(rows: Sequence[Row], charges: Mapping[str, Mapping[str, Charged]]) -> Counter[str]:
    """Decide about calls of unknown outcome as the ledgers say; return how many were and were not paid."""
    from generations.models import Generation
    from generations.services.ledger import settle_unknown

    counts: Counter[str] = Counter()
    for is_paid in (True, False):
        ids = [
            row.id
            for row in rows
            if row.is_undecided
            and (charges.get(row.kind, {}).get(row.key, Charged()).n_charges > 0) == is_paid
        ]
        counts["paid" if is_paid else "unpaid"] = settle_unknown(
            Generation.objects.filter(pk__in=ids), is_paid=is_paid
        )
    return counts


def judge_books(rows: Sequence[Row]) -> list[Finding]:
    """Whether the quotas' ledger, the sums of capped runs and the tallies are what a recount gives."""
    from evaluations.selectors import list_drift as list_tally_drift
    from generations.models import MonthlySpend
    from generations.services.recounting import list_drift
    from generations.services.run_money import list_run_drift

    total = sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0))
    books = list(MonthlySpend.objects.filter(user__isnull=True))
    booked = sum((book.booked_usd for book in books), Decimal(0))
    reserved = sum((book.reserved_usd for book in books), Decimal(0))
    n_reserved = sum(book.reserved_generations for book in books)
    drift = [str(each) for each in (*list_drift(), *list_run_drift(), *list_tally_drift())]
    return [
        Finding(
            "quota booked less the sum of costs", float(booked - total), "USD", "= 0", met=booked == total
        ),
        Finding("quota reserved", float(reserved), "USD", "= 0", met=not reserved and not n_reserved),
        Finding("figures that differ from a recount", len(drift), "", "= 0", met=not drift, details=drift),
    ]


def read_ratings() -> Ratings:
    """Return what there is of ratings."""
    from django.db.models import Count, Sum

    from evaluations.models import Rating, RatingTally

    standing = Rating.objects.standing()
    crowded = (
        Rating.objects.counted()
        .values("output_image")
        .annotate(n=Count("pk"))
        .filter(n__gt=OVERLAP)
        .order_by()
    )
    return Ratings(
        levels={str(pk): level for pk, level in standing.values_list("assignment__public_id", "level")},
        n_surplus=standing.filter(is_surplus=True).count(),
        n_tallied=RatingTally.objects.aggregate(n=Sum("n_ratings"))["n"] or 0,
        crowded=[f"{each['output_image']}: {each['n']}" for each in crowded],
    )


def collect_orphans(media: Path) -> list[Finding]:
    """Let all files look as old as orphans must be, collect these, and say whether any stays."""
    from generations.services import orphans

    then = time.time() - 2 * orphans.SAFE_AGE.total_seconds()
    for path in media.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    found = orphans.collect_orphans(may_be_many=True)
    n_foreign = found.n_foreign
    n_left = orphans.collect_orphans(is_dry_run=True).n_orphans
    return [
        Finding("stored files that no row named, collected", found.n_removed, "files", "none", met=True),
        Finding("stored files of names not made here", n_foreign, "files", "= 0", met=not n_foreign),
        Finding("stored files that no row names, left", n_left, "files", "= 0", met=not n_left),
    ]


def count_ends(rows: Sequence[Row]) -> Mapping[str, Counter[str]]:
    """Return how the generations of each kind ended: by status, failures by code."""
    ends: dict[str, Counter[str]] = {}
    for row in rows:
        ends.setdefault(row.kind, Counter())[row.error_code or row.status] += 1
    return ends
