"""The door: signing in by the page, getting a new password, and being kept out."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core import mail
from django.db.models import F
from django.test import Client
from django.urls import NoReverseMatch, reverse
from rest_framework.test import APIClient

from accounts import services, sign_in_limits
from accounts.models import AuditEntry, RateBucket, User
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

LOGIN = "/accounts/login/"
ME = "/api/v1/me/"
OWNER_ADDRESS = "203.0.113.7"
NEW_PASSWORD = "quite another pass phrase"


def sign_in(client: Client, email: str, password: str, *, at: str = OWNER_ADDRESS, **query: str) -> int:
    body = {"login": email, "password": password, **query}
    return int(client.post(LOGIN, body, REMOTE_ADDR=at).status_code)


def test_the_right_password_leads_home(client: Client, admin: User) -> None:
    answer = client.post(LOGIN, {"login": admin.email.upper(), "password": PASSWORD})

    assert (answer.status_code, answer["Location"]) == (302, "/")
    assert client.get(ME).json()["email"] == admin.email


def test_a_wrong_password_says_so_and_keeps_the_address(client: Client, admin: User) -> None:
    answer = client.post(LOGIN, {"login": admin.email, "password": "wrong"})

    assert answer.status_code == 200
    assert answer.context["form"].non_field_errors() == ["The e-mail address or the password is wrong."]
    assert answer.context["form"]["login"].value() == admin.email
    assert b"wrong." in answer.content


def test_strangers_hear_the_same_as_people_with_a_wrong_password(client: Client, admin: User) -> None:
    errors = [
        client.post(LOGIN, {"login": email, "password": "wrong"}).context["form"].errors
        for email in (admin.email, "nobody@example.com")
    ]

    assert errors[0] == errors[1]


def test_a_deactivated_person_hears_why(client: Client) -> None:
    gone = UserFactory(is_active=False)

    answer = client.post(LOGIN, {"login": gone.email, "password": PASSWORD})

    assert answer.status_code == 200
    assert "deactivated" in answer.context["form"].non_field_errors()[0]
    assert client.get(ME).status_code == 401


@pytest.mark.parametrize(
    "login", ["per\u017fon@example.com", "\u212aate@example.com", "no address", "", "a\x00@example.com"]
)
def test_what_is_no_address_is_refused_in_peace(client: Client, login: str) -> None:
    UserFactory(email="person@example.com")
    UserFactory(email="kate@example.com")

    assert sign_in(client, login, PASSWORD) == 200
    assert client.get(ME).status_code == 401


def test_signing_in_takes_a_new_session(client: Client, admin: User) -> None:
    session = client.session
    session["planted"] = "by somebody"
    session.save()
    before = session.session_key

    sign_in(client, admin.email, PASSWORD)

    assert client.session.session_key != before
    assert not Session.objects.filter(session_key=before).exists()


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
    ],
)
def test_next_never_leads_elsewhere(client: Client, admin: User, target: str) -> None:
    answer = client.post(
        f"{LOGIN}?next={target}", {"login": admin.email, "password": PASSWORD, "next": target}
    )

    assert (answer.status_code, answer["Location"]) == (302, "/")


def test_next_leads_to_our_own_pages(client: Client, admin: User) -> None:
    answer = client.post(LOGIN, {"login": admin.email, "password": PASSWORD, "next": "/review/"})

    assert answer["Location"] == "/review/"


def test_who_is_signed_in_already_goes_home(client: Client, admin: User) -> None:
    client.force_login(admin)

    answer = client.get(LOGIN)

    assert (answer.status_code, answer["Location"]) == (302, "/")


@pytest.mark.parametrize("role", ["admin", "viewer", "evaluator", None])
def test_home_is_where_the_role_works(client: Client, role: str | None) -> None:
    client.force_login(UserFactory(role=role))
    expected = reverse("admin:index") if role in {"admin", "viewer"} else reverse("review:queue-list")

    assert client.get("/")["Location"] == expected


def test_signing_out_ends_the_session(client: Client, admin: User) -> None:
    client.force_login(admin)

    assert client.post("/accounts/logout/").status_code == 302
    assert client.get(ME).status_code == 401
    assert not Session.objects.exists()


def test_nobody_signs_up(client: Client) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("account_signup")
    for path in ("signup", "email", "social/signup", "confirm-email"):
        assert client.get(f"/accounts/{path}/").status_code == 404
        assert client.post(f"/accounts/{path}/", {"email": "a@example.com"}).status_code == 404
    assert not User.objects.exists()


def test_the_page_needs_its_csrf_token(admin: User) -> None:
    client = Client(enforce_csrf_checks=True)

    assert sign_in(client, admin.email, PASSWORD) == 403


def test_six_wrong_passwords_from_one_address_have_to_wait(client: Client, admin: User) -> None:
    statuses = [sign_in(client, admin.email, f"guess {n}") for n in range(6)]
    answer = client.post(LOGIN, {"login": admin.email, "password": PASSWORD}, REMOTE_ADDR=OWNER_ADDRESS)

    assert statuses == [200] * 5 + [429]
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 60
    assert "Too many failed" in answer.content.decode()


def test_the_owner_gets_in_from_a_clean_address_while_one_other_guesses(client: Client, admin: User) -> None:
    for n in range(12):
        sign_in(client, admin.email, f"guess {n}", at="198.51.100.1")

    assert sign_in(client, admin.email, PASSWORD) == 302


def test_the_owner_gets_in_while_forty_addresses_guess(client: Client, admin: User) -> None:
    attempts = [
        sign_in_limits.begin_attempt(email=admin.email, address=f"198.51.100.{n}")
        for n in range(40)
        for _guess in range(5)
    ]

    # Thirty at once for all addresses together; then each is left with three in a quarter of an hour.
    assert sum(not attempt.wait_seconds for attempt in attempts) == 6 * 5 + 34 * 3
    assert sign_in(client, admin.email, PASSWORD) == 302


def test_one_address_that_tries_many_accounts_has_to_wait(client: Client) -> None:
    statuses = [sign_in(client, f"person{n}@example.com", "guess") for n in range(31)]

    assert statuses == [200] * 30 + [429]


def test_an_ipv6_visitor_is_their_network(client: Client, admin: User) -> None:
    statuses = [sign_in(client, admin.email, f"guess {n}", at=f"2001:db8:1:2::{n + 1:x}") for n in range(6)]

    assert statuses == [200] * 5 + [429]


def test_right_passwords_are_not_counted(admin: User) -> None:
    assert [sign_in(Client(), admin.email, PASSWORD) for _ in range(12)] == [302] * 12


def test_after_the_wait_the_password_is_looked_at_again(client: Client, admin: User) -> None:
    for n in range(6):
        sign_in(client, admin.email, f"guess {n}")
    RateBucket.objects.update(arrival_at=F("arrival_at") - timedelta(seconds=61))

    assert sign_in(client, admin.email, PASSWORD) == 302


def test_page_and_api_share_one_count(client: Client, admin: User) -> None:
    for n in range(5):
        sign_in(client, admin.email, f"guess {n}", at="127.0.0.1")

    answer = APIClient().post(
        "/api/v1/auth/token/", {"email": admin.email, "password": PASSWORD}, format="json"
    )

    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert answer.json()["code"] == "throttled"


def test_a_made_up_forwarded_address_changes_nothing(client: Client, admin: User) -> None:
    statuses = [
        client.post(
            LOGIN, {"login": admin.email, "password": "guess"}, headers={"x-forwarded-for": f"10.0.0.{n}"}
        ).status_code
        for n in range(6)
    ]

    assert statuses[-1] == 429


def get_reset_link(client: Client, email: str) -> str:
    answer = client.post("/accounts/password/reset/", {"email": email})
    assert answer.status_code == 302
    found = re.search(r"https?://[^/]+(/accounts/password/reset/key/\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def set_password(client: Client, link: str, password: str) -> int:
    form = client.get(link)
    if form.status_code != 302:
        return int(form.status_code)
    return int(client.post(form["Location"], {"password1": password, "password2": password}).status_code)


def test_a_mailed_link_sets_a_password_once(client: Client, admin: User) -> None:
    session = Client()
    session.force_login(admin)
    link = get_reset_link(client, admin.email)

    assert set_password(Client(), link, NEW_PASSWORD) == 302
    assert set_password(Client(), link, "yet another pass phrase") == 400
    assert sign_in(Client(), admin.email, NEW_PASSWORD) == 302
    assert session.get(ME).status_code == 401
    assert AuditEntry.objects.get().verb == "set_own_password"


def test_a_link_is_dead_after_the_password_was_changed(client: Client, admin: User) -> None:
    link = get_reset_link(client, admin.email)
    services.set_own_password(actor=admin, password=NEW_PASSWORD)

    assert set_password(Client(), link, "yet another pass phrase") == 400


@pytest.mark.parametrize("link", ["abc-def", "0-set-password", "01a1fdd233437044ac7bb57430ddeeb3-x-y"])
def test_a_made_up_link_gets_400(client: Client, link: str) -> None:
    assert client.get(f"/accounts/password/reset/key/{link}/").status_code == 400


def test_strangers_get_no_mail_and_the_same_page(client: Client) -> None:
    answer = client.post("/accounts/password/reset/", {"email": "nobody@example.com"})

    assert answer.status_code == 302
    assert not mail.outbox


def test_the_deactivated_get_no_mail(client: Client) -> None:
    gone = UserFactory(is_active=False)

    client.post("/accounts/password/reset/", {"email": gone.email})

    assert not mail.outbox


def test_a_look_alike_address_gets_no_mail(client: Client) -> None:
    UserFactory(email="kate@example.com")

    answer = client.post("/accounts/password/reset/", {"email": "\u212aate@example.com"})

    assert answer.status_code == 200
    assert answer.context["form"].errors
    assert not mail.outbox


def test_the_mail_names_our_own_host(client: Client, admin: User) -> None:
    for headers in ({"x-forwarded-host": "evil.example"}, {"host": "localhost"}):
        client.post("/accounts/password/reset/", {"email": admin.email}, headers=headers)

    assert all("evil.example" not in message.body for message in mail.outbox)
    assert client.post("/accounts/password/reset/", headers={"host": "evil.example"}).status_code == 400


def test_mails_are_limited(client: Client, admin: User) -> None:
    statuses = [
        client.post("/accounts/password/reset/", {"email": admin.email}).status_code for _ in range(4)
    ]

    assert statuses == [302, 302, 302, 429]
    assert len(mail.outbox) == 3


def test_changing_the_password_keeps_this_session_and_ends_the_others(client: Client, admin: User) -> None:
    other = Client()
    for browser in (client, other):
        browser.force_login(admin)
    body = {"oldpassword": PASSWORD, "password1": NEW_PASSWORD, "password2": NEW_PASSWORD}

    assert client.post("/accounts/password/change/", body).status_code == 302
    assert client.get(ME).status_code == 200
    assert other.get(ME).status_code == 401


def test_an_open_browser_gives_few_guesses_at_the_old_password(client: Client, admin: User) -> None:
    client.force_login(admin)
    body = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD}

    statuses = [
        client.post("/accounts/password/change/", {**body, "oldpassword": f"guess {n}"}).status_code
        for n in range(6)
    ]
    last = client.post("/accounts/password/change/", {**body, "oldpassword": PASSWORD})

    assert statuses == [200] * 5 + [429]
    assert (last.status_code, "Too many wrong" in last.content.decode()) == (429, True)
    assert User.objects.get(pk=admin.pk).check_password(PASSWORD)


def test_strangers_change_no_password(client: Client) -> None:
    for path in ("change", "set"):
        answer = client.get(f"/accounts/password/{path}/")
        assert (answer.status_code, answer["Location"].partition("?")[0]) == (302, LOGIN)


def test_a_session_from_before_a_deactivation_stays_dead(client: Client, admin: User) -> None:
    user = UserFactory(role="evaluator")
    client.force_login(user)

    services.deactivate_user(actor=admin, user=user)
    assert client.get(ME).status_code == 401
    services.reactivate_user(actor=admin, user=user)

    assert client.get(ME).status_code == 401


def test_audit_entries_name_the_address(
    api_as: Callable[[User], APIClient], admin: User, settings: object
) -> None:
    body = {"email": "new@example.com", "role": "viewer"}
    for proxies, expected in ((0, "192.0.2.1"), (1, "203.0.113.9"), (3, "192.0.2.1")):
        settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies  # type: ignore[attr-defined]
        answer = api_as(admin).patch(
            f"/api/v1/users/{admin.pk}/",
            {"name": f"Ada {proxies}"},
            format="json",
            headers={"x-forwarded-for": "6.6.6.6, 203.0.113.9"},
            REMOTE_ADDR="192.0.2.1",
        )
        assert answer.status_code == 200, answer.content
        assert AuditEntry.objects.order_by("-id")[0].ip_address == expected
    assert body
