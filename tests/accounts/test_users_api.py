"""People over the API: who sees whom, and who may change what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from accounts.roles import PERMISSIONS
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

ME = "/api/v1/me/"
USERS = "/api/v1/users/"
Maker = Callable[[User | None], APIClient]


@pytest.mark.parametrize("role", ["admin", "evaluator", "viewer", None])
def test_everybody_reads_themselves(api_as: Maker, role: str | None) -> None:
    user = UserFactory(role=role)

    answer = api_as(user).get(ME)

    assert answer.status_code == 200
    assert answer.json() == {
        "id": str(user.pk),
        "email": user.email,
        "name": user.name,
        "role": role,
        "permissions": sorted(PERMISSIONS.get(role or "", ())),
    }


@pytest.mark.parametrize("role", ["admin", "evaluator", "viewer", None])
def test_everybody_names_themselves_and_changes_nothing_else(api_as: Maker, role: str | None) -> None:
    user = UserFactory(role=role, name="Old")
    body = {
        "name": "New",
        "role": "admin",
        "is_superuser": True,
        "email": "x@example.com",
        "is_active": False,
    }

    answer = api_as(user).patch(ME, body, format="json")

    assert (answer.status_code, answer.json()["name"]) == (200, "New")
    fresh = User.objects.get(pk=user.pk)
    assert (fresh.role, fresh.email, fresh.is_superuser, fresh.is_active) == (role, user.email, False, True)


@pytest.mark.parametrize("name", ["x" * 121, None, ["a"], {"a": 1}, "a\x00b"])
def test_a_name_that_is_none_is_refused(api_as: Maker, admin: User, name: Any) -> None:
    assert api_as(admin).patch(ME, {"name": name}, format="json").status_code == 400


def test_nobody_gets_401_everywhere(api_as: Maker, admin: User) -> None:
    client = api_as(None)

    for method, path in (
        ("get", ME),
        ("patch", ME),
        ("get", USERS),
        ("post", USERS),
        ("get", f"{USERS}{admin.pk}/"),
        ("patch", f"{USERS}{admin.pk}/"),
        ("delete", "/api/v1/auth/token/"),
    ):
        answer = getattr(client, method)(path)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_an_administrator_sees_everybody(api_as: Maker, admin: User) -> None:
    people = {UserFactory(role=role).email for role in ("viewer", "evaluator", None)} | {admin.email}

    found = api_as(admin).get(USERS).json()["results"]

    assert {person["email"] for person in found} == people
    assert set(found[0]) == {"id", "email", "name", "role", "is_active", "created_at", "last_login"}


@pytest.mark.parametrize("role", ["evaluator", "viewer", None])
def test_others_see_themselves_alone(api_as: Maker, admin: User, role: str | None) -> None:
    user = UserFactory(role=role)
    client = api_as(user)

    assert [person["id"] for person in client.get(USERS).json()["results"]] == [str(user.pk)]
    assert client.get(f"{USERS}{user.pk}/").status_code == 200
    assert client.get(f"{USERS}{admin.pk}/").status_code == 404
    assert client.patch(f"{USERS}{admin.pk}/", {"name": "x"}, format="json").status_code == 404


@pytest.mark.parametrize("role", ["evaluator", "viewer", None])
def test_others_make_nobody_and_promote_nobody(api_as: Maker, role: str | None) -> None:
    user = UserFactory(role=role)
    client = api_as(user)
    new = {"email": "new@example.com", "role": "viewer"}

    assert client.post(USERS, new, format="json").status_code == 403
    for change in ({"role": "admin"}, {"is_active": False}, {"name": "New", "role": "admin"}):
        assert client.patch(f"{USERS}{user.pk}/", change, format="json").status_code == 403
    fresh = User.objects.get(pk=user.pk)
    assert (fresh.role, fresh.is_active, fresh.name) == (role, True, user.name)


def test_an_administrator_makes_a_person(api_as: Maker, admin: User) -> None:
    body = {"email": "New@Example.com", "name": "New", "role": "evaluator", "password": PASSWORD}

    answer = api_as(admin).post(USERS, body, format="json")

    assert answer.status_code == 201, answer.content
    assert answer.json()["email"] == "new@example.com"
    assert answer.json()["role"] == "evaluator"
    assert "password" not in answer.json()
    assert User.objects.get(email="new@example.com").check_password(PASSWORD)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"email": "taken@example.com"}, 422, "email_taken"),
        ({"email": "no address"}, 422, "email_invalid"),
        ({"password": "short"}, 422, "password_invalid"),
        ({"role": "superuser"}, 400, "invalid"),
        ({"email": None}, 400, "invalid"),
        ({"email": "x" * 255}, 400, "invalid"),
    ],
)
def test_a_person_that_cannot_be_is_refused(
    api_as: Maker, admin: User, change: dict[str, Any], status: int, code: str
) -> None:
    UserFactory(email="taken@example.com")
    body = {"email": "new@example.com", "role": "viewer", **change}
    before = User.objects.count()

    answer = api_as(admin).post(USERS, body, format="json")

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert User.objects.count() == before


def test_an_administrator_changes_all_of_it_or_nothing(api_as: Maker, admin: User) -> None:
    client = api_as(admin)
    user = UserFactory(role="viewer", name="Old")

    answer = client.patch(
        f"{USERS}{user.pk}/", {"name": "New", "role": "evaluator", "is_active": False}, format="json"
    )
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["role"], answer.json()["is_active"]) == (
        "New",
        "evaluator",
        False,
    )

    refused = client.patch(f"{USERS}{admin.pk}/", {"name": "Other", "is_active": False}, format="json")
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    assert User.objects.get(pk=admin.pk).name == admin.name


def test_a_change_of_nothing_is_refused(api_as: Maker, admin: User) -> None:
    assert api_as(admin).patch(f"{USERS}{admin.pk}/", {}, format="json").status_code == 400


@pytest.mark.parametrize("method", ["put", "delete"])
def test_nobody_is_replaced_or_deleted(api_as: Maker, admin: User, method: str) -> None:
    user = UserFactory()

    assert getattr(api_as(admin), method)(f"{USERS}{user.pk}/").status_code == 405
    assert User.objects.filter(pk=user.pk).exists()


@pytest.mark.parametrize("pk", ["5", "abc", "%00", "01a1fdd2", uuid4()])
def test_an_id_of_nobody_is_not_found(api_as: Maker, admin: User, pk: object) -> None:
    assert api_as(admin).get(f"{USERS}{pk}/").status_code == 404


@pytest.mark.parametrize("query", ["ordering=password", "password__startswith=m", "email=a", "role=admin"])
def test_the_list_answers_no_other_questions(api_as: Maker, admin: User, query: str) -> None:
    assert api_as(admin).get(f"{USERS}?{query}").status_code == 400


def test_the_list_costs_the_same_for_one_and_for_many(api_as: Maker, admin: User) -> None:
    client = api_as(admin)
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert client.get(USERS).status_code == 200
        counts.append(len(queries))
        UserFactory.create_batch(5)

    assert counts[0] == counts[1] <= 3
