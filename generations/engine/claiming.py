"""Take due generations: in batches, within each model's limits, with a lease and a fencing number."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db import transaction
from django.db.models import (
    Count,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
)
from django.db.models.functions import Coalesce, Now
from django.utils import timezone

from accounts.rate_limits import take
from generations.choices import BreakerState, Status
from generations.engine.capabilities import is_unkeyed
from generations.engine.ceilings import keep_within_ceilings
from generations.engine.clock import read_clock
from generations.engine.fairness import Turns, split
from generations.engine.health import Address, begin_probe
from generations.engine.holding import LEASE
from generations.engine.waiting import WAITS, with_waits
from generations.engine.work import ModelSpec, StoredInput, Work
from generations.models import Attempt, Generation, InputImage, ProviderHealth
from generations.querysets import GenerationQuerySet
from generations.services.ledger import Account
from mayagen.common.statements import (
    IsAmong,
    KeptStatement,
    insert_each,
    to_duration,
    to_uuid,
    update_each,
)
from prompts.models import ImageModel
from prompts.selectors import find_provider_key


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A model with due generations: of which priorities, and whether its address has to be tried first."""

    model_id: uuid.UUID
    priorities: Sequence[int]
    is_suspect: bool


def claim_batch(
    *, worker: str, capacity: int, unkeyed_capacity: int | None = None, turns: Turns | None = None
) -> list[Work]:
    """Return up to `capacity` due generations, now leased to this worker with their attempts committed.

    Each model gives no more than its free places and its rate allow, and no more than leaves room for the
    other models that wait. Claims of one model wait for each other on its catalogue row, so its limit holds
    across all workers. A model whose provider's breaker is open gives nothing, or the one call that tries it.

    Args:
        unkeyed_capacity: How many of them may be such that their outcome is unknown if this process dies.
        turns: Who was served by this worker before.
    """
    turns = turns or Turns()
    waiting = turns.order(_list_waiting())
    works: list[Work] = []
    for position, found in enumerate(waiting):
        room = split(capacity - len(works), len(waiting) - position)
        if unkeyed_capacity is None:
            room_unkeyed = room
        else:
            room_unkeyed = unkeyed_capacity - sum(work.is_unkeyed for work in works)
        if room > 0:
            works += _claim_of_model(found, worker=worker, room=room, room_unkeyed=room_unkeyed, turns=turns)
    return works


def _build_waiting() -> QuerySet[Any, Any]:
    health = ProviderHealth.objects.filter(provider=OuterRef("provider"), base_url=OuterRef("base_url"))
    return (
        with_waits()
        .filter(~Exists(health.blocked(Now())))
        .order_by("id")
        .values_list("id", Exists(health.exclude(state=BreakerState.CLOSED)), *WAITS.values())
    )


_WAITING: Final = KeptStatement(_build_waiting)


def _list_waiting() -> list[_Waiting]:
    found = []
    for model_id, is_suspect, *waits in _WAITING.run_planned_anew():
        priorities = [
            priority
            for priority, wait in zip(WAITS, waits, strict=True)
            if wait is not None and to_duration(wait) <= timedelta(0)
        ]
        if priorities:
            found.append(_Waiting(to_uuid(model_id), priorities, is_suspect=bool(is_suspect)))
    return found


def _claim_of_model(
    waiting: _Waiting, *, worker: str, room: int, room_unkeyed: int, turns: Turns
) -> list[Work]:
    claimed_at = read_clock()
    with transaction.atomic():
        # NO KEY: rows that point to the model may be inserted meanwhile.
        model = ImageModel.objects.select_for_update(no_key=True).get(pk=waiting.model_id)
        unkeyed = is_unkeyed(model)
        room = min(room, room_unkeyed) if unkeyed else room
        room = min(room, 1) if waiting.is_suspect else room
        rows = _lock_due(model, waiting, room=room, turns=turns)
        rows = keep_within_ceilings(rows)
        if not rows:
            return []
        if waiting.is_suspect and not begin_probe(Address(model.provider, model.base_url)):
            return []
        attempts = _begin_attempts(rows, worker=worker)
        inputs = _list_inputs([row.id for row in rows])
    spec = to_model_spec(model)
    return [
        to_work(
            row,
            attempts[row.id],
            spec,
            claimed_at=claimed_at,
            inputs=inputs.get(row.id, ()),
            is_unkeyed=unkeyed,
            is_probe=waiting.is_suspect,
        )
        for row in rows
    ]


