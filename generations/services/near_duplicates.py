"""Find outputs of a run that look nearly the same; never in anybody's way, and a bounded number at a time."""

from __future__ import annotations

import logging
import time
import uuid
from typing import Final

from django.db import transaction

from generations.image_files import hash_copy
from generations.media.errors import MediaError
from generations.media.perceptual import Lookalikes
from generations.models import OutputImage, Run
from mayagen.common.statements import update_each

logger = logging.getLogger(__name__)
BATCH_SIZE: Final = 2000
N_RUNS: Final = 100
MAX_REMEMBERED: Final = 20_000
"""Of so many outputs of a run the fingerprints are held in memory: at 600 bytes each, 12 MB."""


def compare_outputs(*, seconds: float = 5.0) -> int:
    """Compare what is not yet compared with the other outputs of its run; return how many that were.

    Of outputs that look nearly the same, all but one are marked and point to that one. Those that belong to
    no run are only taken off the list. What does not fit into the time is left to the next call.
    """
    ends_at = time.monotonic() + seconds
    n_compared = _pass_over_strays()
    hashed = OutputImage.objects.uncompared().filter(perceptual_hash__isnull=False)
    run_ids = hashed.values_list("generation__run_id", flat=True).distinct().order_by()
    for run_id in list(run_ids[:N_RUNS]):
        while time.monotonic() < ends_at:
            n_in_run = _compare_in_run(run_id)
            n_compared += n_in_run
            if n_in_run < BATCH_SIZE:
                break
    return n_compared


def hash_outputs(*, seconds: float = 5.0) -> int:
    """Make the fingerprints of outputs from before there were any, from their thumbnails; return how many."""
    ends_at = time.monotonic() + seconds
    unhashed = OutputImage.objects.uncompared().filter(perceptual_hash__isnull=True).order_by("id")
    n_hashed = 0
    for image in unhashed.only("thumbnail")[:BATCH_SIZE]:
        if time.monotonic() >= ends_at:
            break
        row = OutputImage.objects.filter(pk=image.pk, perceptual_hash__isnull=True)
        try:
            n_hashed += row.update(perceptual_hash=hash_copy(str(image.thumbnail)))
        except (MediaError, OSError):
            logger.exception("the thumbnail of output %s cannot be read", image.pk)
            row.update(is_near_duplicate=False)
    return n_hashed


def _pass_over_strays() -> int:
    hashed = OutputImage.objects.uncompared().filter(perceptual_hash__isnull=False)
    strays = list(hashed.filter(generation__run__isnull=True).values_list("id", flat=True)[:BATCH_SIZE])
    if not strays:
        return 0
    return OutputImage.objects.filter(id__in=strays, is_near_duplicate__isnull=True).update(
        is_near_duplicate=False
    )


@transaction.atomic
def _compare_in_run(run_id: uuid.UUID) -> int:
    """Compare a batch, unless somebody else is at this run; return how many were compared."""
    run = Run.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=run_id)
    if not run.values_list("pk"):
        return 0
    outputs = OutputImage.objects.filter(generation__run=run_id, perceptual_hash__isnull=False)
    fresh = list(
        outputs.uncompared()
        .order_by("id")
        .select_for_update(of=("self",))
        .values_list("id", "perceptual_hash")[:BATCH_SIZE]
    )
    known = Lookalikes()
    compared = outputs.filter(is_near_duplicate=False).order_by("-id").values_list("id", "perceptual_hash")
    for output_id, perceptual_hash in compared[:MAX_REMEMBERED].iterator():
        known.add(output_id, perceptual_hash or 0)
    found: dict[uuid.UUID, uuid.UUID | None] = {}
    for output_id, perceptual_hash in fresh:
        found[output_id] = known.find(perceptual_hash or 0)
        if found[output_id] is None:
            known.add(output_id, perceptual_hash or 0)
    _mark(found)
    return len(found)


def _mark(found: dict[uuid.UUID, uuid.UUID | None]) -> None:
    update_each(
        OutputImage,
        {
            output_id: {"is_near_duplicate": other_id is not None, "near_duplicate_of": other_id}
            for output_id, other_id in found.items()
        },
    )
