"""Datasets over the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from generations.models import Dataset, DatasetVersion
from tests.generations.factories import DatasetFactory, DatasetItemFactory, make_png

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(admin: User, api_as: Callable[[User | None], APIClient]) -> APIClient:
    return api_as(admin)


def test_a_dataset_is_made_with_its_items(client: APIClient) -> None:
    body = {
        "name": "Animals",
        "items": [
            {"key": "cat", "brief": "A cat.", "variables": {"subject": "cat"}, "tags": ["pets"]},
            {"variables": {"subject": "dog"}},
        ],
    }

    made = client.post("/api/v1/datasets/", body, format="json")

    assert made.status_code == 201, made.content
    found = made.json()
    assert (found["slug"], found["newest_number"], found["n_items"]) == ("animals", 1, 2)
    items = client.get(f"/api/v1/datasets/{found['id']}/items/?ordering=id").json()["results"]
    assert [(item["key"], item["tags"]) for item in items] == [("cat", ["pets"]), ("item-0002", [])]


def test_a_dataset_is_made_from_a_file(client: APIClient) -> None:
    content = b"Prompt\tCategory\tChallenge\tNote\nbond\tAbstract\tBasic\tBiology\n"
    body = {
        "name": "Parti",
        "file": SimpleUploadedFile("parti.tsv", content),
        "brief": "Prompt",
        "variables": json.dumps({"prompt": "Prompt"}),
        "tags": ["Category", "Challenge"],
    }

    made = client.post("/api/v1/datasets/", body, format="multipart")

    assert made.status_code == 201, made.content
    (item,) = DatasetVersion.objects.get().items.all()
    assert (item.brief, item.variables, item.tags) == ("bond", {"prompt": "bond"}, ["Abstract", "Basic"])


def test_a_dataset_without_items_is_made_and_gets_them_later(client: APIClient) -> None:
    made = client.post("/api/v1/datasets/", {"name": "Empty"}, format="json").json()
    address = f"/api/v1/datasets/{made['id']}"

    first = client.post(f"{address}/items/", {"items": [{"key": "a", "subject": "x"}]}, format="json")
    body: dict[str, Any] = {"items": [{"key": "a", "variables": {"subject": "cat"}}]}
    second = client.post(f"{address}/items/", body, format="json")
    body = {"items": [{"key": "b", "variables": {"subject": "dog"}}], "note": "One more"}
    third = client.post(f"{address}/items/", body, format="json")
    fourth = client.post(f"{address}/items/", {**body, "keep_others": False}, format="json")

    assert (made["newest_version"], made["n_items"]) == (None, 0)
    assert first.status_code == 400
    assert [answer.json()["n_items"] for answer in (second, third, fourth)] == [1, 2, 1]
    numbers = [version["number"] for version in client.get(f"{address}/versions/").json()]
    assert numbers == [3, 2, 1]
    assert len(client.get(f"{address}/items/?version=2").json()["results"]) == 2


@pytest.mark.parametrize("version", ["0", "9", "x", "-1", "9" * 30])
def test_items_of_no_version_are_an_error(client: APIClient, version: str) -> None:
    item = DatasetItemFactory()

    response = client.get(f"/api/v1/datasets/{item.dataset_version.dataset_id}/items/?version={version}")

    assert response.status_code in {400, 404}


def test_a_file_becomes_a_new_version(client: APIClient) -> None:
    dataset = DatasetFactory()
    address = f"/api/v1/datasets/{dataset.pk}/import/"

    good = client.post(
        address, {"file": SimpleUploadedFile("a.csv", b"key,subject\na,cat\n")}, format="multipart"
    )
    bad = client.post(
        address,
        {"file": SimpleUploadedFile("a.csv", b"key,subject\na,cat\na,b\nc,d,e\n")},
        format="multipart",
    )

    assert (good.status_code, good.json()["number"]) == (201, 1)
    assert (bad.status_code, bad.json()["code"]) == (422, "dataset_import_invalid")
    assert [(error["line"], error["code"]) for error in bad.json()["extra"]["errors"]] == [
        (3, "key_duplicate"),
        (4, "too_many_cells"),
    ]
    assert dataset.versions.count() == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 400),
        ({"file": "text"}, 400),
        ({"format": "xml"}, 400),
        ({"variables": "x"}, 400),
        ({"surprise": "x"}, 400),
        ({"brief": "None"}, 422),
    ],
)
def test_an_import_that_cannot_be_read_is_refused(
    client: APIClient, fields: dict[str, Any], status: int
) -> None:
    dataset = DatasetFactory()
    file = {"file": SimpleUploadedFile("a.csv", b"subject\ncat\n")} if fields else {}

    response = client.post(f"/api/v1/datasets/{dataset.pk}/import/", {**file, **fields}, format="multipart")

    assert response.status_code == status, response.content
    assert not DatasetVersion.objects.exists()


@pytest.mark.parametrize(
    "items",
    [
        [{"key": "a"}, {"key": "a"}],
        [{"variables": {"a b": "x"}}],
        [{"variables": {"a": ["x"]}}],
        [{"variables": {"a": None}}],
        [{"key": "k" * 121}],
    ],
)
def test_items_that_cannot_be_taken_leave_nothing(client: APIClient, items: list[Any]) -> None:
    response = client.post("/api/v1/datasets/", {"name": "A", "items": items}, format="json")

    assert (response.status_code, response.json()["code"]) == (422, "dataset_import_invalid")
    assert not Dataset.objects.exists()


def test_a_dataset_is_changed_deleted_and_restored(client: APIClient) -> None:
    dataset = DatasetFactory(name="Old", slug="old")
    taken = DatasetFactory()
    address = f"/api/v1/datasets/{dataset.pk}/"

    changed = client.patch(address, {"description": "New"}, format="json")
    clash = client.patch(address, {"slug": taken.slug}, format="json")
    deleted = client.delete(address)
    again = client.delete(address)
    hidden = client.get("/api/v1/datasets/").json()["results"]
    shown = client.get("/api/v1/datasets/?include_deleted=true").json()["results"]
    restored = client.post(f"{address}restore/")

    assert (changed.json()["name"], changed.json()["description"]) == ("Old", "New")
    assert (clash.status_code, clash.json()["code"]) == (409, "slug_taken")
    assert (deleted.status_code, again.status_code) == (204, 409)
    assert (len(hidden), len(shown)) == (1, 2)
    assert restored.json()["deleted_at"] is None


def test_an_item_gets_input_images_in_a_new_version(client: APIClient) -> None:
    item = DatasetItemFactory(key="cat")
    address = f"/api/v1/datasets/{item.dataset_version.dataset_id}"
    file = SimpleUploadedFile("a.png", make_png(1))

    made = client.post(f"{address}/item-images/", {"key": "cat", "files": [file]}, format="multipart")
    nobody = client.post(
        f"{address}/item-images/",
        {"key": "dog", "files": [SimpleUploadedFile("a.png", make_png(1))]},
        format="multipart",
    )

    assert (made.status_code, made.json()["number"]) == (201, 2)
    (shown,) = client.get(f"{address}/items/").json()["results"]
    image = client.get(shown["images"][0]["url"])
    assert b"".join(image.streaming_content).startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert nobody.status_code == 404