def _lock_due(model: ImageModel, waiting: _Waiting, *, room: int, turns: Turns) -> list[Generation]:
    """Return the due rows that may be taken up: first those with an open attempt, which have their places."""
    if room <= 0:
        return []
    n_calling, n_left = _count_open(model)
    due = Generation.objects.due(Now()).filter(image_model=model)
    rows: list[Generation] = []
    if n_left:
        left = Attempt.objects.in_flight().filter(image_model=model, worker="")
        rows = _lock(due.filter(id__in=left.values("generation_id")), room)
    free = min(room - len(rows), model.max_in_flight - n_calling)
    if free > 0 and model.rate_per_minute:
        free = _take_tokens(model, wanted=free)
    if free <= 0:
        return rows
    fresh = due.exclude(id__in=[row.id for row in rows]) if rows else due
    if n_left:
        fresh = fresh.exclude(Exists(Attempt.objects.in_flight().filter(generation=OuterRef("pk"))))
    return rows + _lock_by_priority(fresh, waiting.priorities, model, free=free, turns=turns)


def _build_open(model: uuid.UUID) -> QuerySet[Any, Any]:
    return (
        Attempt.objects.in_flight()
        .filter(image_model=model)
        .order_by()
        .values("image_model")
        .annotate(
            n_calling=Count("pk", filter=Q(job_ended_at__isnull=True)),
            n_left=Count("pk", filter=Q(worker="")),
        )
        .values_list("n_calling", "n_left")
    )


_OPEN: Final = KeptStatement(_build_open, "model")


def _count_open(model: ImageModel) -> tuple[int, int]:
    """Return how many places of the model are taken, and how many open attempts nobody drives."""
    rows = _OPEN.run_planned_anew(model=model.pk)
    n_calling, n_left = rows[0] if rows else (0, 0)
    return n_calling, n_left


def _lock_by_priority(
    due: GenerationQuerySet, priorities: Sequence[int], model: ImageModel, *, free: int, turns: Turns
) -> list[Generation]:
    if len(priorities) <= 1:
        return _lock(due, free)
    rows: list[Generation] = []
    for priority, share in turns.share(model.pk, priorities, free).items():
        if share:
            rows += _lock(due.filter(priority=priority), share)
    if len(rows) < free:
        rows += _lock(due.exclude(id__in=[row.id for row in rows]), free - len(rows))
    return rows


_CLAIMED_FIELDS: Final = (
    *("run_id", "image_model_id", "created_by_id", "created_at", "started_at", "fence", "n_attempts"),
    *("n_spared_attempts", "rendered_prompt", "system_prompt", "negative_prompt", "parameters", "seed"),
    *("n_outputs", "width_px", "height_px", "reserved_usd"),
)
"""What ceilings, attempts and calls need of a generation: a row has three times as many."""


def _lock(due: GenerationQuerySet, n_rows: int) -> list[Generation]:
    ordered = due.order_by("-priority", "due_at", "id").only(*_CLAIMED_FIELDS)
    return list(ordered.select_for_update(skip_locked=True, of=("self",))[:n_rows])


