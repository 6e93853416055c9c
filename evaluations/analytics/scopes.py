"""Which ratings an analysis looks at, and how many of each level they are."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, tzinfo
from enum import StrEnum
from typing import Any, Final, cast

from django.db.models import F, IntegerField, OuterRef, Q, QuerySet, Subquery, Sum, Value
from django.db.models.expressions import Combinable
from django.db.models.functions import TruncDate

from evaluations.models import Rating, RatingTally, Scale, ScaleLevel
from generations.models import Generation
from mayagen.common.errors import DomainError

DEFAULT_CRITERION: Final = "overall"


class Blind(StrEnum):
    """Which ratings count by what their raters could see; `auto` is blind ones wherever there are any."""

    AUTO = "auto"
    ALL = "all"
    BLIND = "blind"
    OPEN = "open"


class CriterionUnknownError(DomainError):
    """No criterion has that slug."""

    code = "criterion_unknown"
    status = 400
    sentence = "There is no such criterion."


@dataclass(frozen=True, slots=True)
class ScaleFacts:
    """A criterion with the newest of its scales: ratings on older scales can't be averaged with it."""

    criterion_id: uuid.UUID
    criterion_slug: str
    criterion_name: str
    scale_id: uuid.UUID
    levels: Mapping[int, str]

    @property
    def lowest(self) -> int:
        """The worst level."""
        return min(self.levels)

    @property
    def highest(self) -> int:
        """The best level."""
        return max(self.levels)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which generations and ratings are looked at.

    Args:
        run_id: Ratings of what this run made.
        dataset_id: Ratings of what any version of this dataset was used for.
        created_after: Generations made at this time or later.
        created_before: Generations made earlier than this.
        rated_after: Ratings given at this time or later.
        rated_before: Ratings given earlier than this.
    """

    prompt_id: uuid.UUID | None = None
    version_ids: tuple[uuid.UUID, ...] = ()
    run_id: uuid.UUID | None = None
    dataset_id: uuid.UUID | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    rated_after: datetime | None = None
    rated_before: datetime | None = None
    blind: Blind = Blind.AUTO

    @property
    def is_in_tallies(self) -> bool:
        """Whether the tallies, which know versions and UTC days only, can answer for these ratings."""
        narrower = (self.run_id, self.dataset_id, self.created_after, self.created_before)
        return not any(narrower) and all(
            moment is None or moment.astimezone(UTC).time() == time.min
            for moment in (self.rated_after, self.rated_before)
        )


@dataclass(slots=True)
class LevelCounts:
    """Ratings by level, blind and open ones apart; those on the criterion's older scales are only counted."""

    blind: Counter[int] = field(default_factory=Counter)
    open: Counter[int] = field(default_factory=Counter)
    n_other_scales: int = 0

    def count(self, scale: ScaleFacts, *row: Any) -> None:
        """Count a row of the database: whether blind, scale, level and number."""
        is_blind, scale_id, level, n = row
        if scale_id != scale.scale_id:
            self.n_other_scales += n
        else:
            (self.blind if is_blind else self.open)[level] += n

    def add(self, other: LevelCounts) -> None:
        """Add another's counts to these."""
        self.blind.update(other.blind)
        self.open.update(other.open)
        self.n_other_scales += other.n_other_scales

    def choose(self, which: Blind) -> Counter[int]:
        """Return the counts of the blind, the open, or all ratings."""
        if which == Blind.ALL:
            return self.blind + self.open
        return self.blind if which == Blind.BLIND else self.open


def get_scale(criterion_slug: str = DEFAULT_CRITERION) -> ScaleFacts:
    """Return a criterion with the levels of its newest scale; one query.

    Raises:
        CriterionUnknownError: There is no such criterion.
    """
    newest = Scale.objects.filter(criterion=OuterRef("scale__criterion")).order_by("-number").values("pk")[:1]
    levels = list(
        ScaleLevel.objects.select_related("scale__criterion")
        .filter(scale__criterion__slug=criterion_slug, scale=Subquery(newest))
        .order_by("level")
    )
    if not levels:
        raise CriterionUnknownError(fields={"criterion": [CriterionUnknownError.sentence]})
    scale = levels[0].scale
    return ScaleFacts(
        criterion_id=scale.criterion_id,
        criterion_slug=scale.criterion.slug,
        criterion_name=scale.criterion.name,
        scale_id=scale.pk,
        levels={each.level: each.name for each in levels},
    )


def resolve_blind(wanted: Blind, counts: Iterable[LevelCounts]) -> Blind:
    """Return which ratings are used: what was asked for, or blind ones if there are any, else open ones."""
    if wanted != Blind.AUTO:
        return wanted
    return Blind.BLIND if any(each.blind.total() for each in counts) else Blind.OPEN


