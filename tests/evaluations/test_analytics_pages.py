"""The pages of analytics, the landing page and the task queue: who sees what, with and without rows."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.models import User
from evaluations.analytics import charts
from evaluations.analytics.performance import list_performance, list_versions
from evaluations.analytics.scopes import Scope, get_scale
from evaluations.selectors import get_pseudonym
from generations.models import Generation
from tests.accounts.factories import UserFactory
from tests.evaluations.analytics_cases import make_versions, rate
from tests.evaluations.factories import ReviewQueueFactory
from tests.generations.factories import GenerationFactory, RunFactory
from tests.prompts.factories import LabelFactory, PromptFactory

pytestmark = pytest.mark.django_db

PAGES = ["admin:index", "admin:overview", "admin:analytics", "admin:queue-status"]


def open_as(user: User | None, route: str, query: str = "") -> str:
    client = Client()
    if user is not None:
        client.force_login(user)
    answer = client.get(reverse(route) + query)
    assert answer.status_code == 200, answer.status_code
    return answer.content.decode()


def count_queries(user: User, address: str) -> int:
    client = Client()
    client.force_login(user)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def fill(n: int) -> None:
    """Make n prompts with two labelled, rated versions each, a run in progress and a failure for each."""
    for _ in range(n):
        first, second = make_versions(2)
        LabelFactory(prompt=first.prompt, version=first)
        rate(first, [2, 3, 3])
        rate(second, [4, 5, 5])
        GenerationFactory(prompt_version=first, failed=True)
        GenerationFactory(prompt_version=first, run=RunFactory())
        ReviewQueueFactory()


@pytest.mark.parametrize("route", PAGES)
def test_pages_open_without_any_row(admin: User, route: str) -> None:
    assert open_as(admin, route)


def test_an_empty_installation_says_how_to_begin(admin: User) -> None:
    assert "Make a prompt" in open_as(admin, "admin:index")
    assert reverse("admin:generations_run_launch") in open_as(admin, "admin:index")
    assert "There is no prompt yet." in open_as(admin, "admin:analytics")
    PromptFactory(name="Posters")
    assert "has no version yet" in open_as(admin, "admin:analytics")
    make_versions(1, name="Covers")
    assert "There are no such ratings yet." in open_as(admin, "admin:analytics")


def test_how_to_begin_stays_until_two_versions_are_rated(admin: User) -> None:
    first, second = make_versions(2)
    done = 'class="mg-is-done"'
    seen = [open_as(admin, "admin:index")]

    for version in (first, second):
        rate(version, [4])
        seen.append(open_as(admin, "admin:index"))

    assert ["How to begin" in page for page in seen] == [True, True, False]
    assert [page.count(done) for page in seen] == [1, 3, 0]


@pytest.mark.parametrize("route", PAGES)
def test_nobody_and_evaluators_are_kept_out(evaluator: User, route: str) -> None:
    for user in (None, evaluator):
        client = Client()
        if user is not None:
            client.force_login(user)
        assert client.get(reverse(route)).status_code in {302, 403}


def test_viewers_see_everything_but_people_and_the_task_queue(viewer: User) -> None:
    rater = UserFactory(role="evaluator", name="Rita Rater", email="rita@example.com")
    rate(make_versions(1)[0], [4], rater=rater)

    page = open_as(viewer, "admin:index")

    assert "Rita" not in page
    assert "rita@example.com" not in page
    assert get_pseudonym(rater.pk) in page
    assert reverse("admin:queue-status") not in page
    assert reverse("admin:accounts_user_changelist") not in page
    assert reverse("admin:analytics") in page
    client = Client()
    client.force_login(viewer)
    assert client.get(reverse("admin:queue-status")).status_code == 403


def test_admins_see_who_rated(admin: User) -> None:
    rate(make_versions(1)[0], [4], rater=UserFactory(role="evaluator", name="Rita Rater"))

    assert "Rita Rater" in open_as(admin, "admin:index")


def test_the_landing_page_tells_what_goes_on(admin: User) -> None:
    fill(1)

    page = open_as(admin, "admin:index")

    run = Generation.objects.get(status="queued").run
    assert run is not None
    assert run.name in page
    assert "0 of 1 completed" in page
    assert "Refused by the provider" in page
    assert "mean of 6 blind ratings" in page
    assert '<svg class="mg-lines"' in page
    assert 'hx-trigger="every 2s"' in page
    assert run.name in open_as(admin, "admin:overview")


def test_a_finished_run_leaves_the_work_in_progress(admin: User) -> None:
    GenerationFactory(completed=True)

    page = open_as(admin, "admin:overview")

    assert "Nothing is being generated." in page
    assert 'hx-trigger="every 15s"' in page
    assert "1</span> image" in page


def test_the_analytics_page_shows_the_numbers_of_the_api(admin: User) -> None:
    first, second = make_versions(2, name="Posters")
    LabelFactory(prompt=first.prompt, version=first)
    rate(first, [2] * 6 + [3] * 6)
    rate(second, [4] * 6 + [5] * 5 + [1])
    client = Client()
    client.force_login(admin)

    page = client.get(reverse("admin:analytics"), {"prompt": str(first.prompt_id)}).content.decode()
    address = re.search(r'href="(/api/v1/analytics/prompt-performance/[^"]+)"', page)
    assert address is not None
    newer, older = client.get(address.group(1).replace("&amp;", "&")).json()["results"]

    assert newer["against_production"]["sentence"] in page
    for row in (newer, older):
        mean = row["mean"]
        assert f"{mean['mean']:.2f}" in page
        assert f"{mean['low']:.2f} to {mean['high']:.2f}" in page
    assert "Only blind ratings are used." in page


@pytest.mark.parametrize(
    "query",
    [
        "?prompt=x",
        "?prompt=0190a8a2-7f1e-7000-8000-000000000000",
        "?criterion=%00",
        "?blind=maybe",
        "?rated_from=32-13-2026",
        "?time_zone=Mars/Base",
        "?time_zone=%00",
        "?period=year",
        "?unknown=1",
        "?rated_from=0001-01-01&time_zone=Asia/Tokyo",
        "?rated_to=9999-12-31",
        "?rated_from=2026-03-01&rated_to=2026-03-02&time_zone=America/New_York",
    ],
)
def test_a_query_string_of_any_kind_is_a_page(admin: User, query: str) -> None:
    rate(make_versions(1)[0], [4])

    assert "Analytics" in open_as(admin, "admin:analytics", query)


@pytest.mark.parametrize("route", PAGES)
def test_the_number_of_queries_does_not_grow(admin: User, route: str) -> None:
    fill(1)
    few = count_queries(admin, reverse(route))
    fill(3)

    assert count_queries(admin, reverse(route)) == few


def test_the_pages_of_prompts_and_generations_show_ratings(admin: User, viewer: User) -> None:
    rater = UserFactory(role="evaluator", name="Rita Rater")
    version = make_versions(1)[0]
    rate(version, [4, 2], rater=rater, note="Sharp <b>edges</b>")
    generation = version.generations.first()
    assert generation is not None
    client = Client()
    client.force_login(viewer)

    for route, pk in (
        ("admin:prompts_prompt_change", version.prompt_id),
        ("admin:prompts_promptversion_change", version.pk),
    ):
        page = client.get(reverse(route, args=[pk])).content.decode()
        assert "2 blind ratings" in page
        assert '<svg class="mg-interval"' in page
    page = client.get(reverse("admin:generations_generation_change", args=[generation.pk])).content.decode()
    assert "Sharp &lt;b&gt;edges&lt;/b&gt;" in page
    assert "Rita" not in page
    client.force_login(admin)
    page = client.get(reverse("admin:generations_generation_change", args=[generation.pk])).content.decode()
    assert "Rita Rater" in page


def test_the_search_finds_places_and_rows_for_each_role(admin: User, viewer: User) -> None:
    PromptFactory(name="Audible posters")

    assert "Audible posters" in open_as(viewer, "admin:search", "?s=aud")
    assert "Audit trail" not in open_as(viewer, "admin:search", "?s=aud")
    assert "Audit trail" in open_as(admin, "admin:search", "?s=aud&extended=1&page=x")


@pytest.mark.parametrize("text", ["", "%00", "x" * 300, "%25_%27"])
def test_a_search_for_anything_is_answered(admin: User, text: str) -> None:
    open_as(admin, "admin:search", f"?s={text}")


def test_charts_have_names_and_escape_what_people_wrote(admin: User) -> None:
    version = make_versions(1)[0]
    rate(version, [5, 4, 4])
    scale = get_scale()
    versions = list(list_versions(actor=admin, scope=Scope()))
    (row,) = list_performance(versions, scope=Scope(), scale=scale)

    interval = charts.draw_interval(row.ratings.mean, scale)
    assert 'aria-label="Mean 4.33, 95 % interval 2.90 to 5.00, 3 ratings"' in interval
    assert charts.draw_distribution(row.ratings.levels).count("<rect") == 2
    assert charts.draw_lines([], scale, name="Nothing") == ""