def _take_tokens(model: ImageModel, *, wanted: int) -> int:
    rate = float(model.rate_per_minute or 0)
    burst = max(1, int(rate // 60))
    taken = 0
    while taken < wanted and take(f"image_model:{model.pk}", rate_per_minute=rate, burst=burst) == 0:
        taken += 1
    return taken


def _begin_attempts(rows: list[Generation], *, worker: str) -> dict[uuid.UUID, Attempt]:
    """Lease the rows and commit an attempt for each; one left open by a dead worker is taken up again."""
    attempts = _take_up_left([row.id for row in rows], worker=worker)
    fresh = [row for row in rows if row.id not in attempts]
    _lease([row.id for row in fresh], worker=worker, n_attempts=F("n_attempts") + 1)
    _lease(attempts, worker=worker)
    for row in rows:
        row.fence += 1
    begun = {
        row.id: Attempt(
            generation_id=row.id,
            image_model_id=row.image_model_id,
            number=row.n_attempts + 1,
            fence=row.fence,
            worker=worker,
            idempotency_key=f"{row.id}-{row.n_attempts + 1}",
        )
        for row in fresh
    }
    insert_each(list(begun.values()))
    return {**attempts, **begun}


def _build_left(generations: uuid.UUID) -> QuerySet[Any, Any]:
    return Attempt.objects.in_flight().filter(IsAmong("generation_id", generations)).values_list("id")


_LEFT: Final = KeptStatement(_build_left, "generations")


def _take_up_left(generation_ids: list[uuid.UUID], *, worker: str) -> dict[uuid.UUID, Attempt]:
    """Take the open attempts of these generations, and return them by generation; there rarely are any."""
    ids = [to_uuid(row_id) for (row_id,) in _LEFT.run_planned_anew(generations=generation_ids)]
    if not ids:
        return {}
    left = {attempt.generation_id: attempt for attempt in Attempt.objects.in_flight().filter(id__in=ids)}
    Attempt.objects.filter(id__in=ids).update(worker=worker)
    return left


def _lease(generation_ids: Collection[uuid.UUID], *, worker: str, **changes: Any) -> None:
    update_each(
        Generation,
        {each: {} for each in generation_ids},
        status=Status.PROCESSING,
        fence=F("fence") + 1,
        worker=worker,
        lease_expires_at=Now() + LEASE,
        started_at=Coalesce("started_at", Now()),
        **changes,
    )


def _build_inputs(generations: uuid.UUID) -> QuerySet[Any, Any]:
    inputs = InputImage.objects.filter(IsAmong("generation_id", generations))
    return inputs.order_by("generation_id", "position").values_list(
        "generation_id", "role", "file", "mime_type"
    )


_INPUTS: Final = KeptStatement(_build_inputs, "generations")


def _list_inputs(generation_ids: list[uuid.UUID]) -> Mapping[uuid.UUID, tuple[StoredInput, ...]]:
    found: defaultdict[uuid.UUID, tuple[StoredInput, ...]] = defaultdict(tuple)
    for generation_id, *image in _INPUTS.run_planned_anew(generations=generation_ids):
        found[to_uuid(generation_id)] += (StoredInput(*image),)
    return found


def to_model_spec(model: ImageModel) -> ModelSpec:
    """Return what the engine needs of a catalogue entry."""
    key = find_provider_key(model.credential_name)
    return ModelSpec(
        id=model.id,
        provider=model.provider,
        endpoint=model.endpoint,
        kind=model.kind,
        base_url=model.base_url,
        credential_name=model.credential_name,
        options=model.provider_options,
        price_usd=None if model.is_free else model.price_usd,
        timeout_seconds=model.timeout_seconds,
        max_attempts=model.max_attempts,
        repeats_unknown=model.repeats_unknown or model.is_free,
        is_free=model.is_free,
        api_key=key.value,
        key_fault=key.fault,
    )


def to_work(
    row: Generation,
    attempt: Attempt,
    model: ModelSpec,
    *,
    claimed_at: float,
    inputs: tuple[StoredInput, ...] = (),
    fence: int | None = None,
    is_unkeyed: bool = False,
    is_probe: bool = False,
    is_cancelled: bool = False,
) -> Work:
    """Return what the engine carries about of a generation that has just been leased."""
    return Work(
        generation_id=row.id,
        fence=row.fence if fence is None else fence,
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
        account=Account.of(row.created_by_id, row.created_at),
        reserved_usd=row.reserved_usd,
        claimed_at=claimed_at,
        attempt_age_seconds=(timezone.now() - attempt.started_at).total_seconds(),
        is_repeated=attempt.fence < row.fence,
        n_spared_attempts=row.n_spared_attempts,
        is_unkeyed=is_unkeyed,
        is_probe=is_probe,
        is_cancelled=is_cancelled,
    )
