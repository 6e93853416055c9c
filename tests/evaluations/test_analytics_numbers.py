"""What analytics say equals a count by hand."""

from __future__ import annotations

import statistics
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from scipy import stats

from accounts.models import User
from evaluations.analytics.history import (
    Period,
    TimeZoneUnknownError,
    get_rating_history,
    get_time_zone,
    get_version_histories,
)
from evaluations.analytics.performance import (
    VersionPerformance,
    choose_comparisons,
    compare_versions,
    list_performance,
    list_versions,
)
from evaluations.analytics.scopes import Blind, CriterionUnknownError, Scope, get_scale
from evaluations.models import Rating, Scale, ScaleLevel
from evaluations.services.criteria import STANDARD_LEVELS
from generations.models import Run
from tests.evaluations.analytics_cases import FIRST_DAY, make_versions, rate, rate_at_random, recount, tally
from tests.evaluations.factories import get_overall
from tests.generations.factories import DatasetVersionFactory, GenerationFactory, RunFactory
from tests.prompts.factories import LabelFactory

pytestmark = pytest.mark.django_db

MIDDLE = FIRST_DAY + timedelta(days=8)


def analyse(actor: User, scope: Scope) -> dict[uuid.UUID, VersionPerformance]:
    versions = list(list_versions(actor=actor, scope=scope).order_by("number"))
    rows = list_performance(versions, scope=scope, scale=get_scale())
    return {row.version.pk: row for row in rows}


def levels_of(row: VersionPerformance) -> Counter[int]:
    return +Counter(row.ratings.level_counts)


@pytest.mark.parametrize(
    ("make_scope", "where"),
    [
        (lambda run: Scope(), ""),
        (lambda run: Scope(run_id=run.pk), "AND g.run_id = %s"),
        (lambda run: Scope(dataset_id=run.dataset_version.dataset_id), "AND u.dataset_version_id = %s"),
        (lambda run: Scope(rated_after=MIDDLE), "AND r.created_at >= %s"),
        (lambda run: Scope(rated_before=MIDDLE), "AND r.created_at < %s"),
        (lambda run: Scope(created_after=FIRST_DAY), "AND g.created_at >= %s"),
    ],
)
@pytest.mark.parametrize("blind", [Blind.BLIND, Blind.OPEN, Blind.AUTO])
def test_levels_of_each_version_equal_a_count_in_sql(
    admin: User, make_scope: Callable[[Run], Scope], where: str, blind: Blind
) -> None:
    versions = make_versions(3)
    run = RunFactory(dataset_version=DatasetVersionFactory())
    rate(versions[0], [5, 5, 1], run=run, rater=admin)
    rate(versions[1], [2], run=run, rater=admin, is_blind=False)
    rate_at_random(versions, admin)
    scope = make_scope(run)
    by_text = {
        "g.run_id": run.pk,
        "u.dataset_version_id": run.dataset_version_id,
        "r.created_at": MIDDLE,
        "g.created_at": FIRST_DAY,
    }
    parameters = tuple(value for text, value in by_text.items() if text in where)

    found = analyse(admin, replace(scope, blind=blind))

    expected = recount(blind=blind != Blind.OPEN, where=where, parameters=parameters)
    assert sum(n.total() for n in expected.values()) > 0
    assert {pk: levels_of(row) for pk, row in found.items() if row.ratings.n_ratings} == expected
    assert {row.ratings.blind for row in found.values()} == {
        Blind.OPEN if blind == Blind.OPEN else Blind.BLIND
    }


def test_tallies_and_rating_rows_give_the_same_counts(admin: User) -> None:
    versions = make_versions(2)
    rate_at_random(versions, admin)
    midnight = datetime(2026, 3, 9, tzinfo=UTC)

    from_tallies = analyse(admin, Scope(rated_after=midnight))
    from_rows = analyse(admin, Scope(rated_after=midnight, created_after=datetime(2000, 1, 1, tzinfo=UTC)))

    assert Scope(rated_after=midnight).is_in_tallies
    assert not Scope(rated_after=midnight + timedelta(hours=1)).is_in_tallies
    assert {pk: levels_of(row) for pk, row in from_tallies.items()} == {
        pk: levels_of(row) for pk, row in from_rows.items()
    }


