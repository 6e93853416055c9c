"""Runs and generations over the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts.models import User
from generations.choices import Source, Status
from generations.models import Generation, OutputImage, Run
from prompts.choices import Kind
from tests.generations.factories import (
    DatasetItemFactory,
    GenerationFactory,
    OutputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(admin: User, api_as: Callable[[User | None], APIClient]) -> APIClient:
    return api_as(admin)


def count_files() -> int:
    return sum(path.is_file() for path in Path(str(default_storage.location)).rglob("*"))  # type: ignore[attr-defined]


def make_file(content: bytes | None = None, name: str = "a.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, make_png(1) if content is None else content, "image/png")


def test_a_run_is_launched_and_watched(client: APIClient) -> None:
    versions = PromptVersionFactory.create_batch(2)
    item = DatasetItemFactory()
    body = {
        "name": "Trial",
        "prompt_versions": [str(version.pk) for version in versions],
        "dataset_version": str(item.dataset_version_id),
        "repeats": 2,
    }

    created = client.post("/api/v1/runs/", body, format="json")

    assert created.status_code == 201, created.content
    found = created.json()
    assert (found["state"], found["n_generations"], found["counts"]["queued"]) == ("queued", 4, 4)
    shown = client.get(f"/api/v1/runs/{found['id']}/")
    assert shown.json() == found
    again = client.get(f"/api/v1/runs/{found['id']}/", HTTP_IF_NONE_MATCH=shown.headers["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_a_repeated_request_with_a_key_launches_once(client: APIClient) -> None:
    body = {"name": "A", "prompt_versions": [str(PromptVersionFactory().pk)], "variables": {"subject": "a"}}

    first = client.post("/api/v1/runs/", body, format="json", HTTP_IDEMPOTENCY_KEY="k")
    second = client.post("/api/v1/runs/", body, format="json", HTTP_IDEMPOTENCY_KEY="k")
    other = client.post("/api/v1/runs/", {**body, "name": "B"}, format="json", HTTP_IDEMPOTENCY_KEY="k")

    assert (first.status_code, second.status_code, other.status_code) == (201, 201, 422)
    assert first.json() == second.json()
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Run.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"variables": {}}, 400, "missing_variable"),
        ({"variables": {"subject": "a", "other": "b"}}, 400, "unknown_variable"),
        ({"variables": "no object"}, 400, "invalid"),
        ({"variables": {"subject": ["a"]}}, 400, "variable_value"),
        ({"prompt_versions": []}, 400, "invalid"),
        ({"prompt_versions": ["x"]}, 400, "invalid"),
        ({"prompt_versions": ["0190a8a2-7f1e-7000-8000-000000000000"]}, 400, "invalid"),
        ({"repeats": 0}, 422, "run_invalid"),
        ({"repeats": "1_000"}, 400, "invalid"),
        ({"repeats": "١٢"}, 400, "invalid"),
        ({"base_seed": 2**31}, 422, "run_invalid"),
        ({"priority": 9}, 400, "invalid"),
        ({"name": ""}, 400, "invalid"),
        ({"surprise": 1}, 400, "invalid"),
    ],
)
def test_a_run_that_cannot_be_launched_says_why_and_leaves_nothing(
    client: APIClient, changes: dict[str, Any], status: int, code: str
) -> None:
    version = PromptVersionFactory()
    body = {"name": "A", "prompt_versions": [str(version.pk)], "variables": {"subject": "a"}, **changes}

    response = client.post("/api/v1/runs/", body, format="json")

    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert not Run.objects.exists()


def test_a_deleted_version_is_refused(client: APIClient) -> None:
    version = PromptVersionFactory(deleted=True)
    body = {"name": "A", "prompt_versions": [str(version.pk)], "variables": {"subject": "a"}}

    response = client.post("/api/v1/runs/", body, format="json")

    assert (response.status_code, response.json()["code"]) == (422, "version_deleted")


def test_a_run_takes_input_images_as_a_form(client: APIClient) -> None:
    version = PromptVersionFactory(image_model=ImageModelFactory(kind=Kind.INPAINTING, max_inputs=1))
    body = {
        "name": "Edit",
        "prompt_versions": [str(version.pk)],
        "variables": json.dumps({"subject": "a"}),
        "inputs": [make_file()],
        "mask": make_file(make_png(2)),
    }

    response = client.post("/api/v1/runs/", body, format="multipart")

    assert response.status_code == 201, response.content
    roles = list(Generation.objects.get().inputs.order_by("position").values_list("role", flat=True))
    assert roles == ["reference", "mask"]


@pytest.mark.parametrize("text", ["{", "[1]", "NaN", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_json_within_a_form_is_read_strictly(client: APIClient, text: str) -> None:
    body = {"name": "A", "prompt_versions": [str(PromptVersionFactory().pk)], "variables": text}

    response = client.post("/api/v1/runs/", body, format="multipart")

    assert (response.status_code, response.json()["code"]) == (400, "invalid")


def test_a_run_is_cancelled_and_its_failures_are_retried(client: APIClient) -> None:
    run = RunFactory()
    GenerationFactory(run=run)
    GenerationFactory(run=run, failed=True)

    cancelled = client.post(f"/api/v1/runs/{run.pk}/cancel/")
    again = client.post(f"/api/v1/runs/{run.pk}/cancel/")
    retried = client.post(f"/api/v1/runs/{run.pk}/retry/", {"error_code": "refused"}, format="json")
    nothing = client.post(f"/api/v1/runs/{run.pk}/retry/")

    assert cancelled.json() == {"n_cancelled": 1}
    assert (again.status_code, again.json()["code"]) == (409, "run_finished")
    assert retried.json() == {"n_retried": 1}
    assert (nothing.status_code, nothing.json()["code"]) == (409, "nothing_to_retry")


def test_generations_are_filtered(client: APIClient) -> None:
    rated = GenerationFactory(completed=True, result_rating="4.50")
    unrated = GenerationFactory(completed=True)
    failed = GenerationFactory(failed=True)

    def find(query: str) -> set[str]:
        response = client.get(f"/api/v1/generations/?{query}")
        assert response.status_code == 200, response.content
        return {row["id"] for row in response.json()["results"]}

    assert find("rating=4.5") == {str(rated.pk)}
    assert find("rating_min=4&rating_max=5") == {str(rated.pk)}
    assert find("unrated=true") == {str(unrated.pk)}
    assert find("status=failed") == {str(failed.pk)}
    assert find(f"run={failed.run_id}") == {str(failed.pk)}
    assert find(f"prompt_version={rated.prompt_version_id}") == {str(rated.pk)}
    assert find("created_after=2100-01-01") == set()
    assert len(find("created_before=2100-01-01T00:00:00Z&ordering=-rating")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "status=done",
        "rating=x",
        "rating=1e400",
        "unrated=yes",
        "run=5",
        "run=%00",
        "created_after=tomorrow",
        "ordering=password",
        "surprise=1",
        "status=failed&status=queued",
        "cursor=abc",
        "case_key=%00",
    ],
)
def test_filters_that_cannot_be_read_are_refused(client: APIClient, query: str) -> None:
    response = client.get(f"/api/v1/generations/?{query}")

    assert response.status_code == 400
    assert response.json()["code"]


def test_lists_can_be_ordered_by_rating_and_paged(client: APIClient) -> None:
    for rating in ("1.00", "3.00", None, "2.00"):
        GenerationFactory(completed=True, outputs=None, result_rating=rating)

    address: str | None = "/api/v1/generations/?ordering=-rating&page_size=1"
    found = []
    while address:
        page = client.get(address).json()
        found += [row["result_rating"] for row in page["results"]]
        address = page["next"]

    assert found == ["3.00", "2.00", "1.00", None]


def test_one_generation_is_made_as_a_run_of_its_own(client: APIClient) -> None:
    version = PromptVersionFactory()
    body = {"prompt_version": str(version.pk), "variables": {"subject": "a cat"}}

    response = client.post("/api/v1/generations/", body, format="json")

    found = response.json()
    assert (response.status_code, found["status"], found["source"]) == (201, "queued", "engine")
    assert found["rendered_prompt"] == "A photo of a cat, soft light"
    assert found["run"] is not None


def test_images_made_elsewhere_are_recorded(client: APIClient) -> None:
    version = PromptVersionFactory()
    body = {
        "source": "external",
        "prompt_version": str(version.pk),
        "rendered_prompt": "Sent by hand",
        "seed": 3,
    }

    created = client.post("/api/v1/generations/", body, format="json").json()
    added = client.post(
        f"/api/v1/generations/{created['id']}/outputs/", {"files": [make_file()]}, format="multipart"
    )
    more = client.post(
        f"/api/v1/generations/{created['id']}/outputs/", {"files": [make_file()]}, format="multipart"
    )
    given = client.post(
        f"/api/v1/generations/{created['id']}/inputs/", {"files": [make_file()]}, format="multipart"
    )

    assert (created["status"], created["source"], created["run"]) == ("queued", "external", None)
    assert (added.status_code, more.status_code, given.status_code) == (201, 201, 201)
    shown = client.get(f"/api/v1/generations/{created['id']}/").json()
    assert shown["status"] == "completed"
    assert [image["position"] for image in shown["outputs"]] == [0, 1]
    assert len(shown["inputs"]) == 1
    version.refresh_from_db()
    assert version.is_used


def test_a_record_with_its_images_is_completed_at_once(client: APIClient) -> None:
    body = {
        "source": "external",
        "prompt_version": str(PromptVersionFactory().pk),
        "variables": json.dumps({"subject": "a"}),
        "outputs": [make_file(), make_file(make_png(2))],
    }

    response = client.post("/api/v1/generations/", body, format="multipart")

    assert response.status_code == 201, response.content
    assert response.json()["status"] == "completed"
    assert len(response.json()["outputs"]) == 2


def test_fields_of_the_other_source_are_refused(client: APIClient) -> None:
    body = {"prompt_version": str(PromptVersionFactory().pk), "variables": {"subject": "a"}, "seed": 1}

    response = client.post("/api/v1/generations/", body, format="json")

    assert response.status_code == 400
    assert "seed" in response.json()["fields"]


def test_the_engines_generations_take_no_outputs(client: APIClient) -> None:
    generation = GenerationFactory()

    response = client.post(
        f"/api/v1/generations/{generation.pk}/outputs/", {"files": [make_file()]}, format="multipart"
    )

    assert (response.status_code, response.json()["code"]) == (409, "outputs_not_accepted")
    assert count_files() == 0


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "media_empty"),
        (b"%PDF-1.7\n1 0 obj", "media_not_an_image"),
        (b"<html><script>alert(1)</script></html>", "media_not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "media_not_an_image"),
        (b"\x89PNG\r\n\x1a\n", "media_not_an_image"),
        (make_png(1)[:-40], "media_truncated"),
    ],
)
def test_a_file_that_is_no_image_leaves_no_file(client: APIClient, content: bytes, code: str) -> None:
    generation = GenerationFactory(source=Source.EXTERNAL, run=None)
    body = {"files": [make_file(make_png(3)), make_file(content)]}

    response = client.post(f"/api/v1/generations/{generation.pk}/outputs/", body, format="multipart")

    assert (response.status_code, response.json()["code"]) == (422, code), response.content
    assert count_files() == 0
    assert not OutputImage.objects.exists()
    generation.refresh_from_db()
    assert generation.status == Status.QUEUED


def test_a_file_above_the_limit_is_413(client: APIClient, settings: Any) -> None:
    settings.MEDIA_MAX_UPLOAD_BYTES = 2_000
    generation = GenerationFactory(source=Source.EXTERNAL, run=None)

    response = client.post(
        f"/api/v1/generations/{generation.pk}/outputs/",
        {"files": [make_file(b"x" * 2_001)]},
        format="multipart",
    )

    assert (response.status_code, response.json()["code"]) == (413, "media_too_large")
    assert count_files() == 0


@pytest.mark.parametrize("name", ["../../etc/passwd", "a\u202egnp.exe", "x" * 5_000, "a.png.html"])
def test_names_of_files_leave_no_trace(client: APIClient, name: str) -> None:
    generation = GenerationFactory(source=Source.EXTERNAL, run=None)

    response = client.post(
        f"/api/v1/generations/{generation.pk}/outputs/", {"files": [make_file(name=name)]}, format="multipart"
    )

    assert response.status_code == 201
    stored = OutputImage.objects.get().file.name
    assert stored is not None
    assert stored.startswith("outputs/")
    assert stored.endswith(".png")


def test_files_must_be_files(client: APIClient) -> None:
    generation = GenerationFactory(source=Source.EXTERNAL, run=None)
    address = f"/api/v1/generations/{generation.pk}/outputs/"

    assert client.post(address, {"files": "text"}, format="multipart").status_code == 400
    assert client.post(address, {}, format="multipart").status_code == 400
    assert client.post(address, {"files": []}, format="json").status_code == 415


def test_a_generation_is_cancelled_and_retried(client: APIClient) -> None:
    generation = GenerationFactory()

    cancelled = client.post(f"/api/v1/generations/{generation.pk}/cancel/")
    retried = client.post(f"/api/v1/generations/{generation.pk}/retry/")
    again = client.post(f"/api/v1/generations/{generation.pk}/retry/")

    assert cancelled.json()["status"] == "cancelled"
    assert (retried.status_code, retried.json()["retry_of"]) == (201, str(generation.pk))
    assert (again.status_code, again.json()["code"]) == (409, "generation_not_retryable")


def test_an_output_names_its_addresses(client: APIClient) -> None:
    image = OutputImageFactory()

    shown = client.get(f"/api/v1/generations/{image.generation_id}/outputs/").json()

    for name in ("url", "thumbnail_url"):
        response = client.get(shown[0][name])
        assert b"".join(response.streaming_content)  # type: ignore[attr-defined]
