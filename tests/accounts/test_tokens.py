"""Tokens of scripts: what they open, and what ends them."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import jwt as pyjwt
import pytest
from allauth.headless.tokens.strategies.jwt import internal as strategy
from django.conf import settings as django_settings
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django.asserts import assertNumQueries
from rest_framework.test import APIClient

from accounts import services
from accounts.models import User
from tests.accounts.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

TOKEN = "/api/v1/auth/token/"
REFRESH = "/api/v1/auth/token/refresh/"
ME = "/api/v1/me/"


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def tokens(api: APIClient, admin: User) -> dict[str, Any]:
    return sign_in(api, admin)


def sign_in(api: APIClient, user: User, password: str = PASSWORD) -> dict[str, Any]:
    answer = api.post(TOKEN, {"email": user.email, "password": password}, format="json")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def ask(token: str) -> int:
    return int(APIClient().get(ME, headers={"authorization": f"Bearer {token}"}).status_code)


def refresh(token: str) -> Any:
    return APIClient().post(REFRESH, {"refresh_token": token}, format="json")


def forge(claims: dict[str, Any], *, key: str | None = None, **headers: str) -> str:
    signing_key = django_settings.HEADLESS_JWT_PRIVATE_KEY if key is None else key
    return pyjwt.encode(claims, signing_key, algorithm="HS256", headers=headers or None)


def read(token: str) -> dict[str, Any]:
    return dict(pyjwt.decode(token, options={"verify_signature": False}))


def test_sign_in_gives_a_pair_and_nothing_else(api: APIClient, admin: User) -> None:
    answer = api.post(TOKEN, {"email": admin.email.upper(), "password": PASSWORD}, format="json")

    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "refresh_token", "expires_in", "token_type"}
    assert (answer.json()["expires_in"], answer.json()["token_type"]) == (900, "Bearer")
    assert answer.headers["Cache-Control"] == "no-store"
    assert not answer.cookies


def test_tokens_live_15_minutes_and_7_days(tokens: dict[str, Any]) -> None:
    lives = [read(tokens[name]) for name in ("access_token", "refresh_token")]

    assert [claims["exp"] - claims["iat"] for claims in lives] == [15 * 60, 7 * 24 * 3600]


def test_tokens_are_signed_by_their_own_key(tokens: dict[str, Any]) -> None:
    own_key = django_settings.HEADLESS_JWT_PRIVATE_KEY

    assert own_key
    assert own_key != django_settings.SECRET_KEY
    assert pyjwt.decode(tokens["access_token"], own_key, algorithms=["HS256"])
    with pytest.raises(pyjwt.InvalidSignatureError):
        pyjwt.decode(tokens["access_token"], django_settings.SECRET_KEY, algorithms=["HS256"])


def test_an_access_token_opens_the_api_with_two_queries(tokens: dict[str, Any], admin: User) -> None:
    client = APIClient(headers={"authorization": f"Bearer {tokens['access_token']}"})

    with assertNumQueries(2):
        answer = client.get(ME)

    assert answer.json()["email"] == admin.email


def test_a_wrong_password_gets_401_that_says_how_to_ask(api: APIClient, admin: User) -> None:
    answer = api.post(TOKEN, {"email": admin.email, "password": "wrong"}, format="json")

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'
    assert answer.json()["code"] == "authentication_failed"


def test_strangers_and_the_deactivated_get_the_same_answer_as_a_wrong_password(api: APIClient) -> None:
    gone = UserFactory(is_active=False)

    answers = [
        api.post(TOKEN, {"email": email, "password": PASSWORD}, format="json")
        for email in ("nobody@example.com", gone.email)
    ]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "a@example.com"},
        {"email": ["a@example.com"], "password": "x"},
        {"email": "a@example.com", "password": {"x": 1}},
        {"email": "a@example.com", "password": ""},
        {"email": "a@example.com", "password": "x" * 1025},
        {"email": "a" * 300 + "@example.com", "password": "x"},
        {"email": "a\u0000@example.com", "password": "x"},
        [],
        "text",
        None,
    ],
)
def test_a_body_that_is_no_sign_in_gets_400(api: APIClient, body: Any) -> None:
    assert api.post(TOKEN, body, format="json").status_code == 400


@pytest.mark.parametrize(
    "email", ["not an address", "per\u017fon@example.com", "\u212aate@example.com", "ada@ex\u00e4mple.com"]
)
def test_an_address_that_is_none_or_looks_like_one_matches_nobody(api: APIClient, email: str) -> None:
    UserFactory(email="person@example.com")
    UserFactory(email="kate@example.com")

    assert api.post(TOKEN, {"email": email, "password": PASSWORD}, format="json").status_code == 401


def test_a_password_may_begin_and_end_with_spaces(api: APIClient) -> None:
    user = UserFactory(password="  spaces matter here  ")

    assert sign_in(api, user, "  spaces matter here  ")
    answer = api.post(TOKEN, {"email": user.email, "password": "spaces matter here"}, format="json")
    assert answer.status_code == 401


def test_signing_in_works_whatever_stale_credentials_come_along(admin: User, tokens: dict[str, Any]) -> None:
    for headers in (
        {"authorization": "Bearer stale"},
        {"authorization": f"Bearer {tokens['access_token']}"},
        {"x-session-token": "stale"},
    ):
        assert sign_in(APIClient(headers=headers), admin)


def test_a_form_body_is_refused(api: APIClient, admin: User) -> None:
    answer = api.post(TOKEN, {"email": admin.email, "password": PASSWORD}, format="multipart")

    assert answer.status_code == 415


def test_the_session_behind_a_token_is_no_cookie_of_the_pages(tokens: dict[str, Any]) -> None:
    key = Session.objects.get().session_key

    assert key not in json.dumps(tokens)
    assert key not in base64.b64decode(read(tokens["access_token"])["sid"]).decode("latin-1")


def list_forgeries(access_token: str) -> Iterator[tuple[str, str]]:
    claims = read(access_token)
    header, body, signature = access_token.split(".")
    none_header = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    yield "alg none", f"{none_header}.{body}."
    yield "alg none, signature kept", f"{none_header}.{body}.{signature}"
    yield "no signature", f"{header}.{body}."
    yield "other key", forge(claims, key="x" * 64)
    yield "the site's secret key", forge(claims, key=django_settings.SECRET_KEY)
    yield "key of NULs named by kid", forge(claims, key="\0" * 32, kid="../../dev/null")
    yield "key address", forge(claims, key="x" * 64, jku="https://evil.example/keys")
    yield "expired one second ago", forge({**claims, "exp": int(time.time()) - 1})
    yield "not a number as end", forge({**claims, "exp": "soon"})
    yield "sub of nobody", forge({**claims, "sub": "abc"})
    yield "sub of another", forge({**claims, "sub": str(uuid4())})
    yield "sub a number", forge({**claims, "sub": 5})
    yield "sid of nothing", forge({**claims, "sid": "abc"})
    yield "sid of an ended session", forge({**claims, "sid": strategy.session_key_to_sid("a" * 32)})
    yield "no use named", forge({name: value for name, value in claims.items() if name != "token_use"})
    yield "refresh use", forge({**claims, "token_use": "refresh"})
    yield "empty", ""
    yield "words", "not.a.token"
    yield "huge", "a" * 5000


def test_no_forged_token_opens_anything(tokens: dict[str, Any], subtests: pytest.Subtests) -> None:
    assert ask(tokens["access_token"]) == 200

    for name, token in list_forgeries(tokens["access_token"]):
        with subtests.test(name):
            assert ask(token) == 401
    assert ask(tokens["access_token"]) == 200


def test_no_forged_token_is_renewed(tokens: dict[str, Any], subtests: pytest.Subtests) -> None:
    for name, token in list_forgeries(tokens["refresh_token"]):
        with subtests.test(name):
            assert refresh(token).status_code in ({400} if name in {"empty", "huge"} else {401})


def test_a_refresh_token_is_no_access_token_and_the_other_way_round(tokens: dict[str, Any]) -> None:
    assert ask(tokens["refresh_token"]) == 401
    assert refresh(tokens["access_token"]).status_code == 401
    assert refresh(tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer a b", "Token abc", "Bearer \xff", "bearer"])
def test_a_header_that_is_no_bearer_token_gets_401(db: None, header: str) -> None:
    answer = APIClient().get(ME, headers={"authorization": header})

    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_refreshing_gives_a_new_pair_with_the_same_shape(tokens: dict[str, Any]) -> None:
    answer = refresh(tokens["refresh_token"])

    assert answer.status_code == 200
    assert set(answer.json()) == {"access_token", "refresh_token", "expires_in", "token_type"}
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    assert ask(answer.json()["access_token"]) == 200
    assert ask(tokens["access_token"]) == 200


def test_a_reused_refresh_token_ends_the_sign_in(tokens: dict[str, Any]) -> None:
    second = refresh(tokens["refresh_token"]).json()

    replay = refresh(tokens["refresh_token"])

    assert replay.status_code == 401
    assert refresh(second["refresh_token"]).status_code == 401
    assert ask(second["access_token"]) == 401
    assert not Session.objects.exists()


def test_a_reused_refresh_token_leaves_other_sign_ins_alone(admin: User, tokens: dict[str, Any]) -> None:
    other = sign_in(APIClient(), admin)
    refresh(tokens["refresh_token"])
    refresh(tokens["refresh_token"])

    assert ask(other["access_token"]) == 200
    assert refresh(other["refresh_token"]).status_code == 200


def test_signing_out_ends_both_tokens(tokens: dict[str, Any]) -> None:
    client = APIClient(headers={"authorization": f"Bearer {tokens['access_token']}"})

    assert client.delete(TOKEN).status_code == 204
    assert client.delete(TOKEN).status_code == 401
    assert ask(tokens["access_token"]) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_signing_out_needs_a_token_and_is_no_way_to_end_a_browser_session(admin: User) -> None:
    client = APIClient()
    client.force_login(admin)

    assert client.delete(TOKEN).status_code == 401
    assert client.get(ME).status_code == 200


def test_a_deactivated_person_is_out_at_the_next_request(admin: User) -> None:
    user = UserFactory(role="evaluator")
    tokens = sign_in(APIClient(), user)

    services.deactivate_user(actor=admin, user=user)

    assert ask(tokens["access_token"]) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_tokens_from_before_a_deactivation_stay_dead_after_the_return(admin: User) -> None:
    user = UserFactory(role="evaluator")
    tokens = sign_in(APIClient(), user)

    services.deactivate_user(actor=admin, user=user)
    services.reactivate_user(actor=admin, user=user)

    assert ask(tokens["access_token"]) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401
    assert ask(sign_in(APIClient(), user)["access_token"]) == 200


def test_a_deleted_person_gets_401() -> None:
    user = UserFactory(role="evaluator")
    tokens = sign_in(APIClient(), user)
    user.delete()

    assert ask(tokens["access_token"]) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_a_new_password_ends_all_tokens(tokens: dict[str, Any], admin: User) -> None:
    services.set_own_password(actor=admin, password="quite another pass phrase")

    assert ask(tokens["access_token"]) == 401
    assert refresh(tokens["refresh_token"]).status_code == 401


def test_a_role_change_holds_at_the_next_request(admin: User) -> None:
    user = UserFactory(role="viewer")
    token = sign_in(APIClient(), user)["access_token"]
    client = APIClient(headers={"authorization": f"Bearer {token}"})
    assert client.get(ME).json()["role"] == "viewer"

    services.change_role(actor=admin, user=user, role="evaluator")

    answer = client.get(ME).json()
    assert (answer["role"], answer["permissions"]) == ("evaluator", ["evaluations.review"])


def test_a_wrong_token_is_not_saved_by_a_good_session(admin: User) -> None:
    client = APIClient(headers={"authorization": "Bearer wrong"})
    client.force_login(admin)

    assert client.get(ME).status_code == 401


def test_a_session_writes_only_with_the_csrf_token(admin: User) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(admin)

    assert client.get(ME).status_code == 200
    assert client.patch(ME, {"name": "Mallory"}, format="json").status_code == 403
    admin.refresh_from_db()
    assert admin.name == "Ada Admin"


def test_a_token_writes_without_a_csrf_token(tokens: dict[str, Any]) -> None:
    client = APIClient(
        enforce_csrf_checks=True, headers={"authorization": f"Bearer {tokens['access_token']}"}
    )

    assert client.patch(ME, {"name": "Ada"}, format="json").status_code == 200


def test_a_session_request_costs_two_queries(admin: User, client: Client) -> None:
    client.force_login(admin)

    with assertNumQueries(2):
        assert client.get(ME).status_code == 200