def count_by_version(
    scope: Scope, scale: ScaleFacts, version_ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, LevelCounts]:
    """Return the counts of these versions; one grouped query, of tallies where they can answer.

    A run, a dataset, the time of making, or moments within a day are known of single ratings only: then the
    rating rows themselves are counted, and the cost grows with the number of these versions' ratings.
    """
    ids = list(version_ids)
    found = {pk: LevelCounts() for pk in ids}
    rows = _count(scope, scale, Q(prompt_version__in=ids), by=("prompt_version",), zone=UTC)
    for version_id, *row in rows:
        found[version_id].count(scale, *row)
    return found


def count_by_day(scope: Scope, scale: ScaleFacts, *, zone: tzinfo = UTC) -> dict[date, LevelCounts]:
    """Return the counts of each day of a time zone, all versions together; one grouped query.

    Tallies are of UTC days. In any other zone, and where the scope asks for it, the rating rows are counted.
    """
    found: dict[date, LevelCounts] = {}
    for day, *row in _count(scope, scale, Q(), by=("day",), zone=zone):
        found.setdefault(day, LevelCounts()).count(scale, *row)
    return found


def count_by_version_and_day(
    scope: Scope, scale: ScaleFacts, *, zone: tzinfo = UTC
) -> dict[uuid.UUID, dict[date, LevelCounts]]:
    """Return the counts of each version on each day; one grouped query, of what `count_by_day` reads."""
    found: dict[uuid.UUID, dict[date, LevelCounts]] = {}
    for version_id, day, *row in _count(scope, scale, Q(), by=("prompt_version", "day"), zone=zone):
        found.setdefault(version_id, {}).setdefault(day, LevelCounts()).count(scale, *row)
    return found


def filter_generations(scope: Scope) -> QuerySet[Generation]:
    """Return the generations of a scope; those that a retry replaced are left out."""
    return Generation.objects.filter(of_generations(scope))


def of_generations(scope: Scope, path: str = "") -> Q:
    """Return the same as a condition on rows that have a path to generations, such as `generation__`."""
    return Q(**{f"{path}is_superseded": False}) & _make_conditions(scope, path)


def filter_ratings(
    scope: Scope, scale: ScaleFacts, *, needs_rows: bool = False
) -> tuple[QuerySet[Any], Combinable]:
    """Return the tallies or, where they can't answer, the rating rows of a scope, and what each row counts.

    Args:
        needs_rows: Take the rating rows in any case.
    """
    of_version = {"prompt_version__prompt": scope.prompt_id, "prompt_version__in": scope.version_ids or None}
    condition = Q(criterion=scale.criterion_id) & _where(of_version)
    if scope.is_in_tallies and not needs_rows:
        days = {"rated_on__gte": _day(scope.rated_after), "rated_on__lt": _day(scope.rated_before)}
        return RatingTally.objects.filter(condition & _where(days), n_ratings__gt=0), F("n_ratings")
    moments = {"created_at__gte": scope.rated_after, "created_at__lt": scope.rated_before}
    of_generation = replace(scope, prompt_id=None, version_ids=())
    condition &= _where(moments) & _make_conditions(of_generation, "output_image__generation__")
    return Rating.objects.counted().filter(condition, output_image__isnull=False), Value(1)


def _count(
    scope: Scope, scale: ScaleFacts, condition: Q, *, by: tuple[str, ...], zone: tzinfo
) -> QuerySet[Any, Any]:
    has_days = "day" in by
    rows, weight = filter_ratings(scope, scale, needs_rows=has_days and zone is not UTC)
    if has_days:
        is_tally = rows.model is RatingTally
        rows = rows.annotate(day=F("rated_on") if is_tally else TruncDate("created_at", tzinfo=zone))
    n = Sum(weight, output_field=IntegerField())
    counted = rows.filter(condition).values_list(*by, "is_blind", "scale", "level").annotate(n=n)
    return cast("QuerySet[Any, Any]", counted.order_by())


def _day(moment: datetime | None) -> date | None:
    return moment and moment.astimezone(UTC).date()


def _where(wanted: Mapping[str, Any]) -> Q:
    return Q(**{name: value for name, value in wanted.items() if value is not None})


def _make_conditions(scope: Scope, prefix: str) -> Q:
    """Return the condition on generations, seen from a model whose path to them is the prefix."""
    wanted = {
        "prompt_version__prompt": scope.prompt_id,
        "prompt_version__in": scope.version_ids or None,
        "run": scope.run_id,
        "run__dataset_version__dataset": scope.dataset_id,
        "created_at__gte": scope.created_after,
        "created_at__lt": scope.created_before,
    }
    return _where({prefix + name: value for name, value in wanted.items()})
