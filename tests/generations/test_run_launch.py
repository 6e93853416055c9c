"""Launching runs: all of it or nothing, rendered and checked before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from accounts.models import AuditEntry, User
from generations.choices import ImageRole, Status
from generations.models import Generation, InputImage, Run
from generations.services import inserting
from generations.services.images import InputsInvalidError, UploadedInput
from generations.services.planning import (
    CaseVariablesError,
    PriceUnknownError,
    VersionDeletedError,
    VersionUnusableError,
    make_brief,
    make_seed,
)
from generations.services.runs import (
    DatasetDeletedError,
    RunInvalidError,
    create_run,
)
from mayagen.common.errors import DomainError, PermissionDeniedError
from prompts.choices import Kind
from prompts.rendering import UnknownVariableError
from tests.generations.factories import (
    DatasetItemFactory,
    DatasetItemImageFactory,
    DatasetVersionFactory,
    make_png,
)
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db


def launch(actor: User, **fields: Any) -> Run:
    return create_run(actor=actor, **{"name": "Trial", **fields})


def count_files() -> int:
    root = Path(str(getattr(default_storage, "location", "")))
    return sum(path.is_file() for path in root.rglob("*"))


def test_a_run_makes_versions_times_items_times_repeats(admin: User) -> None:
    first, second = PromptVersionFactory(), PromptVersionFactory(user_prompt="Oil painting of {subject}")
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(3, dataset_version=dataset_version)

    run = launch(admin, prompt_versions=[first, second], dataset_version=dataset_version, repeats=2)

    made = Generation.objects.filter(run=run)
    assert made.count() == 12
    assert set(made.values_list("status", flat=True)) == {Status.QUEUED}
    assert set(run.prompt_versions.all()) == {first, second}
    assert AuditEntry.objects.get(verb="create_run").after["n_generations"] == 12


def test_a_generation_stores_all_that_makes_it_again(admin: User) -> None:
    version = PromptVersionFactory(
        user_prompt="A {style} photo of {subject}",
        system_prompt="You paint {subject}.",
        negative_prompt="blur",
        parameters={"style": "waves"},
        aspect_ratio="16:9",
        resolution_px=1024,
        n_outputs=2,
    )

    run = launch(admin, prompt_versions=[version], variables={"subject": "a cat", "style": "soft"})

    made = Generation.objects.get(run=run)
    assert made.rendered_prompt == "A soft photo of a cat"
    assert made.system_prompt == "You paint a cat."
    assert made.negative_prompt == "blur"
    assert made.parameters == {"style": "waves", "detail": 4}
    assert (made.width_px, made.height_px, made.n_outputs) == (1024, 576, 2)
    assert made.image_model == version.image_model
    assert made.variables == {"subject": "a cat", "style": "soft"}


def test_seeds_are_the_same_for_all_versions_and_differ_by_item_and_repeat(admin: User) -> None:
    versions = PromptVersionFactory.create_batch(2)
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(2, dataset_version=dataset_version)

    run = launch(admin, prompt_versions=versions, dataset_version=dataset_version, repeats=2, base_seed=7)

    seeds: dict[tuple[str, int], set[int | None]] = {}
    for made in Generation.objects.filter(run=run):
        seeds.setdefault((made.case_key, made.repeat), set()).add(made.seed)
    assert all(len(found) == 1 for found in seeds.values())
    assert len({next(iter(found)) for found in seeds.values()}) == 4


@pytest.mark.parametrize("base_seed", [0, 1, 2**31 - 1])
def test_seeds_fit_31_bits_and_can_be_made_again(base_seed: int) -> None:
    seeds = [make_seed(base_seed=base_seed, case_key="ä", repeat=repeat) for repeat in range(200)]

    assert all(0 <= seed < 2**31 for seed in seeds)
    assert seeds == [make_seed(base_seed=base_seed, case_key="ä", repeat=repeat) for repeat in range(200)]


def test_versions_are_frozen_by_their_first_generation(admin: User) -> None:
    version = PromptVersionFactory()

    launch(admin, prompt_versions=[version], variables={"subject": "a cat"})

    version.refresh_from_db()
    assert version.is_used


def test_the_engine_is_woken_once_the_run_is_committed(
    admin: User, django_capture_on_commit_callbacks: Any
) -> None:
    version = PromptVersionFactory()

    with django_capture_on_commit_callbacks() as callbacks:
        launch(admin, prompt_versions=[version], variables={"subject": "a cat"})

    assert len(callbacks) == 1


def test_the_brief_is_the_items_own_or_its_variables(admin: User) -> None:
    version = PromptVersionFactory()
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory(dataset_version=dataset_version, key="a", brief="A calm cat.")
    DatasetItemFactory(dataset_version=dataset_version, key="b", brief="", variables={"subject": "a dog"})

    run = launch(admin, prompt_versions=[version], dataset_version=dataset_version)

    briefs = dict(Generation.objects.filter(run=run).values_list("case_key", "brief"))
    assert briefs == {"a": "A calm cat.", "b": "a dog"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ""),
        ({"subject": "a dog"}, "a dog"),
        ({"subject": "a dog", "art_style": "ink"}, "subject: a dog; art style: ink"),
        ({"subject": "a dog", "extra": ""}, "subject: a dog"),
    ],
)
def test_variables_become_a_plain_brief(variables: dict[str, object], expected: str) -> None:
    assert make_brief("", variables) == expected


def test_a_missing_variable_is_named_with_version_and_item_and_nothing_is_written(admin: User) -> None:
    version = PromptVersionFactory(user_prompt="{subject} in {colour}")
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory(dataset_version=dataset_version, key="good", variables={"subject": "a", "colour": "b"})
    DatasetItemFactory(dataset_version=dataset_version, key="bad", variables={"subject": "a"})

    with pytest.raises(CaseVariablesError) as caught:
        launch(admin, prompt_versions=[version], dataset_version=dataset_version)

    assert caught.value.code == "missing_variable"
    assert caught.value.extra["problems"] == [{"version": str(version), "item": "bad", "names": ["colour"]}]
    assert "bad" in caught.value.message
    assert not Run.objects.exists()
    version.refresh_from_db()
    assert not version.is_used


def test_a_variable_that_no_version_uses_is_refused(admin: User) -> None:
    with pytest.raises(UnknownVariableError):
        launch(admin, prompt_versions=[PromptVersionFactory()], variables={"subject": "a", "colour": "b"})


def test_a_dataset_may_hold_more_variables_than_a_version_uses(admin: User) -> None:
    item = DatasetItemFactory(variables={"subject": "a", "colour": "b"})

    run = launch(admin, prompt_versions=[PromptVersionFactory()], dataset_version=item.dataset_version)

    assert run.generations.count() == 1


@pytest.mark.parametrize("value", [None, [], {}, "a\x00b", float("nan"), 10**200])
def test_a_value_that_is_no_text_names_the_version(admin: User, value: object) -> None:
    version = PromptVersionFactory()

    with pytest.raises(DomainError) as caught:
        launch(admin, prompt_versions=[version], variables={"subject": value})

    assert caught.value.code == "variable_value"
    assert str(version) in caught.value.message
    assert not Run.objects.exists()


def test_deleted_versions_and_prompts_are_refused(admin: User) -> None:
    deleted = PromptVersionFactory(deleted=True)
    of_deleted = PromptVersionFactory(prompt__deleted=True)

    for version in (deleted, of_deleted):
        with pytest.raises(VersionDeletedError) as caught:
            launch(admin, prompt_versions=[version], variables={"subject": "a"})
        assert (caught.value.code, caught.value.status) == ("version_deleted", 422)


@pytest.mark.parametrize("fields", [{"is_active": False}, {"deleted": True}, {"max_outputs": 1}])
def test_a_model_that_is_not_available_is_refused(admin: User, fields: dict[str, Any]) -> None:
    version = PromptVersionFactory(image_model=ImageModelFactory(**fields), n_outputs=2)

    with pytest.raises(VersionUnusableError):
        launch(admin, prompt_versions=[version], variables={"subject": "a"})


def test_a_model_without_a_price_is_refused(admin: User) -> None:
    version = PromptVersionFactory(image_model=ImageModelFactory(is_free=False, price_usd=None))

    with pytest.raises(PriceUnknownError):
        launch(admin, prompt_versions=[version], variables={"subject": "a"})


def test_parameters_are_checked_against_the_models_schema_of_today(admin: User) -> None:
    version = PromptVersionFactory(parameters={"style": "cubism"})

    with pytest.raises(DomainError) as caught:
        launch(admin, prompt_versions=[version], variables={"subject": "a"})

    assert caught.value.code == "parameters_invalid"
    assert "parameters.style" in caught.value.fields


def test_a_deleted_or_empty_dataset_is_refused(admin: User) -> None:
    version = PromptVersionFactory()
    item = DatasetItemFactory(dataset_version__dataset__deleted_at=timezone.now())

    with pytest.raises(DatasetDeletedError):
        launch(admin, prompt_versions=[version], dataset_version=item.dataset_version)
    with pytest.raises(RunInvalidError):
        launch(admin, prompt_versions=[version], dataset_version=DatasetVersionFactory())


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 256}, "name"),
        ({"prompt_versions": []}, "prompt_versions"),
        ({"repeats": 0}, "repeats"),
        ({"repeats": 101}, "repeats"),
        ({"base_seed": -1}, "base_seed"),
        ({"base_seed": 2**31}, "base_seed"),
        ({"priority": 5}, "priority"),
        ({"brief": "x" * 2_001}, "brief"),
    ],
)
def test_values_out_of_range_are_named(admin: User, fields: dict[str, Any], name: str) -> None:
    given = {"prompt_versions": [PromptVersionFactory()], "variables": {"subject": "a"}, **fields}

    with pytest.raises(RunInvalidError) as caught:
        launch(admin, **given)

    assert set(caught.value.fields) == {name}


def test_a_version_named_twice_is_refused(admin: User) -> None:
    version = PromptVersionFactory()

    with pytest.raises(RunInvalidError):
        launch(admin, prompt_versions=[version, version], variables={"subject": "a"})


@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_only_admins_launch(role: str, request: pytest.FixtureRequest) -> None:
    version = PromptVersionFactory()

    with pytest.raises(PermissionDeniedError):
        launch(request.getfixturevalue(role), prompt_versions=[version], variables={"subject": "a"})


def edit_version(**fields: Any) -> Any:
    return PromptVersionFactory(
        image_model=ImageModelFactory(**{"kind": Kind.IMAGE_EDIT, "max_inputs": 2, **fields})
    )


def test_uploaded_inputs_are_stored_once_and_shared_by_all_generations(admin: User) -> None:
    version = edit_version()
    dataset_version = DatasetItemFactory().dataset_version
    DatasetItemFactory(dataset_version=dataset_version)

    run = launch(
        admin,
        prompt_versions=[version],
        dataset_version=dataset_version,
        input_files=[UploadedInput(make_png(1))],
    )

    inputs = InputImage.objects.filter(generation__run=run)
    assert inputs.count() == 2
    assert len({image.file.name for image in inputs}) == 1
    assert count_files() == 4


def test_items_images_are_shared_by_their_generations(admin: User) -> None:
    image = DatasetItemImageFactory()

    run = launch(
        admin, prompt_versions=[edit_version()], dataset_version=image.item.dataset_version, repeats=2
    )

    inputs = InputImage.objects.filter(generation__run=run)
    assert [given.file.name for given in inputs] == [image.file.name] * 2


@pytest.mark.parametrize(
    ("fields", "roles"),
    [
        ({}, []),
        ({}, [ImageRole.MASK]),
        ({}, [ImageRole.REFERENCE] * 3),
        ({}, [ImageRole.REFERENCE, ImageRole.MASK, ImageRole.MASK]),
        ({"kind": Kind.INPAINTING}, [ImageRole.REFERENCE]),
        ({"kind": Kind.TEXT_TO_IMAGE}, [ImageRole.REFERENCE]),
    ],
)
def test_inputs_must_fit_the_model_and_leave_no_files(
    admin: User, fields: dict[str, Any], roles: list[str]
) -> None:
    files = [UploadedInput(make_png(number), role) for number, role in enumerate(roles)]

    with pytest.raises(InputsInvalidError):
        launch(admin, prompt_versions=[edit_version(**fields)], variables={"subject": "a"}, input_files=files)

    assert count_files() == 0
    assert not Run.objects.exists()


def test_a_file_that_is_no_image_leaves_nothing(admin: User) -> None:
    files = [UploadedInput(make_png(1)), UploadedInput(b"%PDF-1.7 this is no image")]

    with pytest.raises(DomainError) as caught:
        launch(admin, prompt_versions=[edit_version()], variables={"subject": "a"}, input_files=files)

    assert caught.value.code == "media_not_an_image"
    assert caught.value.message.startswith("File 2:")
    assert count_files() == 0
    assert not Run.objects.exists()


@pytest.mark.parametrize("n_items", [1, 5])
def test_the_number_of_queries_does_not_grow_with_the_items(
    admin: User, n_items: int, django_assert_max_num_queries: Any
) -> None:
    versions = PromptVersionFactory.create_batch(2)
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(n_items, dataset_version=dataset_version)

    with django_assert_max_num_queries(22):
        launch(admin, prompt_versions=versions, dataset_version=dataset_version)


@pytest.mark.parametrize("batch", [1, 1_000])
def test_large_runs_are_written_as_small_ones_are(
    admin: User, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inserting, "BATCH", batch)
    version = PromptVersionFactory(temperature="0.70")
    odd = 'tab\t, line\nend, \\N, \\., "quotes", {braces}, é 漢 🦊'
    variables = {"subject": odd, "number": 0.5, "flag": True}
    item = DatasetItemFactory(variables=variables, brief=odd)

    run = launch(admin, prompt_versions=[version], dataset_version=item.dataset_version, repeats=2)

    first, second = Generation.objects.filter(run=run).order_by("repeat")
    assert first.variables == second.variables == variables
    assert first.rendered_prompt == f"A photo of {odd}, soft light"
    assert (first.brief, first.status, first.source) == (odd, Status.QUEUED, "engine")
    assert (first.repeat, second.repeat, first.dataset_item_id) == (0, 1, item.pk)
    assert first.created_by == admin
    assert (first.result_rating, first.retry_of_id, first.error_code) == (None, None, "")
    assert first.parameters == {"style": "shapes", "detail": 4}
