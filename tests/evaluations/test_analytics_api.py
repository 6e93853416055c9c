"""The API of analytics: shapes, filters, who may read, and how many queries it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from tests.evaluations.analytics_cases import FIRST_DAY, make_versions, rate
from tests.prompts.factories import LabelFactory

pytestmark = pytest.mark.django_db

ApiAs = Callable[[User | None], APIClient]
RATINGS = "/api/v1/analytics/ratings/"
PERFORMANCE = "/api/v1/analytics/prompt-performance/"


@pytest.mark.parametrize("address", [RATINGS, PERFORMANCE])
def test_admins_and_viewers_read_and_evaluators_do_not(
    api_as: ApiAs, admin: User, viewer: User, evaluator: User, address: str
) -> None:
    assert api_as(admin).get(address).status_code == 200
    assert api_as(viewer).get(address).status_code == 200
    assert api_as(evaluator).get(address).status_code == 403
    # A right is missing whatever the parameters are.
    assert api_as(evaluator).get(address, {"nonsense": "1"}).status_code == 403
    assert api_as(None).get(address).status_code == 401
    assert api_as(admin).post(address, {}, format="json").status_code == 405


def test_without_any_rating_the_answers_are_empty(api_as: ApiAs, viewer: User) -> None:
    answer = api_as(viewer).get(RATINGS).json()

    assert (answer["n_ratings"], answer["blind"], answer["over_time"]) == (0, "open", [])
    assert answer["mean"] == {
        "n": 0,
        "mean": None,
        "standard_deviation": None,
        "low": None,
        "high": None,
        "confidence": 0.95,
        "method": "none",
    }
    assert api_as(viewer).get(PERFORMANCE).json() == {"next": None, "previous": None, "results": []}


def test_ratings_are_told_by_level_and_over_time(api_as: ApiAs, viewer: User) -> None:
    (version,) = make_versions(1)
    rate(version, [5, 4, 4], created_at=FIRST_DAY)
    rate(version, [1], is_blind=False, created_at=FIRST_DAY)

    answer = api_as(viewer).get(RATINGS, {"period": "day", "time_zone": "Europe/Berlin"}).json()

    assert (answer["blind"], answer["n_ratings"], answer["n_left_out"]) == ("blind", 3, 1)
    assert [level["n"] for level in answer["levels"]] == [0, 0, 0, 2, 1]
    assert answer["best"]["share"] == pytest.approx(1 / 3)
    assert answer["best"]["method"] == "wilson"
    assert answer["mean"]["method"] == "student_t"
    (point,) = answer["over_time"]
    assert (point["start"], point["n_ratings"]) == ("2026-03-03", 3)
    assert point["mean"] == answer["mean"]


def test_each_version_is_a_row_set_against_production(api_as: ApiAs, viewer: User) -> None:
    first, second = make_versions(2, name="Posters")
    LabelFactory(prompt=first.prompt, version=first)
    rate(first, [2] * 6 + [3] * 6)
    rate(second, [4] * 6 + [5] * 6)

    newer, older = api_as(viewer).get(PERFORMANCE).json()["results"]

    assert newer["prompt"] == {"id": str(first.prompt_id), "name": "Posters"}
    assert (newer["number"], newer["labels"], older["labels"]) == (2, [], ["production"])
    assert (newer["n_generations"], newer["n_outputs"], newer["n_rated"], newer["n_unrated"]) == (
        12,
        12,
        12,
        0,
    )
    assert newer["mean"]["mean"] == 4.5
    against = newer["against_production"]
    assert (against["version"], against["difference"], against["method"]) == ("v1", 2.0, "welch_t")
    assert against["sentence"].startswith("v2 is rated 2.0 higher than v1 (95 % interval")
    assert older["against_production"] is None


@pytest.mark.parametrize("ordering", ["mean", "-mean", "n_ratings", "-n_ratings", "number", "-created_at"])
def test_pages_in_any_order_hold_each_version_once(api_as: ApiAs, viewer: User, ordering: str) -> None:
    versions = make_versions(5)
    for version, levels in zip(versions, ([5, 5], [1], [3, 3, 3], [], []), strict=True):
        rate(version, levels)
    rate(versions[1], [5, 5, 5], is_blind=False)
    client = api_as(viewer)

    rows, address = [], f"{PERFORMANCE}?page_size=2&ordering={ordering}"
    while address:
        page = client.get(address).json()
        rows += page["results"]
        address = page["next"]

    assert len({row["prompt_version"] for row in rows}) == len(rows) == 5
    field = ordering.removeprefix("-")
    if field == "created_at":
        return
    values = [row["mean"]["mean"] if field == "mean" else row[field] for row in rows]
    known = [value for value in values if value is not None]
    assert values == sorted(known, reverse=ordering.startswith("-")) + [None] * (5 - len(known))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("prompt=1", "prompt"),
        ("prompt_version=x", "prompt_version"),
        ("run=%00", "run"),
        ("dataset=", "dataset"),
        ("criterion=beauty", "criterion"),
        ("criterion=a%20b", "criterion"),
        ("blind=maybe", "blind"),
        ("rated_after=yesterday", "rated_after"),
        ("rated_before=2026-13-01", "rated_before"),
        ("created_after=0001-01-01T00:00:00%2B14:00", "created_after"),
        ("colour=red", "colour"),
        ("blind=all&blind=open", "blind"),
    ],
)
@pytest.mark.parametrize("address", [RATINGS, PERFORMANCE])
def test_filters_that_can_not_be_read_are_told_as_problems(
    api_as: ApiAs, viewer: User, address: str, query: str, name: str
) -> None:
    answer = api_as(viewer).get(f"{address}?{query}")

    assert answer.status_code == 400
    assert answer["Content-Type"] == "application/problem+json"
    assert list(answer.json()["fields"]) == [name]


@pytest.mark.parametrize(
    "query", ["period=year", "time_zone=Mars/Base", "time_zone=localtime", "period=day&cursor=x"]
)
def test_periods_and_zones_that_do_not_exist_are_told_as_problems(
    api_as: ApiAs, viewer: User, query: str
) -> None:
    assert api_as(viewer).get(f"{RATINGS}?{query}").status_code == 400


def test_filters_narrow_both_answers(api_as: ApiAs, viewer: User) -> None:
    first, second = make_versions(2)
    rate(first, [5], created_at=FIRST_DAY)
    rate(second, [1, 1])
    other = make_versions(1)[0]
    rate(other, [3])
    client = api_as(viewer)

    assert client.get(RATINGS, {"prompt": str(first.prompt_id)}).json()["n_ratings"] == 3
    both = {"prompt_version": [str(first.pk), str(other.pk)]}
    assert client.get(RATINGS, both).json()["n_ratings"] == 2
    assert len(client.get(PERFORMANCE, both).json()["results"]) == 2
    assert client.get(RATINGS, {"rated_before": "2026-03-03"}).json()["n_ratings"] == 1
    assert client.get(RATINGS, {"rated_before": "2026-03-02T23:00:00Z"}).json()["n_ratings"] == 0
    run = second.generations.values_list("run", flat=True)[:1].get()
    (row,) = client.get(PERFORMANCE, {"run": str(run)}).json()["results"]
    assert (row["number"], row["n_ratings"], row["n_generations"]) == (2, 2, 2)


@pytest.mark.parametrize(
    ("address", "query"),
    [
        (PERFORMANCE, ""),
        (PERFORMANCE, "?ordering=-mean"),
        (PERFORMANCE, "?created_after=2020-01-01"),
        (RATINGS, ""),
        (RATINGS, "?time_zone=Asia/Kolkata"),
    ],
)
def test_the_number_of_queries_does_not_grow(api_as: ApiAs, viewer: User, address: str, query: str) -> None:
    client = api_as(viewer)

    def count() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(address + query).status_code == 200
        return len(queries)

    rate(make_versions(1)[0], [4])
    few = count()
    for _ in range(4):
        for version in make_versions(2):
            LabelFactory(prompt=version.prompt, version=version, name=f"label-{version.number}")
            rate(version, [3, 4])

    assert count() == few