def test_generations_and_outputs_are_counted_for_each_version(admin: User) -> None:
    first, second = make_versions(2)
    rate(first, [4, 2], rater=admin)
    GenerationFactory(prompt_version=first)
    GenerationFactory(prompt_version=first, failed=True)
    GenerationFactory(prompt_version=first, failed=True, is_superseded=True)
    GenerationFactory(prompt_version=first, completed=True)

    found = analyse(admin, Scope(prompt_id=first.prompt_id))

    made = found[first.pk].made
    assert (made.n_generations, made.n_completed, made.n_outputs) == (5, 3, 3)
    assert (made.n_rated, made.n_unrated) == (2, 1)
    assert found[second.pk].made.n_generations == 0
    assert found[second.pk].ratings.mean.mean is None


def test_other_criteria_count_their_own_rated_outputs(admin: User) -> None:
    (version,) = make_versions(1)
    rate(version, [4, 2], rater=admin)
    criterion = type(get_overall()).objects.create(slug="colours", name="Colours")
    scale = Scale.objects.create(criterion=criterion, number=1)
    for level in STANDARD_LEVELS:
        ScaleLevel.objects.create(scale=scale, level=level, name=f"LEVEL {level}")
    rate(version, [5], rater=admin, criterion=criterion)

    versions = list(list_versions(actor=admin, scope=Scope()))
    (row,) = list_performance(versions, scope=Scope(), scale=get_scale("colours"))

    assert levels_of(row) == {5: 1}
    assert (row.made.n_rated, row.made.n_unrated) == (1, 2)


def test_open_ratings_are_used_only_where_no_version_of_the_prompt_has_blind_ones(admin: User) -> None:
    first, second = make_versions(2)
    rate(first, [5, 4], rater=admin, is_blind=False)
    rate(second, [2], rater=admin, is_blind=False)

    assert analyse(admin, Scope())[first.pk].ratings.blind == Blind.OPEN
    rate(second, [3], rater=admin)
    found = analyse(admin, Scope())

    assert {row.ratings.blind for row in found.values()} == {Blind.BLIND}
    assert found[first.pk].ratings.n_ratings == 0
    assert found[first.pk].ratings.n_left_out == 2
    assert levels_of(analyse(admin, Scope(blind=Blind.ALL))[second.pk]) == {2: 1, 3: 1}
    # One version alone is judged as it is beside the others.
    alone = analyse(admin, Scope(version_ids=(first.pk,)))
    assert alone[first.pk].ratings == found[first.pk].ratings


def test_ratings_on_an_older_scale_are_left_out_of_the_mean(admin: User) -> None:
    (version,) = make_versions(1)
    rate(version, [1, 1], rater=admin)
    newer = Scale.objects.create(criterion=get_overall(), number=2)
    for level in (1, 2, 3):
        ScaleLevel.objects.create(scale=newer, level=level, name=f"NEW {level}")
    rate(version, [3], rater=admin, scale=newer)

    ratings = analyse(admin, Scope())[version.pk].ratings

    assert [level.name for level in ratings.levels] == ["NEW 1", "NEW 2", "NEW 3"]
    assert (ratings.mean.mean, ratings.n_ratings, ratings.n_left_out) == (3, 1, 2)


def test_mean_and_shares_carry_their_intervals(admin: User) -> None:
    (version,) = make_versions(1)
    levels = [5, 5, 4, 3, 1, 4]
    rate(version, levels, rater=admin)

    ratings = analyse(admin, Scope())[version.pk].ratings

    expected = stats.t.interval(0.95, 5, statistics.mean(levels), stats.sem(levels))
    assert ratings.mean.method == "student_t"
    assert ratings.mean.mean == pytest.approx(statistics.mean(levels))
    assert (ratings.mean.low, ratings.mean.high) == pytest.approx((expected[0], min(5, expected[1])))
    wilson = stats.binomtest(2, 6).proportion_ci(method="wilson")
    assert (ratings.best.share, ratings.best.low, ratings.best.high) == pytest.approx(
        (2 / 6, wilson.low, wilson.high)
    )
    assert ratings.worst.successes == 1
    assert [level.share for level in ratings.levels] == pytest.approx([1 / 6, 0, 1 / 6, 2 / 6, 2 / 6])


