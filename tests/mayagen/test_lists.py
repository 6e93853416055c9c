"""Pages, orders and filters of lists, on rows made to tie."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from generations.choices import Status
from generations.models import Generation
from mayagen.common.ids import uuid7
from tests.generations.factories import GenerationFactory, RunFactory
from tests.prompts.factories import PromptVersionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.probe_routes")]
PATH = "/api/v1/generations/"


@pytest.fixture
def client(api_as: Callable[[User | None], APIClient], viewer: User) -> APIClient:
    return api_as(viewer)


def make_generations(count: int, **each: Callable[[int], Any]) -> list[Generation]:
    """Make rows in one statement, as a run does, so that they tie on their times."""
    version = PromptVersionFactory.create()
    run = RunFactory.create()
    now = timezone.now()
    return Generation.objects.bulk_create(
        Generation(
            id=uuid7(),
            created_at=now,
            run=run,
            prompt_version=version,
            image_model=version.image_model,
            case_key=f"case-{number:05}",
            seed=None,
            **{name: make(number) for name, make in each.items()},
        )
        for number in range(count)
    )


def walk(client: APIClient, query: str, link: str = "next") -> list[str]:
    """Return the ids on all pages, in the order in which they come."""
    ids: list[str] = []
    address: str | None = f"{PATH}?{query}"
    for _ in range(500):
        assert address is not None
        response = client.get(address)
        assert response.status_code == 200, response.content
        page = response.json()
        page_ids = [row["id"] for row in page["results"]]
        ids = ids + page_ids if link == "next" else page_ids + ids
        address = page[link]
        if address is None:
            return ids
    raise AssertionError("the pages have no end")


def refuse(client: APIClient, query: str) -> dict[str, Any]:
    response = client.get(f"{PATH}?{query}")
    assert response.status_code == 400, response.content
    problem: dict[str, Any] = response.json()
    return problem


def test_a_list_of_rows_that_all_tie_ends_and_holds_each_once(client: APIClient) -> None:
    rows = make_generations(2_500)

    newest_first = walk(client, "page_size=100")
    by_time = walk(client, "page_size=100&ordering=created_at")

    expected = [str(row.id) for row in rows]
    assert newest_first == expected[::-1]
    assert by_time == expected


@pytest.mark.parametrize(
    "ordering",
    ["rating", "-rating", "seed", "-seed", "key", "-key", "version", "-version", "model", "-model", "id"],
)
def test_every_order_walks_all_rows_once_forwards_and_backwards(client: APIClient, ordering: str) -> None:
    source = random.Random(3)
    ratings = [None, Decimal("1.00"), Decimal("3.33"), Decimal("5.00")]
    rows = make_generations(45, result_rating=lambda _: source.choice(ratings))
    for row in rows[::3]:
        Generation.objects.filter(pk=row.pk).update(seed=source.randrange(4))

    forwards = walk(client, f"page_size=7&ordering={ordering}")

    assert sorted(forwards) == sorted(str(row.id) for row in rows)
    pages = [client.get(f"{PATH}?page_size=7&ordering={ordering}").json()]
    while pages[-1]["next"]:
        pages.append(client.get(pages[-1]["next"]).json())
    backwards = [pages[-1]["results"]]
    link = pages[-1]["previous"]
    while link:
        page = client.get(link).json()
        backwards.insert(0, page["results"])
        link = page["previous"]
    assert backwards == [page["results"] for page in pages]


@pytest.mark.parametrize("ordering", ["rating", "-rating"])
def test_rows_without_a_value_come_last_in_both_directions(client: APIClient, ordering: str) -> None:
    make_generations(6, result_rating=lambda number: None if number % 2 else Decimal(number + 1))

    results = client.get(f"{PATH}?ordering={ordering}").json()["results"]

    ratings = [row["result_rating"] for row in results]
    assert ratings[3:] == [None, None, None]
    assert ratings[:3] == (["1.00", "3.00", "5.00"] if ordering == "rating" else ["5.00", "3.00", "1.00"])


def test_rows_added_meanwhile_move_no_page(client: APIClient) -> None:
    first = make_generations(30)
    page = client.get(PATH).json()
    make_generations(5)

    second = client.get(page["next"]).json()

    seen = [row["id"] for row in page["results"] + second["results"]]
    assert seen == [str(row.id) for row in reversed(first)]


def test_a_list_costs_the_same_queries_whatever_its_length(client: APIClient) -> None:
    make_generations(3)
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(f"{PATH}?ordering=-model")
    make_generations(100)
    with CaptureQueriesContext(connection) as many:
        client.get(f"{PATH}?ordering=-model&page_size=100")

    assert len(few) == len(many)


@pytest.mark.parametrize(
    ("query", "count"),
    [("", 20), ("page_size=3", 3), ("page_size=1000000000", 100), ("page_size=" + "9" * 300, 100)],
)
def test_the_page_size_is_capped(client: APIClient, query: str, count: int) -> None:
    make_generations(120)

    assert len(client.get(f"{PATH}?{query}").json()["results"]) == count


@pytest.mark.parametrize("size", ["0", "-1", "abc", "1.5", "١٢", "1_0", "", " 5", "%00"])
def test_a_page_size_that_is_no_number_is_refused(client: APIClient, size: str) -> None:
    problem = refuse(client, f"page_size={size}")

    assert problem["code"] == "invalid_parameter"
    assert list(problem["fields"]) == ["page_size"]


@pytest.mark.parametrize(
    "ordering", ["password", "-prompt_version__prompt__slug", "--id", "id,created_at", "?", "pk"]
)
def test_an_undeclared_order_is_refused(client: APIClient, ordering: str) -> None:
    problem = refuse(client, urlencode({"ordering": ordering}))

    assert problem["code"] == "invalid_parameter"
    assert list(problem["fields"]) == ["ordering"]


def next_cursor(client: APIClient, query: str = "page_size=1", path: str = PATH) -> str:
    page = client.get(f"{path}?{query}").json()
    return str(page["next"].split("cursor=")[1].split("&")[0])


@pytest.mark.parametrize(
    "cursor", ["abc", "a" * 100_000, "bzoxMDAwMDAwMDAwMDAwMDAwMDAwMA==", "é", "e30:x", ":", "null"]
)
def test_a_made_up_cursor_is_refused(client: APIClient, cursor: str) -> None:
    assert refuse(client, urlencode({"cursor": cursor}))["code"] in {"invalid_cursor", "invalid_parameter"}


def test_a_cursor_with_nul_is_refused(client: APIClient) -> None:
    assert refuse(client, "cursor=%00")["code"] == "invalid_parameter"


def test_a_cursor_belongs_to_its_order_its_list_and_its_person(
    client: APIClient, api_as: Callable[[User | None], APIClient], evaluator: User
) -> None:
    make_generations(3)
    cursor = next_cursor(client)

    assert client.get(f"{PATH}?cursor={cursor}").status_code == 200
    assert refuse(client, f"cursor={cursor}&ordering=id")["code"] == "invalid_cursor"
    assert refuse(client, f"cursor={cursor[:-1]}x")["code"] == "invalid_cursor"
    elsewhere = client.get(f"/api/v1/others/?cursor={cursor}")
    somebody_else = api_as(evaluator).get(f"{PATH}?cursor={cursor}")
    assert [elsewhere.json()["code"], somebody_else.json()["code"]] == ["invalid_cursor", "invalid_cursor"]


def test_filters_find_their_rows(client: APIClient) -> None:
    rated = GenerationFactory.create(completed=True, outputs=None, result_rating=Decimal("4.00"))
    queued = GenerationFactory.create()
    old = GenerationFactory.create(created_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))

    def ids(query: str) -> set[str]:
        return set(walk(client, query))

    assert ids("status=completed") == {str(rated.id)}
    assert ids("rating=3.5") == {str(rated.id)}
    assert ids("unrated=true") == {str(queued.id), str(old.id)}
    assert ids("unrated=false") == {str(rated.id)}
    assert ids(f"prompt_version={queued.prompt_version_id}") == {str(queued.id)}
    assert ids(f"prompt_version={uuid7()}") == set()
    assert ids("created_after=2020-01-02") == {str(rated.id), str(queued.id)}
    assert ids("created_after=2019-12-31T23:30:00-01:00") == {str(rated.id), str(queued.id)}
    assert ids("created_after=2020-01-01T00:00:00Z") == {str(rated.id), str(queued.id), str(old.id)}
    assert ids(f"ids={old.id},{rated.id}") == {str(old.id), str(rated.id)}
    assert ids(f"state={Status.COMPLETED}&state={Status.QUEUED}&unrated=false") == {str(rated.id)}
    assert ids("repeat=0&is_superseded=false&page_size=2&ordering=-rating")


@pytest.mark.parametrize(
    "query",
    [
        "promt_version=x",
        "password=x",
        "created_at__startswith=2",
        "status__regex=(a%2B)%2B%24",
        "prompt_version__prompt__slug=x",
        "params__a%27%20OR%201=1",
        "Status=queued",
        "offset=3",
        "expand=run.prompt",
        "fields=secret",
    ],
)
def test_an_unknown_parameter_is_refused_by_name(client: APIClient, query: str) -> None:
    problem = refuse(client, query)

    assert problem["code"] == "unknown_parameter"
    assert len(problem["fields"]) == 1


@pytest.mark.parametrize(
    "query",
    [
        "status=nonsense",
        "status=queued&status=queued",
        "status=",
        "status=%00",
        "status=queued%00",
        "prompt_version=5",
        "prompt_version=abc",
        "prompt_version=%7B0190a8a2-7f1e-7000-8000-000000000000%7D",
        "prompt_version=0190a8a27f1e70008000000000000000",
        "created_after=yesterday",
        "created_after=2026-13-01",
        "created_after=2026-02-30T10:00:00Z",
        "created_after=2026-01-01T00:00:00%2B99:00",
        "created_after=0001-01-01T00:00:00%2B14:00",
        "created_after=9999-12-31T23:59:59-14:00",
        "created_after=%D9%A2%D9%A0%D9%A2%D9%A6-01-01",
        "created_after=1",
        "rating=abc",
        "rating=1_000",
        "rating=%D9%A1%D9%A2",
        "rating=nan",
        "rating=inf",
        "rating=1e400",
        "rating=" + "9" * 400,
        "repeat=1.5.2",
        "unrated=maybe",
        "unrated=1",
        "unrated=True%0a",
        "ids=1,2",
        "ids=" + ",".join(["0190a8a2-7f1e-7000-8000-000000000000"] * 100),
        "state=queued&state=nonsense",
    ],
)
def test_a_value_that_cannot_be_is_refused_by_name(client: APIClient, query: str) -> None:
    problem = refuse(client, query)

    assert problem["code"] == "invalid_parameter"
    assert list(problem["fields"]) == [query.split("=", maxsplit=1)[0]]


def test_a_number_of_any_size_that_is_let_through_reaches_the_database(client: APIClient) -> None:
    GenerationFactory.create()

    for value in ("999999999999999", "-999999999999999.9999999999", "0.5"):
        assert client.get(f"{PATH}?rating={value}").status_code == 200
        assert client.get(f"{PATH}?repeat={value}").status_code == 200


def test_single_rows_and_plain_views_refuse_unknown_parameters_too(client: APIClient) -> None:
    row = GenerationFactory.create()

    assert client.get(f"{PATH}{row.id}/").status_code == 200
    assert client.get(f"{PATH}{row.id}/?status=failed").json()["code"] == "unknown_parameter"
    assert client.get("/api/v1/others/?status=failed").json()["code"] == "unknown_parameter"
    assert client.get("/api/v1/plain/?name=x").json() == {"name": "x"}
    assert client.get("/api/v1/plain/?nam=x").json()["code"] == "unknown_parameter"
    assert client.get("/api/v1/plain/?name=x&name=y").json()["code"] == "invalid_parameter"


@pytest.mark.parametrize("identifier", ["5", "abc", "%00", "..%2f", "0190a8a2-7f1e-7000-8000-000000000000"])
def test_a_row_that_is_not_there_is_a_404(client: APIClient, identifier: str) -> None:
    assert client.get(f"{PATH}{identifier}/").json()["code"] == "not_found"


def test_anonymous_requests_are_refused_before_anything_is_parsed(
    api_as: Callable[[User | None], APIClient],
) -> None:
    response = api_as(None).get(f"{PATH}?nonsense=1&cursor=x")

    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith("Bearer")
