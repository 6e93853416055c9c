"""Take due generations: in batches, within each model's limits, with a lease and a fencing number."""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Coalesce, Now

from accounts.rate_limits import take
from generations.choices import Status
from generations.engine.work import ModelSpec, StoredInput, Work
from generations.models import Attempt, Generation, InputImage
from prompts.models import ImageModel

LEASE: Final = timedelta(seconds=60)


def claim_batch(*, worker: str, capacity: int) -> list[Work]:
    """Return up to `capacity` due generations, now leased to this worker with their attempts committed.

    Each model gives no more than its free places and its rate allow. Claims of one model wait for each
    other on its catalogue row, so its limit holds across all workers.
    """
    waiting = Generation.objects.due(Now()).filter(image_model=OuterRef("pk"))
    works: list[Work] = []
    for model_id in ImageModel.objects.filter(Exists(waiting)).order_by("id").values_list("id", flat=True):
        if len(works) >= capacity:
            break
        works.extend(_claim_of_model(model_id=model_id, worker=worker, capacity=capacity - len(works)))
    return works


def _claim_of_model(*, model_id: uuid.UUID, worker: str, capacity: int) -> list[Work]:
    claimed_at = time.monotonic()
    with transaction.atomic():
        # NO KEY: rows that point to the model may be inserted meanwhile.
        model = ImageModel.objects.select_for_update(no_key=True).get(pk=model_id)
        n_in_flight = Attempt.objects.in_flight().filter(image_model_id=model_id).count()
        free = min(capacity, model.max_in_flight - n_in_flight)
        if free > 0 and model.rate_per_minute:
            free = _take_tokens(model, wanted=free)
        if free <= 0:
            return []
        rows = list(
            Generation.objects.due(Now())
            .filter(image_model=model)
            .order_by("-priority", "due_at", "id")
            .select_for_update(skip_locked=True, of=("self",))[:free]
        )
        if not rows:
            return []
        attempts = _begin_attempts(rows, worker=worker)
        ids = [row.id for row in rows]
        inputs = _list_inputs(ids)
    spec = to_model_spec(model)
    return [_to_work(row, attempts[row.id], spec, inputs.get(row.id, ()), claimed_at) for row in rows]


def _take_tokens(model: ImageModel, *, wanted: int) -> int:
    rate = float(model.rate_per_minute or 0)
    burst = max(1, int(rate // 60))
    taken = 0
    while taken < wanted and take(f"image_model:{model.pk}", rate_per_minute=rate, burst=burst) == 0:
        taken += 1
    return taken


def _begin_attempts(rows: list[Generation], *, worker: str) -> dict[uuid.UUID, Attempt]:
    """Lease the rows and commit an attempt for each; one left open by a dead worker is taken up again."""
    ids = [row.id for row in rows]
    for row in rows:
        row.fence += 1
    attempts = {
        attempt.generation_id: attempt
        for attempt in Attempt.objects.in_flight().filter(generation_id__in=ids)
    }
    fresh = [row for row in rows if row.id not in attempts]
    Generation.objects.filter(id__in=ids).update(
        status=Status.PROCESSING,
        fence=F("fence") + 1,
        worker=worker,
        lease_expires_at=Now() + LEASE,
        started_at=Coalesce("started_at", Now()),
    )
    Generation.objects.filter(id__in=[row.id for row in fresh]).update(n_attempts=F("n_attempts") + 1)
    for row in fresh:
        number = row.n_attempts + 1
        attempts[row.id] = Attempt(
            generation=row,
            image_model_id=row.image_model_id,
            number=number,
            fence=row.fence,
            worker=worker,
            idempotency_key=f"{row.id}-{number}",
        )
    Attempt.objects.bulk_create([attempts[row.id] for row in fresh])
    return attempts


def _list_inputs(generation_ids: list[uuid.UUID]) -> Mapping[uuid.UUID, tuple[StoredInput, ...]]:
    found: defaultdict[uuid.UUID, tuple[StoredInput, ...]] = defaultdict(tuple)
    images = InputImage.objects.filter(generation_id__in=generation_ids).order_by("generation_id", "position")
    for image in images:
        found[image.generation_id] += (StoredInput(image.role, str(image.file), image.mime_type),)
    return found


def to_model_spec(model: ImageModel) -> ModelSpec:
    """Return what the engine needs of a catalogue entry."""
    return ModelSpec(
        id=model.id,
        provider=model.provider,
        endpoint=model.endpoint,
        kind=model.kind,
        base_url=model.base_url,
        credential_name=model.credential_name,
        options=model.provider_options,
        price_usd=model.price_usd,
        timeout_seconds=model.timeout_seconds,
        max_attempts=model.max_attempts,
        repeats_unknown=model.repeats_unknown or model.is_free,
    )


def _to_work(
    row: Generation, attempt: Attempt, model: ModelSpec, inputs: tuple[StoredInput, ...], claimed_at: float
) -> Work:
    return Work(
        generation_id=row.id,
        fence=row.fence,
        attempt_id=attempt.id,
        attempt_number=attempt.number,
        idempotency_key=attempt.idempotency_key,
        provider_job_id=attempt.provider_job_id,
        model=model,
        prompt=row.rendered_prompt,
        system_prompt=row.system_prompt,
        negative_prompt=row.negative_prompt,
        parameters=row.parameters,
        seed=row.seed,
        n_outputs=row.n_outputs,
        width_px=row.width_px,
        height_px=row.height_px,
        inputs=inputs,
        claimed_at=claimed_at,
    )


def get_seconds_until_due(*, within: timedelta) -> float | None:
    """Return the seconds until the next queued generation is due, or None when none is within that time."""
    soon = Generation.objects.filter(status=Status.QUEUED, due_at__lte=Now() + within)
    row = soon.annotate(wait=F("due_at") - Now()).order_by("due_at").values_list("wait", flat=True).first()
    return None if row is None else max(0.0, row.total_seconds())
