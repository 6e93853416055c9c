"""Reads that span the models of this app."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db.models import (
    Case,
    Count,
    DecimalField,
    Exists,
    F,
    Max,
    Min,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Coalesce

from accounts.models import User
from generations.choices import FINAL_STATUSES, OWN_SENTENCES, BreakerState, ErrorCode, Source, Status
from generations.models import (
    DatasetItem,
    DatasetItemImage,
    DatasetVersion,
    Generation,
    InputImage,
    OutputImage,
    ProviderHealth,
    Run,
    StoredImage,
)
from generations.providers.base import ERROR_FACTS
from generations.providers.base import ErrorCode as ProviderErrorCode
from generations.querysets import DatasetQuerySet, GenerationQuerySet
from prompts.models import ImageModel

THROUGHPUT_WINDOW: Final = timedelta(minutes=2)
N_MESSAGES_READ: Final = 200
N_MESSAGES_SHOWN: Final = 3
_MONEY: Final = DecimalField(max_digits=16, decimal_places=6)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Generations of a run that ended without an image for the same reason.

    Args:
        status: `failed`, or `cancelled` for those that the run's ceiling stopped.
        messages: The commonest words of the provider; for those alone who may see them.
    """

    code: str
    label: str
    sentence: str
    count: int
    messages: Sequence[str] = ()
    status: str = Status.FAILED


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Where a run stands at one time; generations that a retry replaced are left out of the counts.

    Args:
        counts: Number of generations by status.
        per_minute: How many finished per minute lately; None before the first and after the last.
        ends_at: When it will be done at that rate; None when nothing says so.
        cost_usd: What it has cost so far, replaced generations included.
        expected_usd: What all of its generations cost by the models' prices.
        reserved_usd: What quotas hold back for it, the money at risk included.
        at_risk_usd: What may have been paid for calls whose outcome nobody knows.
    """

    counts: Mapping[str, int]
    per_minute: float | None
    ends_at: datetime | None
    cost_usd: Decimal
    expected_usd: Decimal
    reserved_usd: Decimal
    at_risk_usd: Decimal
    failures: Sequence[FailureGroup]

    @property
    def n_total(self) -> int:
        """Number of generations."""
        return sum(self.counts.values())

    @property
    def n_finished(self) -> int:
        """Number of generations in a final status."""
        return sum(self.counts[status] for status in FINAL_STATUSES)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is queued or in process."""
        return self.n_finished == self.n_total

    @property
    def state(self) -> str:
        """`queued`, `processing`, `completed`, `failed` or `cancelled`, from the counts alone."""
        return get_run_state(self.counts)


def get_run_state(counts: Mapping[str, int]) -> str:
    """Return the state that the counts of a run's generations amount to.

    `processing` while something is left and something has begun; of a finished run `cancelled` if any
    generation was, else `failed` if none is completed, else `completed`.
    """
    n_open = counts[Status.QUEUED] + counts[Status.PROCESSING]
    if n_open:
        return Status.QUEUED if counts[Status.QUEUED] == sum(counts.values()) else Status.PROCESSING
    if counts[Status.CANCELLED]:
        return Status.CANCELLED
    return Status.FAILED if counts[Status.FAILED] and not counts[Status.COMPLETED] else Status.COMPLETED


