"""The description of the API, its root and the page to browse it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.test import APIClient

from accounts.models import User

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.api_routes")]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    generator: Any = SchemaGenerator(urlconf="tests.mayagen.api_routes")  # type: ignore[no-untyped-call]
    described: dict[str, Any] = generator.get_schema(request=None, public=True)
    return described


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def walk(node: Any) -> Iterator[Any]:
    yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(child)


def test_the_schema_is_sound_openapi_3_1(schema: dict[str, Any]) -> None:
    validate_schema(schema)  # type: ignore[no-untyped-call]

    assert schema["openapi"] == "3.1.0"
    assert not [node for node in walk(schema) if isinstance(node, dict) and "nullable" in node]


def test_every_operation_says_how_it_refuses(schema: dict[str, Any]) -> None:
    for path, method, operation in operations(schema):
        responses = operation["responses"]
        where = f"{method} {path}"
        assert "400" in responses, where
        if "{" in path:
            assert "404" in responses, where
        if method != "get":
            assert {"409", "422"} <= set(responses), where
        for status, response in responses.items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], where


def test_pages_are_described_with_their_parameters(schema: dict[str, Any]) -> None:
    parameters = {item["name"]: item for item in schema["paths"]["/api/v1/prompts/"]["get"]["parameters"]}

    assert {"cursor", "page_size", "ordering"} <= set(parameters)
    assert parameters["page_size"]["schema"]["maximum"] == 100
    page = schema["components"]["schemas"]["PaginatedPromptList"]
    assert page["properties"]["next"]["type"] == ["string", "null"]


def test_both_ways_to_sign_in_are_described(schema: dict[str, Any]) -> None:
    kinds = {scheme["type"] for scheme in schema["components"]["securitySchemes"].values()}

    assert kinds == {"http", "apiKey"}


def test_the_schema_is_served_to_anybody_as_yaml_and_json(client: Client) -> None:
    as_yaml = client.get("/api/v1/schema/")
    as_json = client.get("/api/v1/schema/?format=json")

    assert yaml.safe_load(as_yaml.content)["openapi"] == "3.1.0"
    assert as_json.json()["info"]["title"] == "MayaGen API"


def test_the_page_to_browse_it_needs_nothing_from_elsewhere_and_nothing_inline(client: Client) -> None:
    page = client.get("/api/v1/docs/")
    html = page.content.decode()

    assert page.status_code == 200
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert addresses
    assert all(address.startswith("/") and not address.startswith("//") for address in addresses)
    for address in addresses:
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
    assert "<style" not in html
    assert " style=" not in html
    assert not re.search(r"<script(?![^>]* src=)", html)
    script = client.get("/api/v1/docs/?script=")
    assert script["Content-Type"].startswith("application/javascript")
    assert "/api/v1/schema/" in script.content.decode()
    assert "unsafe" not in page["Content-Security-Policy"]


def test_the_root_lists_what_needs_no_id(api_as: Callable[[User | None], APIClient], viewer: User) -> None:
    root = api_as(viewer).get("/api/v1/").json()

    assert root["prompts"] == "http://testserver/api/v1/prompts/"
    assert {"me", "schema", "auth/token"} <= set(root)
    assert api_as(None).get("/api/v1/").status_code == 401
