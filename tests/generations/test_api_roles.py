"""Who may do what with datasets, runs and generations over the API, and in how many queries."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rest_framework.test import APIClient

from accounts.models import User
from generations.models import Dataset, Generation, Run
from tests.generations.factories import (
    AttemptFactory,
    DatasetItemFactory,
    DatasetVersionFactory,
    GenerationFactory,
    InputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import PromptVersionFactory

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]


@pytest.fixture
def rows() -> dict[str, Any]:
    item = DatasetItemFactory()
    generation = GenerationFactory(failed=True, provider_message="raw words", provider_error_code="raw_code")
    AttemptFactory(generation=generation, provider_job_id="job-1", provider_message="raw words")
    return {"dataset": item.dataset_version.dataset, "generation": generation, "run": generation.run}


def list_reads(rows: dict[str, Any]) -> list[str]:
    dataset, run, generation = rows["dataset"].pk, rows["run"].pk, rows["generation"].pk
    return [
        "/api/v1/datasets/",
        f"/api/v1/datasets/{dataset}/",
        f"/api/v1/datasets/{dataset}/items/",
        f"/api/v1/datasets/{dataset}/versions/",
        "/api/v1/runs/",
        f"/api/v1/runs/{run}/",
        "/api/v1/generations/",
        f"/api/v1/generations/{generation}/",
        f"/api/v1/generations/{generation}/inputs/",
        f"/api/v1/generations/{generation}/outputs/",
        f"/api/v1/generations/{generation}/attempts/",
    ]


def list_writes(rows: dict[str, Any]) -> list[tuple[str, str]]:
    dataset, run, generation = rows["dataset"].pk, rows["run"].pk, rows["generation"].pk
    return [
        ("post", "/api/v1/datasets/"),
        ("patch", f"/api/v1/datasets/{dataset}/"),
        ("delete", f"/api/v1/datasets/{dataset}/"),
        ("post", f"/api/v1/datasets/{dataset}/restore/"),
        ("post", f"/api/v1/datasets/{dataset}/import/"),
        ("post", f"/api/v1/datasets/{dataset}/imports/"),
        ("post", f"/api/v1/datasets/{dataset}/items/"),
        ("post", f"/api/v1/datasets/{dataset}/item-images/"),
        ("post", "/api/v1/runs/"),
        ("post", f"/api/v1/runs/{run}/cancel/"),
        ("post", f"/api/v1/runs/{run}/retry/"),
        ("post", f"/api/v1/runs/{run}/raise-ceiling/"),
        ("post", "/api/v1/generations/"),
        ("post", f"/api/v1/generations/{generation}/inputs/"),
        ("post", f"/api/v1/generations/{generation}/outputs/"),
        ("post", f"/api/v1/generations/{generation}/cancel/"),
        ("post", f"/api/v1/generations/{generation}/retry/"),
    ]


@pytest.mark.parametrize(("role", "status"), [("admin", 200), ("viewer", 200), ("evaluator", 404)])
def test_admins_and_viewers_read_and_evaluators_find_nothing(
    role: str, status: int, rows: dict[str, Any], api_as: ApiAs, request: pytest.FixtureRequest
) -> None:
    client = api_as(request.getfixturevalue(role))

    answers = {address: client.get(address).status_code for address in list_reads(rows)}

    assert set(answers.values()) == {status}, answers


def test_nobody_reads_or_writes_without_signing_in(rows: dict[str, Any], api_as: ApiAs) -> None:
    client = api_as(None)

    assert {client.get(address).status_code for address in list_reads(rows)} == {401}
    assert {getattr(client, verb)(address).status_code for verb, address in list_writes(rows)} == {401}


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("evaluator", 404)])
def test_only_admins_write(
    role: str, status: int, rows: dict[str, Any], api_as: ApiAs, request: pytest.FixtureRequest
) -> None:
    client = api_as(request.getfixturevalue(role))
    before = (Dataset.objects.count(), Run.objects.count(), Generation.objects.count())

    answers = {address: getattr(client, verb)(address).status_code for verb, address in list_writes(rows)}

    assert set(answers.values()) == {status}, answers
    assert (Dataset.objects.count(), Run.objects.count(), Generation.objects.count()) == before


def test_viewers_see_no_words_or_ids_of_providers(
    rows: dict[str, Any], api_as: ApiAs, viewer: User, admin: User
) -> None:
    address = f"/api/v1/generations/{rows['generation'].pk}/"

    for_viewer = [api_as(viewer).get(path).content for path in (address, f"{address}attempts/")]
    for_admin = [api_as(admin).get(path).content for path in (address, f"{address}attempts/")]

    assert all(b"raw" not in body and b"job-1" not in body for body in for_viewer)
    assert all(b"refused the request" in body for body in for_viewer[:1])
    assert all(b"raw words" in body for body in for_admin)


@pytest.mark.parametrize("address", ["datasets", "runs", "generations"])
def test_rows_that_are_not_there_are_404(address: str, api_as: ApiAs, admin: User) -> None:
    client = api_as(admin)

    assert client.get(f"/api/v1/{address}/{uuid.uuid4()}/").status_code == 404
    assert client.get(f"/api/v1/{address}/5/").status_code == 404


def count_queries(client: APIClient, address: str) -> int:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return len(captured)


def test_lists_take_the_same_number_of_queries_for_one_row_and_five(api_as: ApiAs, admin: User) -> None:
    client = api_as(admin)
    addresses = ["/api/v1/datasets/", "/api/v1/runs/", "/api/v1/generations/"]
    dataset_version = DatasetVersionFactory()

    def add_rows() -> None:
        run = RunFactory(prompt_versions=[PromptVersionFactory()])
        InputImageFactory(generation=GenerationFactory(run=run, completed=True))
        DatasetItemFactory()
        DatasetItemFactory(dataset_version=dataset_version)

    add_rows()
    addresses.append(f"/api/v1/datasets/{dataset_version.dataset_id}/items/")
    for_one = [count_queries(client, address) for address in addresses]
    for _ in range(4):
        add_rows()

    assert [count_queries(client, address) for address in addresses] == for_one


@pytest.mark.parametrize("role", ["admin", "viewer"])
@pytest.mark.parametrize("size", ["small", "thumbnail", "original"])
def test_images_are_given_to_admins_and_viewers(
    role: str, size: str, api_as: ApiAs, request: pytest.FixtureRequest
) -> None:
    image = InputImageFactory()
    client = api_as(request.getfixturevalue(role))

    response = client.get(f"/media/images/{image.pk}/{size}", HTTP_ACCEPT="image/avif,image/webp,*/*;q=0.8")

    assert response.status_code == 200
    expected = "image/png" if size == "original" else "image/webp"
    assert response.headers["Content-Type"] == expected
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Disposition"].startswith(
        "attachment" if size == "original" else "inline"
    )
    assert b"".join(response.streaming_content)  # type: ignore[attr-defined]
    again = client.get(f"/media/images/{image.pk}/{size}", HTTP_IF_NONE_MATCH=response.headers["ETag"])
    assert again.status_code == 304


def test_images_are_nothing_to_evaluators_and_strangers(api_as: ApiAs, evaluator: User) -> None:
    image = InputImageFactory()

    assert api_as(evaluator).get(f"/media/images/{image.pk}/small").status_code == 404
    assert api_as(None).get(f"/media/images/{image.pk}/small").status_code == 401


@pytest.mark.parametrize("size", ["blind", "file", "sha256", "x"])
def test_there_are_three_sizes_only(size: str, api_as: ApiAs, admin: User) -> None:
    image = InputImageFactory()

    assert api_as(admin).get(f"/media/images/{image.pk}/{size}").status_code == 404


def test_an_image_whose_file_is_gone_is_404(api_as: ApiAs, admin: User) -> None:
    image = InputImageFactory(content=make_png(7))
    image.file.storage.delete(image.file.name)

    assert api_as(admin).get(f"/media/images/{image.pk}/original").status_code == 404


def test_an_image_without_copies_is_shown_itself(api_as: ApiAs, admin: User) -> None:
    image = InputImageFactory(thumbnail="", small_thumbnail="", blind="")

    response = api_as(admin).get(f"/media/images/{image.pk}/small")

    assert b"".join(response.streaming_content)  # type: ignore[attr-defined]
    assert (response.status_code, response.headers["Content-Type"]) == (200, "image/png")
    assert "ETag" not in response.headers