def get_run_progress(*, run_id: uuid.UUID, now: datetime) -> RunProgress:
    """Return where a run stands; one query, and two more if anything failed or was cancelled."""
    current = Q(is_superseded=False)
    recent = now - THROUGHPUT_WINDOW
    expected = Case(
        When(image_model__is_free=True, then=Value(Decimal(0))),
        default=Coalesce(F("image_model__price_usd"), Value(Decimal(0))) * F("n_outputs"),
        output_field=_MONEY,
    )
    facts: dict[str, Any] = Generation.objects.filter(run=run_id).aggregate(
        **{status: Count("pk", filter=current & Q(status=status)) for status in Status.values},
        cost=Sum("cost_usd"),
        expected=Sum(expected, filter=current, output_field=_MONEY),
        reserved=Sum("reserved_usd"),
        at_risk=Sum("reserved_usd", filter=Q(status=Status.FAILED, error_code=ErrorCode.OUTCOME_UNKNOWN)),
        n_recent=Count("pk", filter=Q(finished_at__gt=recent) & ~Q(status=Status.CANCELLED)),
        first_started_at=Min("started_at"),
        last_finished_at=Max("finished_at"),
    )
    counts = {status: facts[status] for status in Status.values}
    n_open = counts[Status.QUEUED] + counts[Status.PROCESSING]
    per_minute = _get_rate(facts, now=now) if n_open else None
    return RunProgress(
        counts=counts,
        per_minute=per_minute,
        ends_at=now + timedelta(minutes=n_open / per_minute) if per_minute else None,
        cost_usd=facts["cost"] or Decimal(0),
        expected_usd=facts["expected"] or Decimal(0),
        reserved_usd=facts["reserved"] or Decimal(0),
        at_risk_usd=facts["at_risk"] or Decimal(0),
        failures=list_failures(run_id=run_id) if counts[Status.FAILED] or counts[Status.CANCELLED] else [],
    )


def list_held_back(*, run_id: uuid.UUID) -> list[tuple[str, datetime]]:
    """Return the models whose provider is down while work of the run waits for it; one query.

    Returns:
        The model's name, and when its provider is tried again.
    """
    queued = Generation.objects.filter(run=run_id, status=Status.QUEUED, image_model=OuterRef("pk"))
    health = ProviderHealth.objects.filter(provider=OuterRef("provider"), base_url=OuterRef("base_url"))
    tried_at = health.exclude(state=BreakerState.CLOSED).values("blocked_until")[:1]
    models = ImageModel.objects.annotate(tried_at=Subquery(tried_at)).filter(tried_at__isnull=False)
    return list(models.filter(Exists(queued)).order_by("name", "id").values_list("name", "tried_at"))


def _get_rate(facts: Mapping[str, Any], *, now: datetime) -> float | None:
    started_at = facts["first_started_at"]
    if started_at is None or not facts["n_recent"]:
        return None
    window = min(THROUGHPUT_WINDOW, max(now - started_at, timedelta(seconds=1)))
    return float(facts["n_recent"] / (window.total_seconds() / 60))


def list_failures(*, run_id: uuid.UUID) -> list[FailureGroup]:
    """Return what failed or met the run's ceiling by code, the most frequent first; two queries."""
    ended = Generation.objects.filter(run=run_id).ended_early()
    facts = ended.values_list("status", "error_code", "run__ceiling_usd").annotate(count=Count("pk"))
    messages: dict[str, list[str]] = {}
    said = ended.exclude(provider_message="").values_list("error_code", "provider_message")
    for code, message, _ in said.annotate(count=Count("pk")).order_by("-count")[:N_MESSAGES_READ]:
        if len(messages.setdefault(code, [])) < N_MESSAGES_SHOWN:
            messages[code].append(message)
    return [
        FailureGroup(
            code=code,
            label=get_error_label(code),
            sentence=(
                _say_what_stopped(ceiling) if code == ErrorCode.CEILING_REACHED else get_error_sentence(code)
            ),
            count=count,
            messages=messages.get(code, ()),
            status=status,
        )
        for status, code, ceiling, count in facts.order_by("-count", "error_code")
    ]


def _say_what_stopped(ceiling: Decimal | None) -> str:
    amount = "" if ceiling is None else f" of ${ceiling:,.2f}"
    return (
        f"The run reached its ceiling{amount} before these were begun: they were not sent and cost nothing."
        " To have them made, raise the ceiling, or launch another run with a higher ceiling."
    )


