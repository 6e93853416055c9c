"""Headers that tell browsers what a page may do, and request ids."""

from __future__ import annotations

import re
import uuid

import pytest
from django.test import Client

from mayagen.security import ADMIN_POLICY, NONCE, STRICT_POLICY, build_policy

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.probe_routes")]


def policy_of(client: Client, path: str) -> dict[str, str]:
    header = client.get(path)["Content-Security-Policy"]
    pairs = (directive.split(" ", maxsplit=1) for directive in header.split("; "))
    return {name: values for name, values in pairs}  # noqa: C416 - pairs are lists


@pytest.mark.parametrize("path", ["/api/v1/strange/", "/nothing/", "/admin-not/", "/page/fail/"])
def test_every_answer_has_the_strict_policy(path: str) -> None:
    policy = policy_of(Client(raise_request_exception=False), path)

    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "media-src": "'self'",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "worker-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }


@pytest.mark.parametrize("path", ["/admin/page/", "/admin/fail/"])
def test_only_the_admin_may_evaluate_and_style_inline(path: str) -> None:
    policy = policy_of(Client(raise_request_exception=False), path)

    assert re.fullmatch(r"'self' 'nonce-[A-Za-z0-9_-]{22}' 'unsafe-eval'", policy["script-src"])
    assert policy["style-src"] == "'self' 'unsafe-inline'"
    assert {name for name in policy if policy[name] != STRICT_POLICY.get(name)} >= {"script-src", "style-src"}
    assert set(ADMIN_POLICY) == set(STRICT_POLICY)


def test_the_nonce_is_new_for_every_request(client: Client) -> None:
    first, second = (policy_of(client, "/admin/page/")["script-src"] for _ in range(2))

    assert first != second


def test_a_templates_nonce_is_the_headers(client: Client) -> None:
    response = client.get("/admin/page/")

    nonce = response.wsgi_request.csp_nonce  # type: ignore[attr-defined]
    assert f"'nonce-{nonce}'" in response["Content-Security-Policy"]
    assert NONCE not in build_policy(ADMIN_POLICY, nonce)


def test_a_view_keeps_the_policy_that_it_sets(client: Client) -> None:
    assert client.get("/own-policy/")["Content-Security-Policy"] == "sandbox"


def test_the_other_headers_stand_on_every_answer(client: Client) -> None:
    response = client.get("/api/v1/strange/")

    assert response["Referrer-Policy"] == "same-origin"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert response["X-Frame-Options"] == "DENY"
    assert response["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "camera=()" in response["Permissions-Policy"]


@pytest.mark.parametrize("given", ["a", "Trace-0192", "f" * 64])
def test_a_plain_request_id_is_kept(client: Client, given: str) -> None:
    response = client.get("/api/v1/strange/", headers={"X-Request-ID": given})

    assert response["X-Request-ID"] == given


@pytest.mark.parametrize(
    "given", ["", "f" * 65, "a b", "a\r\nSet-Cookie: x=y", "a\n", "ä", "../x", "a_b", "\x00"]
)
def test_any_other_request_id_is_replaced(client: Client, given: str) -> None:
    response = client.get("/api/v1/strange/", HTTP_X_REQUEST_ID=given)

    assert str(uuid.UUID(response["X-Request-ID"])) == response["X-Request-ID"]
    assert "Set-Cookie" not in response
