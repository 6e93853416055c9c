"""The admin's pages of datasets, runs and generations, role by role."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from generations.choices import Status
from generations.models import Generation, Run
from prompts.choices import Kind
from tests.accounts.signing_in import sign_in
from tests.generations.factories import (
    AttemptFactory,
    DatasetItemFactory,
    DatasetVersionFactory,
    GenerationFactory,
    InputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db
LAUNCH = "admin:generations_run_launch"


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def make_image() -> SimpleUploadedFile:
    return SimpleUploadedFile("a.png", make_png(1), "image/png")


@pytest.fixture
def rows() -> dict[str, Any]:
    item = DatasetItemFactory()
    version = PromptVersionFactory()
    run = RunFactory(prompt_versions=[version], dataset_version=item.dataset_version)
    completed = GenerationFactory(run=run, prompt_version=version, case_key=item.key, completed=True)
    InputImageFactory(generation=completed)
    failed = GenerationFactory(run=run, failed=True, provider_message="raw words")
    AttemptFactory(generation=failed, provider_message="raw words", provider_job_id="job-1")
    return {
        "dataset": item.dataset_version.dataset,
        "run": run,
        "completed": completed,
        "failed": failed,
        "queued": GenerationFactory(run=run),
    }


def list_pages(rows: dict[str, Any]) -> list[str]:
    return [
        reverse("admin:generations_dataset_changelist"),
        reverse("admin:generations_dataset_change", args=[rows["dataset"].pk]),
        reverse("admin:generations_run_changelist"),
        reverse("admin:generations_run_change", args=[rows["run"].pk]),
        reverse("admin:generations_run_progress", args=[rows["run"].pk]),
        reverse("admin:generations_generation_changelist"),
        reverse("admin:generations_generation_change", args=[rows["completed"].pk]),
        reverse("admin:generations_generation_change", args=[rows["failed"].pk]),
        reverse("admin:generations_generation_part", args=[rows["queued"].pk]),
    ]


def list_forms(rows: dict[str, Any]) -> list[str]:
    dataset, run, failed = rows["dataset"].pk, rows["run"].pk, rows["failed"].pk
    return [
        reverse("admin:generations_dataset_add"),
        reverse("admin:generations_dataset_import", args=[dataset]),
        reverse("admin:generations_dataset_images", args=[dataset]),
        reverse("admin:generations_dataset_item", args=[dataset]),
        reverse("admin:generations_dataset_item_remove", args=[dataset]),
        reverse("admin:generations_dataset_delete", args=[dataset]),
        reverse("admin:generations_dataset_restore", args=[dataset]),
        reverse(LAUNCH),
        reverse("admin:generations_run_plan"),
        reverse("admin:generations_run_cancel", args=[run]),
        reverse("admin:generations_run_retry", args=[run]),
        reverse("admin:generations_generation_cancel", args=[failed]),
        reverse("admin:generations_generation_retry", args=[failed]),
    ]


@pytest.mark.parametrize("role", ["admin", "viewer"])
def test_admins_and_viewers_open_every_page(
    role: str, rows: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    client = sign_in(request.getfixturevalue(role))

    for address in list_pages(rows):
        response = client.get(address)
        assert response.status_code == 200, address
        assert (b"raw words" in response.content) == (
            role == "admin" and any(str(rows[name].pk) in address for name in ("failed", "run"))
        ), address


def test_viewers_may_post_nothing(rows: dict[str, Any], viewer: User) -> None:
    client = sign_in(viewer)

    assert {client.post(address).status_code for address in list_forms(rows)} == {403}
    assert {client.get(address).status_code for address in list_forms(rows)} == {403}


def test_evaluators_and_strangers_are_sent_to_sign_in(rows: dict[str, Any], evaluator: User) -> None:
    for client in (sign_in(evaluator), Client()):
        for address in [*list_pages(rows), *list_forms(rows)]:
            assert client.get(address).status_code == 302, address


def test_the_buttons_of_viewers_are_left_out(rows: dict[str, Any], viewer: User, as_admin: Client) -> None:
    run = reverse("admin:generations_run_change", args=[rows["run"].pk])
    for_viewer = sign_in(viewer).get(run).content.decode()

    assert "Cancel run" in as_admin.get(run).content.decode()
    assert "Cancel run" not in for_viewer
    assert "Retry" not in for_viewer


HOSTILE = [
    "rendered_prompt__regex=(",
    "provider_message__startswith=a",
    "created_by__email=x",
    "status__exact=nothing",
    "rating=nothing",
    "created_at_from=tomorrow",
    "created_at_to=%00",
    "created_at_from=99999-01-01",
    "run__id__exact=5",
    "run__id__exact=%00",
    "prompt_version__id__exact='",
    "image_model__id__exact=x",
    "q=%00",
    "q=" + "x" * 3_000,
    "o=99",
    "o=x",
    "p=x",
    "p=99999999999",
    "_facets=1",
    "e=1",
]


@pytest.mark.parametrize("model", ["dataset", "run", "generation"])
def test_hostile_addresses_of_lists_are_no_errors(model: str, rows: dict[str, Any], as_admin: Client) -> None:
    address = reverse(f"admin:generations_{model}_changelist")

    for query in HOSTILE:
        assert as_admin.get(f"{address}?{query}").status_code in {200, 302}, query


@pytest.mark.parametrize("page", ["0", "-1", "x", "9" * 50, "\x00"])
def test_pages_within_pages_have_a_first_and_a_last(
    page: str, rows: dict[str, Any], as_admin: Client
) -> None:
    for address in list_pages(rows):
        if address.endswith("/change/"):
            assert as_admin.get(address, {"page": page, "version": page}).status_code == 200


def test_generations_are_found_by_filters(rows: dict[str, Any], as_admin: Client) -> None:
    address = reverse("admin:generations_generation_changelist")
    rated = GenerationFactory(completed=True, result_rating="4.50")
    old = GenerationFactory(failed=True, is_superseded=True)

    def find(query: str) -> set[str]:
        response = as_admin.get(f"{address}?{query}")
        assert response.status_code == 200, query
        return {str(row.pk) for row in response.context["cl"].result_list}

    assert find("status__exact=failed") == {str(rows["failed"].pk)}
    assert find("status__exact=failed&superseded=all") == {str(rows["failed"].pk), str(old.pk)}
    assert find("rating=4") == {str(rated.pk)}
    assert find("rating=unrated") == {str(rows["completed"].pk)}
    assert find(f"run__id__exact={rated.run_id}") == {str(rated.pk)}
    assert find(f"prompt_version__id__exact={rated.prompt_version_id}") == {str(rated.pk)}
    assert find("created_at_from=2100-01-01") == set()
    assert find(f"q={rated.case_key}") == {str(rated.pk)}


def test_runs_are_found_by_their_progress(rows: dict[str, Any], as_admin: Client) -> None:
    address = reverse("admin:generations_run_changelist")
    done = GenerationFactory(completed=True, outputs=None).run

    def find(query: str) -> set[Any]:
        return {row.pk for row in as_admin.get(f"{address}?{query}").context["cl"].result_list}

    assert find("progress=open") == {rows["run"].pk}
    assert find("progress=finished") == {done.pk}
    assert find("progress=failures") == {rows["run"].pk}


def test_a_launch_shows_variables_count_and_cost_before(as_admin: Client) -> None:
    paid = ImageModelFactory(is_free=False, price_usd="0.04")
    version = PromptVersionFactory(image_model=paid, n_outputs=2)
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(3, dataset_version=dataset_version)
    chosen = {"prompt_versions": [version.pk], "repeats": "2"}

    opened = as_admin.get(reverse(LAUNCH), {"version": version.pk})
    alone = as_admin.post(reverse("admin:generations_run_plan"), chosen, HTTP_HX_REQUEST="true")
    over = as_admin.post(
        reverse("admin:generations_run_plan"),
        {**chosen, "dataset_version": dataset_version.pk},
        HTTP_HX_REQUEST="true",
    )

    assert "checked" in opened.content.decode()
    assert 'name="var-subject"' in opened.content.decode()
    assert 'name="var-subject"' in alone.content.decode()
    assert (alone.context["plan"].n_generations, float(alone.context["plan"].cost_usd)) == (2, 0.16)
    assert (over.context["plan"].n_generations, float(over.context["plan"].cost_usd)) == (6, 0.48)
    assert "var-subject" not in over.content.decode()


def test_a_launch_page_says_at_once_what_a_dataset_lacks(as_admin: Client) -> None:
    version = PromptVersionFactory(user_prompt="{subject} in {colour}")
    item = DatasetItemFactory(key="harbour")

    plan = as_admin.post(
        reverse("admin:generations_run_plan"),
        {"prompt_versions": [version.pk], "dataset_version": item.dataset_version_id},
    ).context["plan"]

    assert plan.problem == f"{version}: the item harbour has no value for colour."


@pytest.mark.parametrize("value", ["", "x", "-1", "1_0", "9" * 99, "\x00"])
def test_a_plan_of_nonsense_is_no_error(value: str, as_admin: Client) -> None:
    body = {"prompt_versions": [value], "dataset_version": value, "repeats": value}

    assert as_admin.post(reverse("admin:generations_run_plan"), body).status_code == 200


def launch(client: Client, **fields: Any) -> Any:
    return client.post(
        reverse(LAUNCH), {"name": "Trial", "repeats": "1", "base_seed": "0", "priority": "0", **fields}
    )


def test_a_run_over_a_dataset_is_launched(as_admin: Client) -> None:
    versions = PromptVersionFactory.create_batch(2)
    item = DatasetItemFactory()

    response = launch(
        as_admin,
        prompt_versions=[version.pk for version in versions],
        dataset_version=item.dataset_version_id,
    )

    run = Run.objects.get()
    assert response.headers["Location"] == reverse("admin:generations_run_change", args=[run.pk])
    assert run.generations.count() == 2


def test_a_run_with_variables_and_an_input_image_is_launched(as_admin: Client) -> None:
    version = PromptVersionFactory(image_model=ImageModelFactory(kind=Kind.IMAGE_EDIT, max_inputs=1))

    response = launch(
        as_admin,
        prompt_versions=[version.pk],
        **{"var-subject": "a cat", "var-other": "left out"},
        brief="A cat.",
        inputs=make_image(),
    )

    assert response.status_code == 302, response.content
    made = Generation.objects.get()
    assert (made.rendered_prompt, made.brief) == ("A photo of a cat, soft light", "A cat.")
    assert made.inputs.count() == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "no value for subject"),
        ({"var-subject": "a", "repeats": "0"}, "greater than or equal to 1"),
        ({"var-subject": "a", "name": ""}, "This field is required"),
        ({"var-subject": "a", "inputs": "image"}, "takes no input images"),
        ({"var-subject": "a", "inputs": "no image"}, "not an image"),
        ({"var-subject": "a\x00"}, "NUL"),
    ],
)
def test_a_refused_launch_keeps_what_was_typed(
    as_admin: Client, fields: dict[str, Any], sentence: str
) -> None:
    version = PromptVersionFactory()
    given = dict(fields)
    if given.get("inputs") == "image":
        given["inputs"] = make_image()
    elif given.get("inputs"):
        given["inputs"] = SimpleUploadedFile("a.png", b"%PDF")

    response = launch(as_admin, prompt_versions=[version.pk], note="Keep me", **given)

    page = response.content.decode()
    assert response.status_code == 200
    assert sentence in page
    assert "Keep me" in page
    assert f'value="{version.pk}" checked' in page
    assert 'name="var-subject"' in page
    assert not Run.objects.exists()


def test_a_deleted_version_of_a_link_is_named(as_admin: Client) -> None:
    version = PromptVersionFactory(deleted=True)

    response = as_admin.get(reverse(LAUNCH), {"version": version.pk})

    assert "deleted" in " ".join(str(message) for message in response.context["messages"])


def test_a_runs_progress_asks_again_until_it_is_finished(as_admin: Client, rows: dict[str, Any]) -> None:
    address = reverse("admin:generations_run_progress", args=[rows["run"].pk])

    running = as_admin.get(address)
    Generation.objects.filter(status=Status.QUEUED).update(
        status=Status.CANCELLED, finished_at=timezone.now()
    )
    finished = as_admin.get(address)

    assert (running.status_code, finished.status_code) == (200, 286)
    assert "hx-trigger" in running.content.decode()
    assert "hx-trigger" not in finished.content.decode()


def test_a_run_is_cancelled_after_a_question_and_retried(as_admin: Client, rows: dict[str, Any]) -> None:
    cancel = reverse("admin:generations_run_cancel", args=[rows["run"].pk])

    assert as_admin.get(cancel).status_code == 200
    assert Generation.objects.filter(status=Status.QUEUED).exists()
    as_admin.post(cancel)
    assert not Generation.objects.filter(status=Status.QUEUED).exists()
    as_admin.post(reverse("admin:generations_run_retry", args=[rows["run"].pk]), {"error_code": "refused"})
    assert Generation.objects.filter(status=Status.QUEUED).count() == 1


def test_a_generation_is_cancelled_and_retried(as_admin: Client, rows: dict[str, Any]) -> None:
    as_admin.post(reverse("admin:generations_generation_cancel", args=[rows["queued"].pk]))
    response = as_admin.post(reverse("admin:generations_generation_retry", args=[rows["failed"].pk]))

    rows["queued"].refresh_from_db()
    assert rows["queued"].status == Status.CANCELLED
    retry = Generation.objects.get(retry_of=rows["failed"])
    assert response.headers["Location"].endswith(f"/{retry.pk}/change/")
    again = as_admin.post(
        reverse("admin:generations_generation_retry", args=[rows["failed"].pk]), follow=True
    )
    assert "only once" in again.content.decode()


def test_a_datasets_images_names_and_deletion_have_their_pages(
    as_admin: Client, rows: dict[str, Any]
) -> None:
    dataset = rows["dataset"]
    key = dataset.versions.get().items.get().key
    images = reverse("admin:generations_dataset_images", args=[dataset.pk])
    change = reverse("admin:generations_dataset_change", args=[dataset.pk])

    assert as_admin.post(f"{images}?key={key}", {"inputs": make_image()}).status_code == 302
    assert dataset.versions.get(number=2).items.get().images.count() == 1
    as_admin.post(change, {"name": "Renamed", "slug": "", "description": ""})
    dataset.refresh_from_db()
    assert dataset.name == "Renamed"
    as_admin.post(reverse("admin:generations_dataset_delete", args=[dataset.pk]))
    dataset.refresh_from_db()
    assert dataset.is_deleted
    as_admin.post(reverse("admin:generations_dataset_restore", args=[dataset.pk]))
    dataset.refresh_from_db()
    assert not dataset.is_deleted


def test_a_page_takes_the_same_number_of_queries_for_one_row_and_five(as_admin: Client) -> None:
    dataset_version = DatasetVersionFactory()
    version = PromptVersionFactory()
    run = RunFactory(prompt_versions=[version], dataset_version=dataset_version)

    def add_rows() -> None:
        item = DatasetItemFactory(dataset_version=dataset_version)
        GenerationFactory(run=run, prompt_version=version, case_key=item.key, completed=True)
        GenerationFactory(completed=True)
        DatasetItemFactory()

    def count(address: str) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert as_admin.get(address).status_code == 200
        return len(captured)

    add_rows()
    addresses = [
        reverse("admin:generations_dataset_changelist"),
        reverse("admin:generations_dataset_change", args=[dataset_version.dataset_id]),
        reverse("admin:generations_run_changelist"),
        reverse("admin:generations_run_change", args=[run.pk]),
        reverse("admin:generations_generation_changelist"),
        reverse(LAUNCH),
    ]
    for address in addresses:
        count(address)
    for_one = [count(address) for address in addresses]
    for _ in range(4):
        add_rows()

    assert [count(address) for address in addresses] == for_one
