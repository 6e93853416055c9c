"""Every page of the admin and every route of the API, for everybody: no error, no markup, no secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.urls import reverse
from drf_spectacular.generators import SchemaGenerator
from rest_framework.test import APIClient

from accounts.models import User
from mayagen.admin_site import PRODUCT_APPS
from tests.accounts.signing_in import sign_in
from tests.contracts.world import (
    MARKUP,
    STORED_KEY,
    World,
    list_admin_addresses,
    list_model_addresses,
    make_world,
)

pytestmark = pytest.mark.django_db

ApiAs = Callable[[User | None], APIClient]
PROVIDER_KEY = "sk-canary-key-of-the-provider"
# The second tells a page that asks again and again that it has seen the end.
OPENED = (200, 286)
# What each first part of an address is about; `{id}` stands for a row of it.
RESOURCES = {
    "assignments": "evaluations.Assignment",
    "dataset-imports": "generations.DatasetImport",
    "datasets": "generations.Dataset",
    "generations": "generations.Generation",
    "image-models": "prompts.ImageModel",
    "labels": "prompts.Label",
    "prompt-versions": "prompts.PromptVersion",
    "prompts": "prompts.Prompt",
    "provider-health": "generations.ProviderHealth",
    "provider-keys": "prompts.ProviderKey",
    "quotas": "generations.Quota",
    "ratings": "evaluations.Rating",
    "review-queues": "evaluations.ReviewQueue",
    "runs": "generations.Run",
    "users": "accounts.User",
}
# A place to sign in, and what holds no data.
OPEN_PATHS = ("/api/v1/auth/token/", "/api/v1/auth/token/refresh/")


@pytest.fixture
def world(settings: Any) -> World:
    settings.PROVIDER_KEYS = {"OPENAI": PROVIDER_KEY}
    return make_world()


def list_operations(world: World) -> Iterator[tuple[str, str]]:
    """Yield method and address of everything that the schema describes, reads first."""
    generator: Any = SchemaGenerator()  # type: ignore[no-untyped-call]
    paths: dict[str, dict[str, Any]] = generator.get_schema(request=None, public=True)["paths"]
    operations = [(method, path) for path, methods in paths.items() for method in methods]
    for method, path in sorted(operations, key=lambda each: (each[0] != "get", each[0] == "delete", each[1])):
        yield method, path.format_map(_Ids(world, path))


class _Ids(dict[str, str]):
    """The id that stands in an address's gap, whatever the gap is called."""

    def __init__(self, world: World, path: str) -> None:
        super().__init__()
        self._world, self._resource = world, path.removeprefix("/api/v1/").split("/")[0]
        if self._resource == "analytics":
            self._resource = "prompt-versions"

    def __missing__(self, _name: str) -> str:
        row = self._world.get(RESOURCES[self._resource])
        return str(row.public_id if self._resource == "assignments" else row.pk)


@pytest.mark.parametrize("role", [None, "evaluator", "viewer", "admin"])
def test_every_route_of_the_api_answers_everybody(
    world: World, api_as: ApiAs, role: str | None, request: pytest.FixtureRequest
) -> None:
    client = api_as(request.getfixturevalue(role) if role else None)
    client.raise_request_exception = False

    answers = {
        (method, address): getattr(client, method)(address, **({} if method == "get" else {"format": "json"}))
        for method, address in list_operations(world)
    }

    assert len(answers) > 60
    failed = {key: answer.status_code for key, answer in answers.items() if answer.status_code >= 500}
    assert failed == {}
    if role is None:
        inside = {answer.status_code for (_, path), answer in answers.items() if path not in OPEN_PATHS}
        assert inside == {401}
    if role in {"admin", "viewer"}:
        for label in ("prompts.Prompt", "prompts.PromptVersion", "generations.Run", "generations.Generation"):
            path = next(path for path, name in RESOURCES.items() if name == label)
            for address in (f"/api/v1/{path}/", f"/api/v1/{path}/{world.get(label).pk}/"):
                assert answers["get", address].status_code == 200, address
    if role == "viewer":
        writes = {
            key: answer.status_code
            for key, answer in answers.items()
            if key[0] != "get" and not key[1].startswith(("/api/v1/auth/", "/api/v1/me/"))
        }
        assert set(writes.values()) <= {400, 403, 404}, writes


def test_only_the_products_own_models_are_in_the_admin() -> None:
    assert {model._meta.app_label for model in admin.site._registry} <= PRODUCT_APPS


def test_admins_open_every_page_and_nothing_becomes_markup(world: World, admin: User) -> None:
    client = sign_in(admin)

    for address in list_admin_addresses(world):
        page = client.get(address, follow=True)

        assert page.status_code in OPENED or (page.status_code == 403 and "/add/" in address), address
        assert MARKUP not in page.content, address
        assert PROVIDER_KEY.encode() not in page.content, address
        assert STORED_KEY.encode() not in page.content, address


def test_viewers_open_what_they_may_see_and_meet_no_secret(world: World, viewer: User, settings: Any) -> None:
    client = sign_in(viewer)
    people = User.objects.exclude(pk=viewer.pk)
    secrets = [PROVIDER_KEY, STORED_KEY, settings.SECRET_KEY, settings.HEADLESS_JWT_PRIVATE_KEY]
    secrets += [person.email for person in people] + [person.password for person in people]

    for address in list_admin_addresses(world):
        page = client.get(address, follow=True)

        assert page.status_code in {*OPENED, 403}, address
        assert MARKUP not in page.content, address
        assert [secret for secret in secrets if secret.encode() in page.content] == [], address


def test_viewers_read_each_model_exactly_when_their_role_says_so(world: World, viewer: User) -> None:
    client = sign_in(viewer)

    for model in admin.site._registry:
        may = viewer.has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")
        listed, new, one = (
            client.get(address, follow=True).status_code for address in list_model_addresses(model, world)
        )

        assert (listed, new, one) == ((200, 403, 200) if may else (403, 403, 403)), model


def test_evaluators_open_no_page_of_the_admin(world: World, evaluator: User) -> None:
    client = sign_in(evaluator)

    for address in list_admin_addresses(world):
        page = client.get(address)

        assert page.status_code in {302, 403, 404}, address
        assert MARKUP not in page.content, address


def test_the_evaluators_own_pages_hold_no_markup_and_nobody_elses_address(world: World) -> None:
    client = sign_in(world.evaluator)
    queue = world.get("evaluations.ReviewQueue")

    for address in (
        reverse("review:queue", args=[queue.pk]),
        reverse("review:history"),
        reverse("review:queue-list"),
    ):
        page = client.get(address, follow=True)

        assert page.status_code == 200, address
        assert MARKUP not in page.content, address
        assert world.author.email.encode() not in page.content, address


def test_viewers_find_nobodys_address_in_the_api(world: World, viewer: User, api_as: ApiAs) -> None:
    client = api_as(viewer)
    others = [person.email.encode() for person in User.objects.exclude(pk=viewer.pk)]

    for method, address in list_operations(world):
        if method == "get":
            body = client.get(address).content
            assert [other for other in others if other in body] == [], address
            assert PROVIDER_KEY.encode() not in body, address
            assert STORED_KEY.encode() not in body, address
