"""Every error of the API has one shape, wherever it comes from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.probe_routes")]


@pytest.fixture
def quiet_client() -> Client:
    """A client that gets status 500 instead of the exception."""
    return Client(raise_request_exception=False)


def problem_of(response: Any) -> dict[str, Any]:
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.content)
    assert problem["status"] == response.status_code
    assert problem["type"] == "about:blank"
    assert "secret" not in response.content.decode()
    return problem


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("domain", 409, "conflict"),
        ("domain-default", 422, "invalid"),
        ("missing", 404, "not_found"),
        ("denied", 403, "permission_denied"),
        ("validation", 400, "invalid"),
        ("drf", 400, "invalid"),
        ("throttled", 429, "throttled"),
        ("anonymous", 401, "not_authenticated"),
        ("suspicious", 400, "bad_request"),
        ("operational", 503, "database_unavailable"),
    ],
)
def test_each_kind_of_error_is_a_problem(client: Client, name: str, status: int, code: str) -> None:
    response = client.get(f"/api/v1/raise/{name}/")

    problem = problem_of(response)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]


def test_a_domain_error_brings_its_fields_and_facts(client: Client) -> None:
    problem = problem_of(client.get("/api/v1/raise/domain/"))

    assert problem["title"] == "Conflict"
    assert problem["fields"] == {"label": ["It moved."]}
    assert problem["extra"] == {"number": 3}


def test_nested_messages_are_named_by_their_path(client: Client) -> None:
    problem = problem_of(client.get("/api/v1/raise/drf/"))

    assert problem["fields"] == {"items.1.key": ["Taken."], "non_field_errors": ["No."]}


def test_a_models_validation_error_is_named_by_field(client: Client) -> None:
    problem = problem_of(client.get("/api/v1/raise/validation/"))
    general = problem_of(client.get("/api/v1/raise/validation-general/"))

    assert problem["fields"] == {"name": ["Too short."], "non_field_errors": ["No."]}
    assert general["detail"] == "Not like this."


def test_waiting_and_signing_in_are_told_in_headers(client: Client) -> None:
    assert client.get("/api/v1/raise/throttled/")["Retry-After"] == "3"
    assert client.get("/api/v1/raise/operational/")["Retry-After"] == "5"
    assert client.get("/api/v1/raise/anonymous/")["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["raise/defect/", "raise/integrity/", "fail/"])
def test_a_defect_ends_as_an_internal_error_that_tells_nothing_but_its_id(
    quiet_client: Client, path: str
) -> None:
    response = quiet_client.get(f"/api/v1/{path}", headers={"X-Request-ID": "find-me-7"})

    problem = problem_of(response)
    assert (problem["status"], problem["code"]) == (500, "internal_error")
    assert problem["extra"] == {"request_id": "find-me-7"}


def test_a_broken_constraint_is_not_taken_for_bad_input(client: Client) -> None:
    from django.db import IntegrityError

    with pytest.raises(IntegrityError):
        client.get("/api/v1/raise/integrity/")


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/api/v1/nothing/", {}, 404, "not_found"),
        ("/api/v1/deny/", {}, 403, "permission_denied"),
        ("/api/v1/strange/", {"host": "evil.example"}, 400, "bad_request"),
        ("/api/v1/strange/", {"host": "a\u0001b"}, 400, "bad_request"),
    ],
)
def test_errors_outside_rest_framework_have_the_same_shape(
    client: Client, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    problem = problem_of(client.get(path, headers=headers))

    assert (problem["status"], problem["code"]) == (status, code)


@pytest.mark.parametrize(("path", "status"), [("/nothing/", 404), ("/page/fail/", 500)])
def test_pages_keep_their_own_errors(quiet_client: Client, path: str, status: int) -> None:
    response = quiet_client.get(path)

    assert response.status_code == status
    assert response["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("method", ["TRACE", "POST", "DELETE", "PROPFIND", "OPTIONS"])
def test_another_method_is_refused_and_the_right_ones_named(client: Client, method: str) -> None:
    response = client.generic(method, "/api/v1/strange/", headers={"X-HTTP-Method-Override": "GET"})

    assert problem_of(response)["code"] == "method_not_allowed"
    assert "GET" in response["Allow"]
