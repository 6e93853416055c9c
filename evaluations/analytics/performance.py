"""How each version of a prompt is rated, what it was made of, and how it stands against another."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from django.db.models import (
    Count,
    Exists,
    F,
    FloatField,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Sum,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Coalesce

from accounts.models import User
from evaluations.analytics.scopes import (
    DEFAULT_CRITERION,
    Blind,
    LevelCounts,
    ScaleFacts,
    Scope,
    count_by_version,
    filter_generations,
    filter_ratings,
    of_generations,
    resolve_blind,
)
from evaluations.analytics.summaries import Comparison, RatingSummary, compare, summarise
from evaluations.models import Rating
from generations.choices import Status
from generations.models import OutputImage
from prompts.models import Label, PromptVersion
from prompts.querysets import PromptVersionQuerySet

PRODUCTION: Final = "production"
CANDIDATE: Final = "candidate"


@dataclass(frozen=True, slots=True)
class Made:
    """Generations and outputs of one version.

    Args:
        n_generations: Those that a retry replaced are left out.
        n_rated: Outputs with a rating that counts, blind or open.
    """

    n_generations: int = 0
    n_completed: int = 0
    n_outputs: int = 0
    n_rated: int = 0

    @property
    def n_unrated(self) -> int:
        """Number of outputs without such a rating."""
        return self.n_outputs - self.n_rated


@dataclass(frozen=True, slots=True)
class VersionPerformance:
    """One version's generations, outputs and ratings.

    Args:
        against_production: Against the version labelled `production`; None for that one itself, and for
            prompts where no version has the label.
    """

    version: PromptVersion
    labels: tuple[str, ...]
    made: Made
    ratings: RatingSummary
    against_production: Comparison | None

    @property
    def name(self) -> str:
        """The version's number as people write it."""
        return f"v{self.version.number}"


class _Sibling(NamedTuple):
    """One of the versions of a prompt that is looked at."""

    pk: uuid.UUID
    prompt_id: uuid.UUID
    number: int
    is_production: bool


def list_versions(*, actor: User, scope: Scope) -> PromptVersionQuerySet:
    """Return the versions of a scope that the actor may see, with prompt and labels; deleted ones too."""
    found = PromptVersion.objects.visible_to(actor).select_related("prompt")
    if scope.prompt_id:
        found = found.filter(prompt=scope.prompt_id)
    if scope.version_ids:
        found = found.filter(pk__in=scope.version_ids)
    if scope.run_id or scope.dataset_id:
        found = found.filter(Exists(filter_generations(scope).filter(prompt_version=OuterRef("pk"))))
    return found.prefetch_related(Prefetch("labels", Label.objects.order_by("name")))


def with_mean_level(versions: PromptVersionQuerySet, scope: Scope, scale: ScaleFacts) -> Any:
    """Return the versions with `mean_level`, the mean that `list_performance` shows, to order them by."""
    versions, rows, weight = _chosen_ratings(versions, scope, scale)
    total = Sum(F("level") * weight, output_field=IntegerField())
    n = Sum(weight, output_field=IntegerField())
    mean = rows.annotate(mean=Cast(total, FloatField()) / Cast(n, FloatField())).values("mean")
    return versions.annotate(mean_level=Subquery(mean, output_field=FloatField()))


def with_n_ratings(versions: PromptVersionQuerySet, scope: Scope, scale: ScaleFacts) -> Any:
    """Return the versions with `n_ratings`, how many `list_performance` uses, to order them by."""
    versions, rows, weight = _chosen_ratings(versions, scope, scale)
    n = rows.annotate(n=Sum(weight, output_field=IntegerField())).values("n")
    return versions.annotate(n_ratings=Coalesce(Subquery(n, output_field=IntegerField()), 0))


def list_performance(
    versions: Sequence[PromptVersion], *, scope: Scope, scale: ScaleFacts
) -> list[VersionPerformance]:
    """Return the figures of versions that came from `list_versions`; four queries, however many they are.

    The versions of one prompt are all judged by the same ratings: blind ones if any of them has some.
    """
    siblings = _list_siblings(Q(prompt__in={version.prompt_id for version in versions}))
    counts = count_by_version(replace(scope, version_ids=()), scale, [each.pk for each in siblings])
    blind = _resolve_for_prompts(scope.blind, siblings, counts)
    productions = {each.prompt_id: each for each in siblings if each.is_production}
    made = _count_made([version.pk for version in versions], scope=scope, scale=scale)
    return [
        VersionPerformance(
            version=version,
            labels=tuple(label.name for label in version.labels.all()),
            made=made.get(version.pk, Made()),
            ratings=summarise(counts[version.pk], scale, blind[version.prompt_id]),
            against_production=_compare_with(
                productions.get(version.prompt_id), version, counts, scale, blind[version.prompt_id]
            ),
        )
        for version in versions
    ]


def summarise_versions(
    version_ids: Collection[uuid.UUID], *, scale: ScaleFacts
) -> dict[uuid.UUID, RatingSummary]:
    """Return the ratings of versions as `list_performance` has them; two queries."""
    prompts = PromptVersion.objects.filter(pk__in=version_ids).values("prompt")
    siblings = _list_siblings(Q(prompt__in=prompts))
    counts = count_by_version(Scope(), scale, [each.pk for each in siblings])
    blind = _resolve_for_prompts(Blind.AUTO, siblings, counts)
    wanted = set(version_ids)
    return {
        each.pk: summarise(counts[each.pk], scale, blind[each.prompt_id])
        for each in siblings
        if each.pk in wanted
    }


