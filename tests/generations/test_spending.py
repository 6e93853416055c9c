"""Quotas are set by admins; what was spent is seen by run, version, model, person and month."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from generations.engine.claiming import claim_batch
from generations.engine.transitions import apply_all
from generations.models import Generation, MonthlySpend, Quota, Run
from generations.services.quotas import (
    QuotaExistsError,
    QuotaInvalidError,
    change_quota,
    create_quota,
)
from mayagen.common.errors import PermissionDeniedError
from tests.accounts.factories import UserFactory
from tests.accounts.signing_in import sign_in
from tests.generations.factories import GenerationFactory, QuotaFactory
from tests.generations.money_cases import PRICE, complete, launch, make_paid_version
from tests.prompts.factories import PromptVersionFactory

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]
SPEND = "/api/v1/analytics/spend/"
QUOTAS = "/api/v1/quotas/"


def spend(actor: User, n: int = 1) -> Run:
    """Launch and complete `n` generations at `PRICE`."""
    run = launch(actor, make_paid_version(), n=n)
    apply_all([complete(work) for work in claim_batch(worker="w", capacity=n)])
    return run


def test_admins_set_quotas_and_the_audit_trail_says_so(admin: User) -> None:
    quota = create_quota(actor=admin, user=None, limit_generations=10, limit_usd=None)

    change_quota(actor=admin, quota=quota, limit_generations=None, limit_usd=Decimal("5.50"))

    quota.refresh_from_db()
    assert (quota.user, quota.limit_generations, quota.limit_usd) == (None, None, Decimal("5.50"))
    entry = AuditEntry.objects.get(verb="change_quota")
    assert (entry.before["limit_generations"], entry.after["limit_usd"]) == (10, "5.50")


def test_there_is_one_quota_for_each_person_and_one_for_all(admin: User, viewer: User) -> None:
    for user in (None, viewer):
        create_quota(actor=admin, user=user, limit_generations=1, limit_usd=None)
        with pytest.raises(QuotaExistsError):
            create_quota(actor=admin, user=user, limit_generations=2, limit_usd=None)

    assert Quota.objects.count() == 2


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({"limit_generations": -1, "limit_usd": None}, "limit_generations"),
        ({"limit_generations": 10**10, "limit_usd": None}, "limit_generations"),
        ({"limit_generations": None, "limit_usd": Decimal(-1)}, "limit_usd"),
        ({"limit_generations": None, "limit_usd": Decimal("NaN")}, "limit_usd"),
        ({"limit_generations": None, "limit_usd": Decimal("0.001")}, "limit_usd"),
    ],
)
def test_a_limit_out_of_range_is_refused(admin: User, limits: dict[str, Any], name: str) -> None:
    with pytest.raises(QuotaInvalidError) as caught:
        create_quota(actor=admin, user=None, **limits)

    assert list(caught.value.fields) == [name]
    assert not Quota.objects.exists()


def test_viewers_see_quotas_and_set_none(viewer: User, api_as: ApiAs) -> None:
    quota = QuotaFactory(limit_usd=5)
    client = api_as(viewer)

    with pytest.raises(PermissionDeniedError):
        change_quota(actor=viewer, quota=quota, limit_generations=1, limit_usd=None)
    assert client.get(QUOTAS).json()["results"][0]["limit_usd"] == "5.00"
    assert client.post(QUOTAS, {"limit_generations": 1}, format="json").status_code == 403
    assert client.patch(f"{QUOTAS}{quota.pk}/", {"limit_usd": None}, format="json").status_code == 403


def test_quotas_are_set_over_the_api(admin: User, viewer: User, api_as: ApiAs) -> None:
    client = api_as(admin)

    made = client.post(QUOTAS, {"user": str(viewer.pk), "limit_usd": "12.50"}, format="json")
    changed = client.patch(f"{QUOTAS}{made.json()['id']}/", {"limit_generations": 3}, format="json")
    again = client.post(QUOTAS, {"user": str(viewer.pk)}, format="json")

    assert (made.status_code, changed.status_code) == (201, 200)
    assert (changed.json()["limit_generations"], changed.json()["limit_usd"]) == (3, "12.50")
    assert (again.status_code, again.json()["code"]) == (409, "quota_exists")
    for wrong in ({"limit_usd": "x"}, {"limit_usd": -1}, {"limit": 1}, {"user": "x"}, {"limit_usd": True}):
        assert client.post(QUOTAS, wrong, format="json").status_code in {400, 422}, wrong


def test_a_run_over_quota_is_a_conflict_over_the_api(admin: User, api_as: ApiAs) -> None:
    QuotaFactory(user=admin, limit_usd="0.03")
    version = make_paid_version()
    body = {"name": "Trial", "prompt_versions": [str(version.pk)], "variables": {"subject": "a"}}

    answer = api_as(admin).post("/api/v1/runs/", body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "quota_exceeded")
    assert answer.json()["detail"].startswith("Your quota for ")
    assert answer.json()["extra"]["asked_usd"] == "0.040000"


def test_a_run_takes_a_ceiling_over_the_api(admin: User, api_as: ApiAs) -> None:
    version = make_paid_version()
    body = {"name": "Trial", "prompt_versions": [str(version.pk)], "variables": {"subject": "a"}}

    made = api_as(admin).post("/api/v1/runs/", {**body, "ceiling_usd": "2.50"}, format="json")
    wrong = api_as(admin).post("/api/v1/runs/", {**body, "ceiling_usd": "-1"}, format="json")

    assert (made.status_code, made.json()["ceiling_usd"]) == (201, "2.50")
    assert wrong.status_code == 422


@pytest.mark.parametrize("group_by", ["run", "version", "model", "user", "month"])
def test_spending_is_summed_up_by_each_thing(group_by: str, admin: User, viewer: User, api_as: ApiAs) -> None:
    run = spend(admin, 3)
    spend(UserFactory(role="admin", name="Other"), 1)
    launch(admin, run.prompt_versions.get())
    GenerationFactory(completed=True, prompt_version=PromptVersionFactory())

    rows = api_as(viewer).get(SPEND, {"group_by": group_by, "ordering": "-cost_usd"}).json()["results"]

    found = [(row["n_generations"], row["cost_usd"], row["reserved_usd"]) for row in rows]
    assert found == {
        "run": [(3, "0.120000", "0.000000"), (1, "0.040000", "0.000000"), (0, "0.000000", "0.040000")],
        "month": [(4, "0.160000", "0.040000")],
    }.get(group_by, [(3, "0.120000", "0.040000"), (1, "0.040000", "0.000000")])
    names = {"run": "Trial", "user": admin.name, "version": str(run.prompt_versions.get())}
    assert rows[0]["name"] == names.get(group_by, rows[0]["name"])
    assert (rows[0]["id"] is None) == (group_by == "month")


def test_spending_of_some_days_is_asked_for(admin: User, api_as: ApiAs) -> None:
    run = spend(admin, 2)
    old = datetime(2026, 1, 15, tzinfo=UTC)
    Generation.objects.filter(pk=run.generations.order_by("pk").values("pk")[:1]).update(created_at=old)
    client = api_as(admin)

    def find(**values: str) -> list[str]:
        rows = client.get(SPEND, {"group_by": "run", **values}).json()["results"]
        return [row["cost_usd"] for row in rows]

    assert find(created_before="2026-02-01") == ["0.040000"]
    assert find(created_after="2026-01-15", created_before="2026-01-16") == ["0.040000"]
    assert find(created_before="2026-01-15") == []
    assert find() == ["0.080000"]


@pytest.mark.parametrize(
    "query",
    ["", "group_by=x", "group_by=run&created_after=x", "group_by=run&x=1", "group_by=run&ordering=name"],
)
def test_spending_refuses_what_it_does_not_know(query: str, admin: User, api_as: ApiAs) -> None:
    assert api_as(admin).get(f"{SPEND}?{query}").status_code == 400


@pytest.mark.parametrize("group_by", ["run", "version", "model", "user", "month"])
def test_spending_is_read_in_the_same_few_queries_and_in_pages(
    group_by: str, admin: User, api_as: ApiAs
) -> None:
    client = api_as(admin)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            page = client.get(SPEND, {"group_by": group_by, "page_size": "2"}).json()
        assert len(page["results"]) <= 2
        return len(queries)

    spend(admin)
    first = count()
    for number in range(3):
        spend(UserFactory(role="admin", name=f"Person {number}"))
        MonthlySpend.objects.create(month=datetime(2025, 1 + number, 1, tzinfo=UTC).date(), booked_usd=1)

    assert count() == first
    address = f"{SPEND}?group_by={group_by}&page_size=2&ordering=-cost_usd"
    seen: list[str] = []
    while address:
        page = client.get(address).json()
        seen += [row["id"] or row["name"] for row in page["results"]]
        address = page["next"]
    assert len(seen) == len(set(seen)) == 4


def test_evaluators_read_neither_spending_nor_quotas(evaluator: User, api_as: ApiAs) -> None:
    client = api_as(evaluator)

    assert client.get(SPEND, {"group_by": "user"}).status_code == 403
    assert client.get(QUOTAS).status_code == 404


@pytest.mark.parametrize("group_by", ["run", "version", "model", "user", "month", "", "x"])
def test_the_page_of_spending_shows_the_month_and_what_it_went_to(
    group_by: str, admin: User, viewer: User
) -> None:
    QuotaFactory(limit_usd=10, limit_generations=100)
    QuotaFactory(user=admin, limit_usd="0.08")
    spend(admin, 2)
    client = sign_in(viewer)

    page = client.get(reverse("admin:spending"), {"group_by": group_by})

    assert page.status_code == 200
    text = page.content.decode()
    assert "The whole installation" in text
    assert "Ada Admin" in text
    assert "100 % used" in text
    assert admin.email not in text
    assert "Set a quota" not in text
    assert ("$0.08" in text) or group_by in {"", "x"}


def test_the_page_of_spending_costs_the_same_queries_for_many_people(admin: User) -> None:
    client = sign_in(admin)

    def count() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(reverse("admin:spending"), {"group_by": "version"}).status_code == 200
        return len(queries)

    spend(admin)
    first = count()
    for _ in range(4):
        person = UserFactory(role="admin")
        QuotaFactory(user=person, limit_usd=10)
        spend(person)

    assert count() == first


def test_admins_set_and_change_quotas_in_the_admin(admin: User, viewer: User) -> None:
    client = sign_in(admin)
    add = reverse("admin:generations_quota_add")

    made = client.post(add, {"user": str(viewer.pk), "limit_generations": "5", "limit_usd": ""})
    again = client.post(add, {"user": str(viewer.pk), "limit_generations": "5", "limit_usd": ""})
    quota = Quota.objects.get()
    address = reverse("admin:generations_quota_change", args=[quota.pk])
    changed = client.post(address, {"limit_generations": "", "limit_usd": "7.25"})

    assert (made.status_code, again.status_code, changed.status_code) == (302, 200, 302)
    quota.refresh_from_db()
    assert (quota.user, quota.limit_generations, quota.limit_usd) == (viewer, None, Decimal("7.25"))
    assert AuditEntry.objects.filter(verb__in=("create_quota", "change_quota")).count() == 2


def test_the_launch_page_says_what_it_costs_and_what_is_left(admin: User) -> None:
    QuotaFactory(limit_usd=10)
    QuotaFactory(user=admin, limit_usd="0.10", limit_generations=2)
    version = make_paid_version()
    client = sign_in(admin)
    plan = reverse("admin:generations_run_plan")

    page = client.post(plan, {"prompt_versions": [version.pk], "repeats": "1"}, HTTP_HX_REQUEST="true")
    over = client.post(plan, {"prompt_versions": [version.pk], "repeats": "3"}, HTTP_HX_REQUEST="true")

    assert "$0.10" in page.content.decode()
    assert "leaves" not in page.content.decode()
    assert "Your quota leaves too little for this" in over.content.decode()


def test_a_ceiling_is_set_at_launch_in_the_admin(admin: User) -> None:
    version = make_paid_version()
    body = {"name": "Trial", "repeats": "1", "base_seed": "0", "priority": "0", "var-subject": "a"}
    client = sign_in(admin)

    refused = client.post(
        reverse("admin:generations_run_launch"),
        {**body, "prompt_versions": [version.pk], "ceiling_usd": "-1"},
    )
    launched = client.post(
        reverse("admin:generations_run_launch"),
        {**body, "prompt_versions": [version.pk], "ceiling_usd": "1.50"},
    )

    assert (refused.status_code, launched.status_code) == (200, 302)
    assert Run.objects.get().ceiling_usd == Decimal("1.50")
    assert Generation.objects.get().reserved_usd == PRICE
