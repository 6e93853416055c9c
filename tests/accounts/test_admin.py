"""People and the audit trail in the admin."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import services
from accounts.models import AuditEntry, User
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

PEOPLE = "/admin/accounts/user/"
TRAIL = "/admin/accounts/auditentry/"


@pytest.fixture
def browser(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


def list_pages(user: User) -> list[str]:
    services.set_name(actor=user, user=user, name="Seen")
    entry = AuditEntry.objects.latest("id")
    return [
        PEOPLE,
        f"{PEOPLE}add/",
        f"{PEOPLE}{user.pk}/change/",
        f"{PEOPLE}{user.pk}/deactivate/",
        f"{PEOPLE}{user.pk}/password-link/",
        TRAIL,
        f"{TRAIL}{entry.pk}/change/",
    ]


def test_an_administrator_opens_every_page(browser: Client, admin: User) -> None:
    for page in list_pages(admin):
        assert browser.get(page).status_code == 200, page


@pytest.mark.parametrize("role", ["viewer", "evaluator", None])
def test_nobody_else_opens_any(client: Client, admin: User, role: str | None) -> None:
    user = UserFactory(role=role)
    pages = [*list_pages(admin), f"{PEOPLE}{user.pk}/change/"]
    client.force_login(user)

    for page in pages:
        for answer in (
            client.get(page, follow=True),
            client.post(page, {"name": "x", "role": "admin"}, follow=True),
        ):
            assert answer.status_code == 403, page
    assert User.objects.get(pk=user.pk).role == role


def test_strangers_are_sent_to_the_sign_in_page_and_back(client: Client, admin: User) -> None:
    for page in ("/admin/", PEOPLE, "/admin/login/"):
        answer = client.get(page, follow=True)
        path = answer.request["PATH_INFO"]
        assert (answer.status_code, path) == (200, "/accounts/login/"), page

    answer = client.get(PEOPLE, follow=True)
    target = answer.context["request"].GET["next"]
    body = {"login": admin.email, "password": PASSWORD, "next": target}
    assert client.post("/accounts/login/", body)["Location"] == PEOPLE


def test_the_admin_has_no_door_of_its_own(client: Client, admin: User) -> None:
    for name in ("username", "email", "login"):
        client.post("/admin/login/", {name: admin.email, "password": PASSWORD})

    assert client.get("/api/v1/me/").status_code == 401


def test_passwords_are_changed_on_the_product_s_own_page(browser: Client) -> None:
    assert browser.get("/admin/password_change/")["Location"] == "/accounts/password/change/"
    assert browser.post("/admin/password_change/", {"old_password": PASSWORD}).status_code == 302


def test_the_index_names_people_to_administrators_only(client: Client, admin: User, viewer: User) -> None:
    for user, is_named in ((admin, True), (viewer, False)):
        client.force_login(user)
        assert (PEOPLE in client.get("/admin/").content.decode()) is is_named


def test_a_person_is_made_with_a_role_and_a_link(browser: Client, admin: User) -> None:
    answer = browser.post(
        f"{PEOPLE}add/", {"email": "new@example.com", "name": "New", "role": "evaluator"}, follow=True
    )

    user = User.objects.get(email="new@example.com")
    assert user.role == "evaluator"
    assert AuditEntry.objects.filter(verb="create_user", actor=admin).count() == 1
    link = re.search(r"/accounts/password/reset/key/[^\s<\"]+", answer.content.decode())
    assert link
    form = Client().get(link[0])
    assert form.status_code == 302


@pytest.mark.parametrize(
    ("change", "field"),
    [({"email": "taken@example.com"}, "email"), ({"email": "no"}, "email"), ({"role": "root"}, "role")],
)
def test_what_is_refused_is_said_beside_its_field(
    browser: Client, change: dict[str, str], field: str
) -> None:
    UserFactory(email="taken@example.com")

    answer = browser.post(
        f"{PEOPLE}add/", {"email": "new@example.com", "name": "Kept", "role": "viewer", **change}
    )

    assert answer.status_code == 200
    form = answer.context["adminform"].form
    assert set(form.errors) == {field}
    assert form["name"].value() == "Kept"


def test_a_role_is_changed_and_written_down(browser: Client, admin: User) -> None:
    user = UserFactory(role="viewer")

    answer = browser.post(f"{PEOPLE}{user.pk}/change/", {"name": "Renamed", "role": "evaluator"})

    assert answer.status_code == 302
    fresh = User.objects.get(pk=user.pk)
    assert (fresh.name, fresh.role) == ("Renamed", "evaluator")
    entries = {entry.verb: (entry.before, entry.after) for entry in AuditEntry.objects.all()}
    assert entries["set_name"] == ({"name": user.name}, {"name": "Renamed"})
    assert entries["change_role"] == ({"role": "viewer"}, {"role": "evaluator"})


def test_nothing_else_of_a_person_can_be_posted(browser: Client) -> None:
    user = UserFactory(role="viewer")
    group = Group.objects.get(name="admin")

    browser.post(
        f"{PEOPLE}{user.pk}/change/",
        {
            "name": "N",
            "role": "viewer",
            "email": "other@example.com",
            "is_superuser": "on",
            "is_active": "",
            "password": "x",
            "groups": [group.pk],
        },
    )

    fresh = User.objects.get(pk=user.pk)
    assert (fresh.email, fresh.is_superuser, fresh.is_active) == (user.email, False, True)
    assert (fresh.password, fresh.role) == (user.password, "viewer")


def test_the_last_administrator_stays_and_the_page_says_why(browser: Client, admin: User) -> None:
    answer = browser.post(f"{PEOPLE}{admin.pk}/change/", {"name": "Ada", "role": "viewer"})
    assert answer.status_code == 200
    assert "last active administrator" in answer.content.decode()

    answer = browser.post(f"{PEOPLE}{admin.pk}/deactivate/", follow=True)
    assert "last active administrator" in answer.content.decode()
    fresh = User.objects.get(pk=admin.pk)
    assert (fresh.role, fresh.is_active, fresh.name) == ("admin", True, admin.name)


def test_a_person_is_sent_away_and_taken_back(browser: Client) -> None:
    user = UserFactory(role="viewer")

    assert browser.get(f"{PEOPLE}{user.pk}/deactivate/").status_code == 200
    assert User.objects.get(pk=user.pk).is_active
    browser.post(f"{PEOPLE}{user.pk}/deactivate/")
    assert not User.objects.get(pk=user.pk).is_active
    browser.post(f"{PEOPLE}{user.pk}/reactivate/")
    assert User.objects.get(pk=user.pk).is_active


def test_a_password_link_needs_a_click(browser: Client) -> None:
    user = UserFactory(role="viewer")

    page = browser.get(f"{PEOPLE}{user.pk}/password-link/")
    assert "/password/reset/key/" not in page.content.decode()
    assert not AuditEntry.objects.exists()

    answer = browser.post(f"{PEOPLE}{user.pk}/password-link/", follow=True)
    assert "/password/reset/key/" in answer.content.decode()
    assert AuditEntry.objects.get().verb == "make_password_key"


@pytest.mark.parametrize("page", ["change", "deactivate", "reactivate", "password-link", "delete", "history"])
@pytest.mark.parametrize("key", ["abc", "5", uuid4(), "%00"])
def test_an_address_of_nobody_breaks_nothing(browser: Client, page: str, key: object) -> None:
    assert browser.get(f"{PEOPLE}{key}/{page}/").status_code in {302, 403, 404}


def test_nobody_is_deleted(browser: Client) -> None:
    user = UserFactory(role="viewer")

    assert browser.post(f"{PEOPLE}{user.pk}/delete/", {"post": "yes"}).status_code == 403
    assert User.objects.filter(pk=user.pk).exists()


def test_the_trail_is_read_only(browser: Client, admin: User) -> None:
    services.set_name(actor=admin, user=admin, name="Seen")
    entry = AuditEntry.objects.get()

    assert browser.get(f"{TRAIL}add/").status_code == 403
    assert browser.post(f"{TRAIL}{entry.pk}/change/", {"verb": "x"}).status_code == 403
    assert browser.post(f"{TRAIL}{entry.pk}/delete/", {"post": "yes"}).status_code == 403
    page = browser.get(f"{TRAIL}{entry.pk}/change/").content.decode()
    assert "set_name" in page
    assert "Seen" in page


@pytest.mark.parametrize(
    "query",
    [
        "password__startswith=m",
        "email__regex=(",
        "groups__name=admin",
        "o=99.-5",
        "q=%00",
        "role=nobody",
        "kind=x",
        "is_active__exact=7",
        "p=-1",
        "all=x",
    ],
)
@pytest.mark.parametrize("page", [PEOPLE, TRAIL])
def test_hostile_questions_break_no_list(browser: Client, page: str, query: str) -> None:
    assert browser.get(f"{page}?{query}").status_code in {200, 302}


def test_lists_can_be_narrowed(browser: Client, admin: User, evaluator: User, viewer: User) -> None:
    services.set_name(actor=admin, user=admin, name="Seen")

    def count(url: str) -> int:
        return int(browser.get(url).context["cl"].result_count)

    assert count(PEOPLE) == 3
    assert count(f"{PEOPLE}?role=evaluator") == 1
    assert count(f"{PEOPLE}?q={viewer.email}") == 1
    assert count(f"{PEOPLE}?is_active__exact=0") == 0
    assert count(f"{TRAIL}?kind=accounts.user") == 1
    assert count(f"{TRAIL}?kind=prompts.prompt") == 0


@pytest.mark.parametrize("page", [PEOPLE, TRAIL])
def test_lists_cost_the_same_for_one_and_for_many(browser: Client, admin: User, page: str) -> None:
    services.set_name(actor=admin, user=admin, name="Seen")
    counts = []
    for _ in range(2):
        with CaptureQueriesContext(connection) as queries:
            assert browser.get(page).status_code == 200
        counts.append(len(queries))
        for user in UserFactory.create_batch(5):
            services.set_name(actor=admin, user=user, name="Seen")

    assert counts[0] == counts[1]


def test_the_queue_sessions_and_groups_are_in_no_admin(browser: Client) -> None:
    index: Any = browser.get(reverse("admin:index")).content.decode()

    for path in ("django_q", "sessions", "auth/group", "emailaddress", "ratebucket", "idempotencyrecord"):
        assert f"/admin/{path}" not in index
        assert browser.get(f"/admin/{path}/").status_code == 404
