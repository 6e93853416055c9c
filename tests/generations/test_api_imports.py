"""Imports of files into datasets over the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from generations.models import Dataset, DatasetImport
from generations.services.importing.work import work_on_imports
from tests.generations.factories import DatasetFactory, DatasetItemFactory
from tests.generations.import_cases import ROWS, list_files, make_archive, upload, work

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]
IMPORTS = "/api/v1/dataset-imports/"


@pytest.fixture
def client(admin: User, api_as: ApiAs) -> APIClient:
    return api_as(admin)


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory()
    return made


def hand_in(client: APIClient, dataset: Dataset, content: bytes = ROWS, **fields: Any) -> Any:
    file = SimpleUploadedFile(fields.pop("file_name", "items.csv"), content)
    address = f"/api/v1/datasets/{dataset.pk}/imports/"
    return client.post(address, {"file": file, **fields}, format="multipart")


def test_a_dry_run_shows_what_would_be_and_waits_to_be_started(client: APIClient, dataset: Dataset) -> None:
    made = hand_in(client, dataset, make_archive(), file_name="animals.zip", dry_run="true")
    assert (made.status_code, made.json()["state"]) == (201, "uploaded")
    address = f"{IMPORTS}{made.json()['id']}/"

    early = client.post(f"{address}start/")
    work_on_imports()
    checked = client.get(address).json()
    started = client.post(f"{address}start/")
    work_on_imports()
    done = client.get(address).json()

    assert (early.status_code, early.json()["code"]) == (409, "dataset_import_not_checked")
    assert (checked["state"], checked["n_rows"], checked["n_images_done"]) == ("checked", 3, 3)
    assert checked["preview"][0]["images"][0] == {"name": "a.png", "role": "reference"}
    assert (started.status_code, started.json()["state"]) == (200, "importing")
    assert (done["state"], done["version"]) == ("completed", str(dataset.versions.get().pk))
    items = client.get(f"/api/v1/datasets/{dataset.pk}/items/?ordering=id").json()["results"]
    assert [[image["role"] for image in item["images"]] for item in items] == [
        ["reference", "mask"],
        ["reference", "reference"],
        [],
    ]
    picture = client.get(items[0]["images"][0]["url"])
    assert b"".join(picture.streaming_content).startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_without_a_dry_run_a_good_file_is_imported_and_a_bad_one_says_why(
    client: APIClient, dataset: Dataset
) -> None:
    good = hand_in(client, dataset, note="All of them").json()["id"]
    bad = hand_in(client, dataset, b"subject\na,b\n").json()["id"]
    work_on_imports()

    assert client.get(f"{IMPORTS}{good}/").json()["state"] == "completed"
    failed = client.get(f"{IMPORTS}{bad}/").json()
    assert (failed["state"], failed["error_code"]) == ("failed", "dataset_import_invalid")
    assert failed["errors"] == [
        {"line": 2, "code": "too_many_cells", "message": "The line has 2 cells, the header 1."}
    ]
    assert dataset.versions.get().note == "All of them"
    found = client.get(f"{IMPORTS}?dataset={dataset.pk}&state=failed").json()["results"]
    assert [each["id"] for each in found] == [bad]


def test_other_columns_are_chosen_for_the_stored_file(client: APIClient, dataset: Dataset) -> None:
    made = hand_in(client, dataset, b"Text,Kind\nbond,Abstract\n", dry_run="true", brief="None").json()
    work_on_imports()
    address = f"{IMPORTS}{made['id']}/"
    refused = client.post(f"{address}start/")
    body = {"brief": "Text", "variables": {"prompt": "Text"}, "tags": ["Kind"]}

    changed = client.post(f"{address}mapping/", body, format="json")
    work_on_imports()

    assert (refused.status_code, refused.json()["code"]) == (409, "dataset_import_has_errors")
    assert (changed.status_code, changed.json()["mapping"]) == (200, body)
    assert client.get(address).json()["preview"][0]["variables"] == {"prompt": "bond"}


def test_a_cancelled_import_is_over(client: APIClient, dataset: Dataset) -> None:
    address = f"{IMPORTS}{hand_in(client, dataset, dry_run='true').json()['id']}/"

    cancelled, again = client.post(f"{address}cancel/"), client.post(f"{address}cancel/")
    work_on_imports()

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "cancelled")
    assert (again.status_code, again.json()["code"]) == (409, "dataset_import_finished")
    assert list_files() == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"format": "xml"}, 400),
        ({"variables": "x"}, 400),
        ({"surprise": "x"}, 400),
        ({"dry_run": "perhaps"}, 400),
        ({"note": "x" * 501}, 400),
        ({"content": b""}, 422),
        ({"variables": json.dumps({"a": "x" * 70_000})}, 422),
    ],
)
def test_what_cannot_be_taken_is_refused_and_not_stored(
    client: APIClient, dataset: Dataset, fields: dict[str, Any], status: int
) -> None:
    response = hand_in(client, dataset, **fields)

    assert response.status_code == status, response.content
    assert not DatasetImport.objects.exists()
    assert list_files() == []


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(
    client: APIClient, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generations.api.dataset_views.MAX_FORM_BYTES", 10)

    response = hand_in(client, dataset)

    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")


def test_a_repeated_key_hands_the_file_in_once(client: APIClient, dataset: Dataset) -> None:
    def hand_in_by_key(content: bytes) -> Any:
        file = SimpleUploadedFile("items.csv", content)
        address = f"/api/v1/datasets/{dataset.pk}/imports/"
        return client.post(address, {"file": file}, headers={"Idempotency-Key": "mine"}, format="multipart")

    first, again, other = (hand_in_by_key(content) for content in (ROWS, ROWS, ROWS + b"z,Z\n"))

    assert (first.status_code, again.status_code, first.json()) == (201, 201, again.json())
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert DatasetImport.objects.count() == len(list_files()) == 1


def test_a_deleted_dataset_takes_no_file(client: APIClient, dataset: Dataset) -> None:
    client.delete(f"/api/v1/datasets/{dataset.pk}/")

    response = hand_in(client, dataset)

    assert (response.status_code, response.json()["code"]) == (409, "dataset_deleted")
    assert list_files() == []


def test_viewers_watch_and_only_admins_import(
    admin: User, viewer: User, evaluator: User, api_as: ApiAs, dataset: Dataset
) -> None:
    checked = work(upload(admin, dataset=dataset))
    address = f"{IMPORTS}{checked.pk}/"

    for person, read, write in ((None, 401, 401), (viewer, 200, 403), (evaluator, 404, 404)):
        client = api_as(person)
        assert {client.get(IMPORTS).status_code, client.get(address).status_code} == {read}
        writes = [client.post(f"{address}{verb}/").status_code for verb in ("start", "cancel", "mapping")]
        assert {*writes, hand_in(client, dataset).status_code} == {write}
    checked.refresh_from_db()
    assert (checked.state, DatasetImport.objects.count()) == ("checked", 1)


def test_a_list_takes_the_same_queries_however_long(client: APIClient, admin: User, dataset: Dataset) -> None:
    upload(admin, dataset=dataset)
    with CaptureQueriesContext(connection) as one:
        client.get(IMPORTS)
    for _ in range(3):
        upload(admin, dataset=dataset)

    with CaptureQueriesContext(connection) as four:
        assert len(client.get(IMPORTS).json()["results"]) == 4

    assert len(four) == len(one)


def test_the_items_of_a_tag_are_listed_alone(client: APIClient) -> None:
    item = DatasetItemFactory(key="first", tags=["pets", 'quo"te'])
    DatasetItemFactory(key="second", dataset_version=item.dataset_version, tags=["wild"])
    address = f"/api/v1/datasets/{item.dataset_version.dataset_id}/items/"

    found = {
        tag: [row["key"] for row in client.get(address, {"tag": tag}).json()["results"]]
        for tag in ("pets", 'quo"te', "wild", "pet", "none")
    }

    assert found == {"pets": ["first"], 'quo"te': ["first"], "wild": ["second"], "pet": [], "none": []}
    assert client.get(address, {"tag": "a\x00"}).status_code == 400