def compare_versions(
    before: VersionPerformance, after: VersionPerformance, scale: ScaleFacts
) -> Comparison:  # fmt: skip
    """Return how much higher the second version is rated than the first."""
    return compare(
        before_name=before.name,
        before=before.ratings.level_counts,
        after_name=after.name,
        after=after.ratings.level_counts,
        scale=scale,
    )


def choose_comparisons(
    rows: Sequence[VersionPerformance],
) -> list[tuple[VersionPerformance, VersionPerformance]]:
    """Return which versions of one prompt to set side by side, as before and after.

    The production version stands before the candidate and the newest one. Without a production version, or
    where it is the newest itself, the newest version but one stands before the newest.
    """
    by_number = sorted(
        (row for row in rows if not row.version.is_deleted), key=lambda row: row.version.number
    )
    if len(by_number) < 2:  # noqa: PLR2004 - a comparison takes two
        return []
    newest = by_number[-1]
    production = next((row for row in by_number if PRODUCTION in row.labels), None)
    candidates = [row for row in by_number if CANDIDATE in row.labels]
    if production is None:
        return [(by_number[-2], newest)]
    after = list(dict.fromkeys(row.version.pk for row in [*candidates, newest] if row is not production))
    if not after:
        return [(by_number[-2], newest)]
    return [(production, row) for pk in after for row in by_number if row.version.pk == pk]


def _chosen_ratings(versions: Any, scope: Scope, scale: ScaleFacts) -> tuple[Any, Any, Combinable]:
    """Return the versions, each one's ratings as rows to aggregate, and what each of these rows counts.

    Blind ratings are chosen where any of the prompt's versions has some, unless the scope says otherwise.
    """
    rows, weight = filter_ratings(replace(scope, prompt_id=None, version_ids=()), scale)
    rows = rows.filter(scale=scale.scale_id)
    if scope.blind == Blind.AUTO:
        blind_rows = rows.filter(prompt_version__prompt=OuterRef("prompt"), is_blind=True)
        versions = versions.annotate(uses_blind=Exists(blind_rows))
        rows = rows.filter(is_blind=OuterRef("uses_blind"))
    elif scope.blind != Blind.ALL:
        rows = rows.filter(is_blind=scope.blind == Blind.BLIND)
    of_version = rows.filter(prompt_version=OuterRef("pk")).order_by().values("prompt_version")
    return versions, of_version, weight


def _resolve_for_prompts(
    wanted: Blind, siblings: Sequence[_Sibling], counts: Mapping[uuid.UUID, LevelCounts]
) -> dict[uuid.UUID, Blind]:
    """Return which ratings are used for the versions of each prompt."""
    of_prompt: dict[uuid.UUID, list[LevelCounts]] = {}
    for each in siblings:
        of_prompt.setdefault(each.prompt_id, []).append(counts[each.pk])
    return {prompt_id: resolve_blind(wanted, group) for prompt_id, group in of_prompt.items()}


def _list_siblings(condition: Q) -> list[_Sibling]:
    is_production = Exists(Label.objects.filter(version=OuterRef("pk"), name=PRODUCTION))
    rows = PromptVersion.objects.filter(condition).annotate(is_production=is_production)
    return [_Sibling(*row) for row in rows.values_list("pk", "prompt", "number", "is_production")]


def _compare_with(
    production: _Sibling | None,
    version: PromptVersion,
    counts: Mapping[uuid.UUID, LevelCounts],
    scale: ScaleFacts,
    blind: Blind,
) -> Comparison | None:
    if production is None or production.pk == version.pk:
        return None
    return compare(
        before_name=f"v{production.number}",
        before=counts[production.pk].choose(blind),
        after_name=f"v{version.number}",
        after=counts[version.pk].choose(blind),
        scale=scale,
    )


def _count_made(
    version_ids: Collection[uuid.UUID], *, scope: Scope, scale: ScaleFacts
) -> dict[uuid.UUID, Made]:  # fmt: skip
    # Counts name columns that the indexes hold, so that no row is read.
    wanted = replace(scope, version_ids=tuple(version_ids))
    generations = filter_generations(wanted)
    n_generations: dict[uuid.UUID, tuple[int, int]] = {
        pk: (n, n_completed)
        for pk, n, n_completed in generations.values_list("prompt_version")
        .annotate(n=Count("*"), n_completed=Count("status", filter=Q(status=Status.COMPLETED)))
        .order_by()
    }
    is_rated = Q(rating__isnull=False)
    if scale.criterion_slug != DEFAULT_CRITERION:
        counted = Rating.objects.counted().filter(criterion=scale.criterion_id)
        is_rated = Q(Exists(counted.filter(output_image=OuterRef("pk"))))
    outputs: Any = OutputImage.objects.filter(of_generations(wanted, "generation__"))
    n_outputs = {
        pk: (n, n_rated)
        for pk, n, n_rated in outputs.values_list("generation__prompt_version")
        .annotate(n=Count("*"), n_rated=Count("generation", filter=is_rated))
        .order_by()
    }
    return {
        pk: Made(*n_generations.get(pk, (0, 0)), *n_outputs.get(pk, (0, 0)))
        for pk in n_generations.keys() | n_outputs.keys()
    }
