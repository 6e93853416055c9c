"""Prompts, versions, image models and labels over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from prompts.models import ImageModel, Label, Prompt, PromptVersion
from tests.prompts.factories import (
    RENDERER_SCHEMA,
    ImageModelFactory,
    LabelFactory,
    PromptFactory,
    PromptVersionFactory,
)

ROOT = "/api/v1/"
NOBODYS_ID = "3f2b9a52-6c1e-4b7d-9d0e-5a8c7e4f1b20"
ApiAs = Callable[[User | None], APIClient]


@pytest.fixture
def as_admin(api_as: ApiAs, admin: User) -> APIClient:
    return api_as(admin)


def assert_refused(response: Any, status: int, code: str, field: str | None = None) -> None:
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    problem = response.json()
    assert problem["code"] == code
    assert problem["detail"].endswith((".", "!", "?"))
    if field is not None:
        assert field in problem["fields"]


def test_a_prompt_is_made_changed_deleted_and_restored(as_admin: APIClient) -> None:
    made = as_admin.post(ROOT + "prompts/", {"name": "Product photo", "tags": ["shop"]}, format="json")
    assert made.status_code == 201
    prompt = made.json()
    assert (prompt["slug"], prompt["n_versions"], prompt["newest_version"]) == ("product-photo", 0, None)
    address = f"{ROOT}prompts/{prompt['id']}/"

    changed = as_admin.patch(address, {"name": "Other"}, format="json").json()
    assert (changed["name"], changed["tags"]) == ("Other", ["shop"])

    assert as_admin.delete(address).status_code == 204
    assert as_admin.get(ROOT + "prompts/").json()["results"] == []
    listed = as_admin.get(ROOT + "prompts/?include_deleted=true").json()["results"]
    assert [row["id"] for row in listed] == [prompt["id"]]
    assert as_admin.get(address).json()["deleted_at"] is not None
    assert_refused(as_admin.delete(address), 409, "already_deleted")

    assert as_admin.post(address + "restore/").json()["deleted_at"] is None
    assert_refused(as_admin.post(address + "restore/"), 409, "not_deleted")


def test_a_version_is_made_from_another_and_compared_with_it(as_admin: APIClient) -> None:
    parent = PromptVersionFactory(user_prompt="A photo of {subject}", used=True)

    made = as_admin.post(
        ROOT + "prompt-versions/",
        {
            "prompt": str(parent.prompt.pk),
            "parent": str(parent.pk),
            "user_prompt": "A drawing of {subject} in {style}",
            "parameters": {"style": "waves"},
            "temperature": "0.70",
        },
        format="json",
    )

    assert made.status_code == 201, made.content
    version = made.json()
    assert (version["number"], version["variables"]) == (2, ["subject", "style"])
    assert version["parameters"] == {"style": "waves", "detail": 4}
    diff = as_admin.get(f"{ROOT}prompt-versions/{parent.pk}/diff/?with={version['id']}").json()
    assert [change["name"] for change in diff["changes"]] == ["user_prompt", "parameters", "temperature"]
    row = diff["changes"][0]["rows"][0]
    changed = [segment["text"] for segment in row["after"]["segments"] if segment["is_changed"]]
    assert changed[0] == "drawing"


def test_a_used_version_is_not_patched_and_an_unused_one_is(as_admin: APIClient) -> None:
    used, unused = PromptVersionFactory(used=True), PromptVersionFactory()

    refused = as_admin.patch(f"{ROOT}prompt-versions/{used.pk}/", {"user_prompt": "x"}, format="json")
    changed = as_admin.patch(f"{ROOT}prompt-versions/{unused.pk}/", {"user_prompt": "x"}, format="json")

    assert_refused(refused, 409, "version_in_use")
    assert changed.json()["user_prompt"] == "x"


def test_versions_are_filtered_and_ordered(as_admin: APIClient) -> None:
    first = PromptVersionFactory()
    second = PromptVersionFactory(prompt=first.prompt)
    deleted = PromptVersionFactory(prompt=first.prompt, deleted=True)
    LabelFactory(version=second, prompt=first.prompt)
    PromptVersionFactory()

    def list_ids(query: str) -> list[str]:
        response = as_admin.get(f"{ROOT}prompt-versions/?{query}")
        assert response.status_code == 200, response.content
        return [row["id"] for row in response.json()["results"]]

    of_prompt = f"prompt={first.prompt.pk}"
    assert list_ids(of_prompt) == [str(second.pk), str(first.pk)]
    assert list_ids(f"{of_prompt}&ordering=number") == [str(first.pk), str(second.pk)]
    assert list_ids(f"{of_prompt}&include_deleted=true")[0] == str(deleted.pk)
    assert list_ids("label=production") == [str(second.pk)]
    assert list_ids(f"{of_prompt}&number=1") == [str(first.pk)]
    assert list_ids(f"{of_prompt}&created_before=2020-01-01") == []
    assert len(list_ids(f"{of_prompt}&created_after=2020-01-01T00:00:00Z")) == 2
    assert list_ids(f"prompt={uuid4()}") == []


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("prompts/?ordering=password", "invalid_parameter"),
        ("prompts/?name__regex=(", "unknown_parameter"),
        ("prompts/?label=%00", "invalid_parameter"),
        ("prompts/?cursor=abc", "invalid_cursor"),
        ("prompts/?include_deleted=maybe", "invalid_parameter"),
        ("prompts/?created_after=yesterday", "invalid_parameter"),
        ("prompts/?slug=a&slug=b", "invalid_parameter"),
        ("prompt-versions/?prompt=5", "invalid_parameter"),
        ("prompt-versions/?number=1_000", "invalid_parameter"),
        ("image-models/?provider=midjourney", "invalid_parameter"),
        ("image-models/?credential_name=OPENAI", "unknown_parameter"),
        ("labels/?version__user_prompt__startswith=a", "unknown_parameter"),
    ],
)
def test_a_list_asked_wrongly_is_refused(as_admin: APIClient, address: str, code: str) -> None:
    assert_refused(as_admin.get(ROOT + address), 400, code)


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"user_prompt": "{x.__class__.__init__.__globals__}"}, 400, "template_syntax", "user_prompt"),
        ({"user_prompt": ""}, 400, "invalid", "user_prompt"),
        ({"negative_prompt": "{x:>9}"}, 400, "template_syntax", "negative_prompt"),
        ({"parameters": {"detail": 99}}, 400, "parameters_invalid", "parameters.detail"),
        ({"parameters": {"steps": 1}}, 400, "parameters_invalid", "parameters.steps"),
        ({"parameters": []}, 400, "invalid", "parameters"),
        ({"n_outputs": 5}, 422, "too_many_outputs", "n_outputs"),
        ({"n_outputs": "1_0"}, 400, "invalid", "n_outputs"),
        ({"n_outputs": 10**15}, 422, "fields_invalid", "n_outputs"),
        ({"image_model": 5}, 400, "invalid", "image_model"),
        ({"image_model": NOBODYS_ID}, 400, "invalid", "image_model"),
        ({"resolution_px": 500}, 400, "invalid", "resolution_px"),
        ({"temperature": 9}, 422, "fields_invalid", "temperature"),
        ({"number": 7}, 400, "invalid", "number"),
        ({"first_used_at": None}, 400, "invalid", "first_used_at"),
    ],
)
def test_a_bad_version_is_refused_and_not_stored(
    as_admin: APIClient, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    parent = PromptVersionFactory()
    body = {"prompt": str(parent.prompt.pk), "parent": str(parent.pk), **fields}

    assert_refused(as_admin.post(ROOT + "prompt-versions/", body, format="json"), status, code, field)
    response = as_admin.patch(f"{ROOT}prompt-versions/{parent.pk}/", fields, format="json")
    assert_refused(response, status, code, field)

    assert PromptVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_parameter"),
        ("?with=abc", 400, "invalid_parameter"),
        (f"?with={NOBODYS_ID}", 404, "not_found"),
        ("?other=1", 400, "unknown_parameter"),
    ],
)
def test_a_diff_needs_another_version(as_admin: APIClient, query: str, status: int, code: str) -> None:
    version = PromptVersionFactory()

    assert_refused(as_admin.get(f"{ROOT}prompt-versions/{version.pk}/diff/{query}"), status, code)


def test_an_image_model_is_made_and_changed(as_admin: APIClient) -> None:
    body = {"name": "Renderer", "provider": "embedded", "parameters_schema": RENDERER_SCHEMA}
    made = as_admin.post(ROOT + "image-models/", body, format="json")
    assert made.status_code == 201, made.content
    address = f"{ROOT}image-models/{made.json()['id']}/"

    changed = as_admin.patch(address, {"price_usd": "0.04", "is_active": False}, format="json").json()

    assert (changed["price_usd"], changed["is_active"]) == ("0.040000", False)
    refused = as_admin.patch(address, {"base_url": "file:///etc/passwd"}, format="json")
    assert_refused(refused, 422, "fields_invalid", "base_url")
    refused = as_admin.patch(address, {"parameters_schema": {"$ref": "http://x/"}}, format="json")
    assert_refused(refused, 400, "schema_invalid", "parameters_schema")
    assert as_admin.delete(address).status_code == 204
    assert as_admin.post(address + "restore/").status_code == 200


def test_a_viewer_sees_a_model_without_where_it_is_reached(api_as: ApiAs, viewer: User, admin: User) -> None:
    model = ImageModelFactory(paid=True)
    private = {"endpoint", "base_url", "credential_name", "provider_options"}

    for address in (f"{ROOT}image-models/", f"{ROOT}image-models/{model.pk}/"):
        shown = api_as(viewer).get(address)
        assert b"images.example.com" not in shown.content
        assert b"OPENAI" not in shown.content
        row = shown.json().get("results", [shown.json()])[0]
        assert not private & row.keys()
        row = api_as(admin).get(address).json()
        assert private <= row.get("results", [row])[0].keys()


def test_a_label_is_moved_only_from_where_it_was_seen(as_admin: APIClient) -> None:
    first = PromptVersionFactory()
    second = PromptVersionFactory(prompt=first.prompt)
    body = {"prompt": str(first.prompt.pk), "name": "production", "version": str(first.pk)}
    made = as_admin.post(ROOT + "labels/", body, format="json")
    assert made.status_code == 201
    address, seen = f"{ROOT}labels/{made.json()['id']}/", made["ETag"]
    move = {"version": str(second.pk)}

    moved = as_admin.patch(address, move, format="json", headers={"If-Match": seen})
    assert (moved.status_code, moved.json()["version_number"]) == (200, 2)
    refused = as_admin.patch(address, {"version": str(first.pk)}, format="json", headers={"If-Match": seen})
    assert_refused(refused, 412, "label_moved")
    assert_refused(as_admin.delete(address, headers={"If-Match": seen}), 412, "label_moved")
    assert_refused(as_admin.delete(address, headers={"If-Match": '"?"'}), 412, "label_moved")
    assert_refused(as_admin.delete(f"{ROOT}prompt-versions/{second.pk}/"), 409, "version_labelled")
    other = {"version": str(PromptVersionFactory().pk)}
    assert_refused(as_admin.patch(address, other, format="json"), 422, "label_of_another_prompt", "version")

    assert as_admin.delete(address, headers={"If-Match": moved["ETag"]}).status_code == 204
    assert not Label.objects.exists()


def list_calls(label: Label) -> list[tuple[str, str, dict[str, Any]]]:
    """Return one well-formed call of each verb that writes."""
    version, prompt, model = label.version, label.prompt, label.version.image_model
    return [
        ("post", "prompts/", {"name": "x"}),
        ("patch", f"prompts/{prompt.pk}/", {"name": "x"}),
        ("delete", f"prompts/{prompt.pk}/", {}),
        ("post", f"prompts/{prompt.pk}/restore/", {}),
        ("post", "prompt-versions/", {"prompt": str(prompt.pk), "parent": str(version.pk)}),
        ("patch", f"prompt-versions/{version.pk}/", {"user_prompt": "x"}),
        ("delete", f"prompt-versions/{version.pk}/", {}),
        ("post", f"prompt-versions/{version.pk}/restore/", {}),
        ("post", "image-models/", {"name": "x", "provider": "embedded"}),
        ("patch", f"image-models/{model.pk}/", {"name": "x"}),
        ("delete", f"image-models/{model.pk}/", {}),
        ("post", f"image-models/{model.pk}/restore/", {}),
        ("post", "labels/", {"prompt": str(prompt.pk), "name": "x", "version": str(version.pk)}),
        ("patch", f"labels/{label.pk}/", {"version": str(version.pk)}),
        ("delete", f"labels/{label.pk}/", {}),
    ]


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [(None, 401, "not_authenticated"), ("evaluator", 404, "not_found"), ("viewer", 403, "permission_denied")],
)
@pytest.mark.django_db
def test_nobody_but_an_admin_writes(
    request: pytest.FixtureRequest, api_as: ApiAs, role: str | None, status: int, code: str
) -> None:
    client = api_as(request.getfixturevalue(role) if role else None)
    label = LabelFactory()

    for method, path, body in list_calls(label):
        for sent in (body, {"nonsense": 1}):
            assert_refused(getattr(client, method)(ROOT + path, sent, format="json"), status, code)

    assert (Prompt.objects.alive().count(), ImageModel.objects.count(), Label.objects.count()) == (1, 1, 1)


@pytest.mark.parametrize(
    ("role", "status"), [(None, 401), ("evaluator", 404), ("viewer", 200), ("admin", 200)]
)
def test_prompts_are_read_by_admins_and_viewers(
    request: pytest.FixtureRequest, api_as: ApiAs, db: None, role: str | None, status: int
) -> None:
    client = api_as(request.getfixturevalue(role) if role else None)
    label = LabelFactory()
    version = label.version

    for path in (
        "prompts/",
        f"prompts/{label.prompt.pk}/",
        "prompt-versions/",
        f"prompt-versions/{version.pk}/",
        f"prompt-versions/{version.pk}/diff/?with={version.pk}",
        "image-models/",
        f"image-models/{version.image_model.pk}/",
        "labels/",
        f"labels/{label.pk}/",
    ):
        assert client.get(ROOT + path).status_code == status, path


@pytest.mark.parametrize("path", ["prompts/", "prompt-versions/", "image-models/", "labels/"])
def test_a_list_takes_as_many_queries_for_one_row_as_for_five(as_admin: APIClient, path: str) -> None:
    counts = []
    for n_rows in (1, 4):
        for _ in range(n_rows):
            LabelFactory()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert as_admin.get(ROOT + path).status_code == 200
        counts.append(len(queries))

    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("prompts/5/", 404),
        ("prompts/%00/", 404),
        (f"prompts/{NOBODYS_ID}/", 404),
        ("prompt-versions/١٢/", 404),
    ],
)
def test_an_address_of_nothing_is_not_found(as_admin: APIClient, path: str, status: int) -> None:
    PromptFactory()

    assert as_admin.get(ROOT + path).status_code == status