@dataclass(frozen=True, slots=True)
class UnknownOutcomes:
    """The calls of a run of which nobody knows whether they were carried out, and nobody has decided.

    Args:
        at_risk_usd: What they may have cost.
    """

    count: int
    at_risk_usd: Decimal
    sentence: str = ERROR_FACTS[ProviderErrorCode.OUTCOME_UNKNOWN].sentence


def list_unknown_outcomes(run: Run) -> UnknownOutcomes:
    """Return the run's calls of unknown outcome as one group; one query."""
    facts = (
        Generation.objects.filter(run=run).undecided().aggregate(n=Count("pk"), at_risk=Sum("reserved_usd"))
    )
    return UnknownOutcomes(count=facts["n"], at_risk_usd=facts["at_risk"] or Decimal(0))


def get_error_label(code: str) -> str:
    """Return the short name of an error code."""
    return str(ErrorCode(code).label) if code in ErrorCode.values else code


def get_error_sentence(code: str) -> str:
    """Return the sentence that says what an error code means; empty for none."""
    if code in ProviderErrorCode._value2member_map_:
        return ERROR_FACTS[ProviderErrorCode(code)].sentence
    return OWN_SENTENCES.get(ErrorCode(code), "") if code in ErrorCode.values else ""


def is_retryable(generation: Generation) -> bool:
    """Return whether a retry of the generation would be accepted for what the row itself says."""
    return (
        generation.status in {Status.FAILED, Status.CANCELLED}
        and not generation.is_superseded
        and generation.source == Source.ENGINE
    )


def list_variable_names(items: Iterable[DatasetItem]) -> list[str]:
    """Return the names of variables of items, in the order of their first use."""
    return list(dict.fromkeys(name for item in items for name in item.variables))


def get_visible_image(*, actor: User, image_id: uuid.UUID) -> StoredImage | None:
    """Return the output, input or dataset image of that id, or None if the actor may see no such image."""
    output = OutputImage.objects.visible_to(actor).filter(pk=image_id).first()
    if output is not None:
        return output
    given = InputImage.objects.visible_to(actor).filter(pk=image_id).first()
    if given is not None:
        return given
    items = DatasetItem.objects.visible_to(actor)
    return DatasetItemImage.objects.filter(pk=image_id, item__in=items).first()


def attach_counts(runs: Sequence[Run]) -> None:
    """Give each run its `counts`, the number of its generations by status; one query for all."""
    found = {run.pk: dict.fromkeys(Status.values, 0) for run in runs}
    rows = (
        Generation.objects.current()
        .filter(run__in=found)
        .values_list("run", "status")
        .annotate(count=Count("*"))
        .order_by()
    )
    for run_id, status, count in rows:
        found[run_id][status] = count
    for run in runs:
        run.counts = found[run.pk]  # type: ignore[attr-defined]


def with_overview(datasets: DatasetQuerySet) -> DatasetQuerySet:
    """Return the datasets with `newest_version_id`, `newest_number` and `n_items` of that version."""
    newest = DatasetVersion.objects.filter(dataset=OuterRef("pk")).order_by("-number")
    items = (
        DatasetItem.objects.filter(dataset_version=OuterRef("newest_version_id"))
        .order_by()
        .values("dataset_version")
        .annotate(n=Count("pk"))
        .values("n")
    )
    return datasets.annotate(
        newest_version_id=Subquery(newest.values("pk")[:1]),
        newest_number=Subquery(newest.values("number")[:1]),
    ).annotate(n_items=Coalesce(Subquery(items), 0))


def with_images(generations: GenerationQuerySet) -> GenerationQuerySet:
    """Return the generations with version, prompt, model, inputs and outputs, in three queries."""
    return generations.select_related("prompt_version__prompt", "image_model").prefetch_related(
        Prefetch("inputs", InputImage.objects.order_by("position")),
        Prefetch("outputs", OutputImage.objects.order_by("position")),
    )
