"""What the landing page says: work in progress, backlog, failures and the latest ratings."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Exists, IntegerField, Q
from django.db.models.expressions import RawSQL

from accounts.models import User
from accounts.permissions import can
from evaluations.models import Criterion, Rating, RatingTally, ReviewQueue
from evaluations.selectors import get_pseudonym
from generations.choices import Status
from generations.models import Generation, OutputImage, Run
from generations.selectors import attach_counts, get_error_label, get_error_sentence
from prompts.models import PromptVersion

COUNT_CAP: Final = 10_000
N_RUNS: Final = 5
N_RATINGS: Final = 8
N_RATINGS_OF_ONE: Final = 100
N_QUEUES: Final = 6
FAILURE_WINDOW: Final = timedelta(days=1)
_UNFINISHED: Final = (Status.QUEUED, Status.PROCESSING)

_DUE: Final = """(SELECT count(*) FROM (
    SELECT 1 FROM evaluations_queueitem i
    WHERE i.queue_id = evaluations_reviewqueue.id AND i.n_open > 0 LIMIT %s) due)"""


@dataclass(frozen=True, slots=True)
class RunState:
    """Where a run stands; generations that a retry replaced are left out."""

    run: Run
    counts: Mapping[str, int]

    @property
    def n_total(self) -> int:
        """Number of generations."""
        return sum(self.counts.values())

    @property
    def n_completed(self) -> int:
        """Number of completed generations."""
        return self.counts[Status.COMPLETED]

    @property
    def n_ended(self) -> int:
        """Number of generations that failed or were cancelled."""
        return self.counts[Status.FAILED] + self.counts[Status.CANCELLED]


@dataclass(frozen=True, slots=True)
class CappedCount:
    """A number that is counted up to a limit."""

    n: int
    is_capped: bool


@dataclass(frozen=True, slots=True)
class QueueBacklog:
    """How many items of a queue have an open place."""

    id: uuid.UUID
    name: str
    due: CappedCount


@dataclass(frozen=True, slots=True)
class FailureCount:
    """How many generations failed lately for one reason."""

    code: str
    label: str
    sentence: str
    n: int


@dataclass(frozen=True, slots=True)
class NamedRating:
    """A rating with the name under which the reader knows its rater."""

    rating: Rating
    rater_name: str


@dataclass(frozen=True, slots=True)
class FirstSteps:
    """Which steps towards the first comparison have been taken."""

    has_version: bool
    has_output: bool
    has_rating: bool
    has_comparison: bool

    @property
    def are_done(self) -> bool:
        """Whether nothing is left to explain."""
        return self.has_version and self.has_output and self.has_rating and self.has_comparison


def list_running(*, actor: User) -> list[RunState]:
    """Return the newest runs that are not finished; two queries."""
    unfinished = Generation.objects.filter(status__in=_UNFINISHED, run__isnull=False)
    newest = unfinished.order_by("-run").values_list("run", flat=True).distinct()[:N_RUNS]
    runs = list(Run.objects.visible_to(actor).filter(pk__in=list(newest)).order_by("-pk"))
    attach_counts(runs)
    return [RunState(run, run.counts) for run in runs]  # type: ignore[attr-defined]


def count_unrated(*, actor: User) -> CappedCount:
    """Return how many outputs are ready for review and rated by nobody."""
    waiting = OutputImage.objects.visible_to(actor).unrated().prepared()
    n = waiting.order_by().values("pk")[: COUNT_CAP + 1].count()
    return _cap(n)


def list_backlog(*, actor: User) -> list[QueueBacklog]:
    """Return the active queues with most to do, with what is due in each; one query."""
    queues = ReviewQueue.objects.visible_to(actor).alive().filter(is_active=True)
    due = RawSQL(_DUE, [COUNT_CAP + 1], IntegerField())  # noqa: S611 - constant text
    rows = queues.annotate(n_due=due).order_by("-n_due", "name").values_list("pk", "name", "n_due")
    return [QueueBacklog(pk, name, _cap(n)) for pk, name, n in rows[:N_QUEUES]]


def list_recent_ratings(*, actor: User) -> list[NamedRating]:
    """Return the newest standing ratings of outputs; one query."""
    ratings = (
        Rating.objects.visible_to(actor)
        .standing()
        .filter(output_image__isnull=False)
        .select_related("scale_level", "rater", "output_image", "prompt_version__prompt", "criterion")
        .order_by("-pk")[:N_RATINGS]
    )
    return _name_raters(ratings, actor)


def list_ratings_of(generation: Generation, *, actor: User) -> list[NamedRating]:
    """Return the newest standing ratings of a generation's images; one query."""
    of_generation = Q(output_image__generation=generation) | Q(input_image__generation=generation)
    ratings = Rating.objects.visible_to(actor).standing().filter(of_generation)
    related = ("scale_level", "rater", "criterion", "output_image", "input_image")
    return _name_raters(ratings.select_related(*related).order_by("-pk")[:N_RATINGS_OF_ONE], actor)


def list_recent_failures(*, actor: User, now: datetime) -> list[FailureCount]:
    """Return why generations failed within the last day, the most frequent reason first; one query."""
    failed = Generation.objects.visible_to(actor).filter(
        status=Status.FAILED, finished_at__gte=now - FAILURE_WINDOW
    )
    rows = failed.values_list("error_code").annotate(n=Count("pk")).order_by("-n", "error_code")
    return [FailureCount(code, get_error_label(code), get_error_sentence(code), n) for code, n in rows]


def get_first_steps() -> FirstSteps:
    """Return which steps have been taken; one query."""
    rated = RatingTally.objects.filter(n_ratings__gt=0).values("prompt_version").distinct()
    steps: Mapping[str, Any] = {
        "has_version": PromptVersion.objects.alive(),
        "has_output": OutputImage.objects.all(),
        "has_rating": Rating.objects.all(),
        "has_comparison": rated[1:2],
    }
    # The criterion of the consensus is always there; its row carries the answers.
    anchor = Criterion.objects.order_by("pk").annotate(**{name: Exists(rows) for name, rows in steps.items()})
    found = anchor.values(*steps).first()
    return FirstSteps(**(found or dict.fromkeys(steps, False)))


def _name_raters(ratings: Iterable[Rating], actor: User) -> list[NamedRating]:
    """Name the raters to those who may know people; others read pseudonyms."""
    knows_people = can(actor, "accounts.view_user")
    return [
        NamedRating(
            rating,
            (rating.rater.name or rating.rater.email) if knows_people else get_pseudonym(rating.rater_id),
        )
        for rating in ratings
    ]


def _cap(n: int) -> CappedCount:
    return CappedCount(min(n, COUNT_CAP), is_capped=n > COUNT_CAP)