@pytest.mark.parametrize("zone_name", ["UTC", "Pacific/Auckland", "America/New_York"])
@pytest.mark.parametrize("period", list(Period))
def test_points_over_time_are_the_days_of_the_time_zone(admin: User, zone_name: str, period: Period) -> None:
    versions = make_versions(2)
    rate_at_random(versions, admin)
    zone = ZoneInfo(zone_name)
    expected: dict[date, Counter[int]] = {}
    for rating in Rating.objects.counted().filter(is_blind=True):
        day = rating.created_at.astimezone(zone).date()
        start = {
            Period.DAY: day,
            Period.WEEK: day - timedelta(days=day.weekday()),
            Period.MONTH: day.replace(day=1),
        }[period]
        expected.setdefault(start, Counter())[rating.level] += 1

    history = get_rating_history(
        scope=Scope(), scale=get_scale(), period=period, zone=get_time_zone(zone_name)
    )

    assert {point.start: +Counter(point.ratings.level_counts) for point in history.points} == expected
    assert [point.start for point in history.points] == sorted(expected)
    assert history.total.n_ratings == sum(counts.total() for counts in expected.values())
    by_version = get_version_histories(
        scope=Scope(), scale=get_scale(), period=period, zone=get_time_zone(zone_name)
    )
    assert by_version.keys() == {version.pk for version in versions}
    points = [point for each in by_version.values() for point in each]
    assert sum(point.ratings.n_ratings for point in points) == history.total.n_ratings


@pytest.mark.parametrize(
    "name", ["", "Europe", "localtime", "../../etc/passwd", "Mars/Base", "utc\x00", "x" * 300]
)
def test_time_zones_that_do_not_exist_are_refused(name: str) -> None:
    with pytest.raises(TimeZoneUnknownError):
        get_time_zone(name)


def test_a_criterion_that_does_not_exist_is_refused() -> None:
    with pytest.raises(CriterionUnknownError):
        get_scale("beauty")


def test_candidate_and_newest_are_compared_with_production(admin: User) -> None:
    versions = make_versions(4)
    LabelFactory(prompt=versions[0].prompt, version=versions[0], name="production")
    LabelFactory(prompt=versions[0].prompt, version=versions[2], name="candidate")
    for version, levels in zip(versions, ([3] * 6 + [2] * 6, [3], [4] * 6 + [5] * 6, [3, 3]), strict=True):
        rate(version, levels, rater=admin)
    rows = list(analyse(admin, Scope(prompt_id=versions[0].prompt_id)).values())

    pairs = choose_comparisons(rows)

    assert [(before.name, after.name) for before, after in pairs] == [("v1", "v3"), ("v1", "v4")]
    better, unclear = (compare_versions(before, after, get_scale()).sentence for before, after in pairs)
    assert better == "v3 is rated 2.0 higher than v1 (95 % interval 1.6 to 2.4; 12 and 12 ratings)."
    assert unclear == "Too few ratings to tell v4 from v1 (2 and 12 ratings)."
    assert rows[2].against_production is not None
    assert rows[2].against_production.sentence == better
    assert rows[0].against_production is None


def test_without_production_the_newest_two_are_compared(admin: User) -> None:
    versions = make_versions(3)
    rate(versions[0], [3], rater=admin)
    tally()
    rows = list(analyse(admin, Scope(prompt_id=versions[0].prompt_id)).values())

    assert [(before.name, after.name) for before, after in choose_comparisons(rows)] == [("v2", "v3")]
    assert choose_comparisons(rows[:1]) == []
    assert all(row.against_production is None for row in rows)
