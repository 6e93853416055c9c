"""Read from an installation what is judged: its generations, files, ledger and tallies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.installation import Launched
from tests.faults.judging import Charged, Finding, Row

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
    """Whether the quotas' ledger and the tallies are what a recount gives."""
    from evaluations.selectors import list_drift as list_tally_drift
    from generations.models import MonthlySpend
    from generations.services.recounting import list_drift

    total = sum((row.cost_usd or Decimal(0) for row in rows), Decimal(0))
    books = list(MonthlySpend.objects.filter(user__isnull=True))
    booked = sum((book.booked_usd for book in books), Decimal(0))
    reserved = sum((book.reserved_usd for book in books), Decimal(0))
    n_reserved = sum(book.reserved_generations for book in books)
    drift = [str(each) for each in (*list_drift(), *list_tally_drift())]
    return [
        Finding(
            "quota booked less the sum of costs", float(booked - total), "USD", "= 0", met=booked == total
        ),
        Finding("quota reserved", float(reserved), "USD", "= 0", met=not reserved and not n_reserved),
        Finding("figures that differ from a recount", len(drift), "", "= 0", met=not drift, details=drift),
    ]


def count_orphans(media: Path) -> int:
    """Return how many stored files no row names."""
    named = set(_list_named())
    stored = {str(path.relative_to(media)) for path in media.rglob("*") if path.is_file()}
    return len(stored - named)


def _list_named() -> Iterator[str]:
    from generations.models import OutputImage

    columns: tuple[Any, ...] = ("file", "thumbnail", "small_thumbnail", "blind")
    for names in OutputImage.objects.values_list(*columns):
        yield from map(str, names)


def count_ends(rows: Sequence[Row]) -> Mapping[str, Counter[str]]:
    """Return how the generations of each kind ended: by status, failures by code."""
    ends: dict[str, Counter[str]] = {}
    for row in rows:
        ends.setdefault(row.kind, Counter())[row.error_code or row.status] += 1
    return ends
