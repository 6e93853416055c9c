"""Generations made elsewhere, the progress of runs, and the consensus written from above."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from generations.choices import ErrorCode, Source, Status
from generations.models import Generation
from generations.selectors import attach_counts, get_run_progress, get_run_state
from generations.services.consensus import set_consensus, set_input_rating
from generations.services.images import (
    InputsInvalidError,
    InputsNotAcceptedError,
    TooManyFilesError,
    UploadedInput,
    add_inputs,
)
from generations.services.planning import VersionDeletedError
from generations.services.recording import (
    OutputsNotAcceptedError,
    RecordingInvalidError,
    add_outputs,
    record_generation,
)
from generations.services.runs import cancel_generation
from mayagen.common.errors import DomainError, NotFoundError, PermissionDeniedError
from prompts.choices import Kind
from prompts.rendering import MissingVariableError
from tests.generations.factories import (
    DatasetItemFactory,
    GenerationFactory,
    InputImageFactory,
    OutputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db


def record(actor: User, **fields: Any) -> Generation:
    given = {"prompt_version": PromptVersionFactory(), "variables": {"subject": "a cat"}, **fields}
    return record_generation(actor=actor, **given)


def test_work_made_elsewhere_waits_for_its_images_and_is_never_due(admin: User) -> None:
    generation = record(admin)

    assert (generation.status, generation.source, generation.run) == (Status.QUEUED, Source.EXTERNAL, None)
    assert generation.rendered_prompt == "A photo of a cat, soft light"
    far_future = timezone.now() + timedelta(days=365 * 100)
    assert not Generation.objects.due(far_future).exists()


def test_the_first_outputs_complete_it(admin: User) -> None:
    generation = record(admin)

    add_outputs(actor=admin, generation=generation, files=[make_png(1), make_png(2)])

    assert generation.status == Status.COMPLETED
    assert generation.finished_at is not None
    assert generation.outputs.count() == 2


def test_the_case_of_a_dataset_item_serves(admin: User) -> None:
    item = DatasetItemFactory(key="k", brief="A cat.", variables={"subject": "cat", "other": "x"})

    generation = record(admin, variables=None, dataset_item=item, output_files=[make_png(1)])

    assert (generation.case_key, generation.brief) == ("k", "A cat.")
    assert generation.status == Status.COMPLETED


@pytest.mark.parametrize(
    "fields",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"case_key": "k" * 121},
        {"duration_ms": -1},
        {"cost_usd": Decimal(-1)},
        {"rendered_prompt": "x" * 100_001},
    ],
)
def test_values_out_of_range_are_refused(admin: User, fields: dict[str, Any]) -> None:
    with pytest.raises(RecordingInvalidError):
        record(admin, **fields)

    assert not Generation.objects.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"rendered_prompt": "a\x00b"},
        {"rendered_prompt": "a", "variables": {"a": "\x00"}},
        {"parameters": {"a": float("nan")}},
        {"parameters": {"a": "\ud800"}},
    ],
)
def test_values_that_no_database_holds_are_refused(admin: User, fields: dict[str, Any]) -> None:
    with pytest.raises(DomainError):
        record(admin, **fields)

    assert not Generation.objects.exists()


def test_variables_are_needed_unless_the_sent_prompt_is_given(admin: User) -> None:
    with pytest.raises(MissingVariableError):
        record(admin, variables={})

    assert record(admin, variables={}, rendered_prompt="By hand").rendered_prompt == "By hand"


def test_a_deleted_version_takes_no_records(admin: User) -> None:
    with pytest.raises(VersionDeletedError):
        record(admin, prompt_version=PromptVersionFactory(deleted=True))


def test_a_cancelled_record_takes_no_outputs(admin: User) -> None:
    generation = record(admin)
    cancel_generation(actor=admin, generation=generation)

    with pytest.raises(OutputsNotAcceptedError):
        add_outputs(actor=admin, generation=generation, files=[make_png(1)])


def test_a_generation_has_sixteen_outputs_at_most(admin: User) -> None:
    generation = record(admin, output_files=[make_png(1)] * 16)

    with pytest.raises(RecordingInvalidError):
        add_outputs(actor=admin, generation=generation, files=[make_png(1)])
    with pytest.raises(TooManyFilesError):
        record(admin, output_files=[make_png(1)] * 17)


def test_inputs_are_added_before_a_generation_is_sent_and_not_after(admin: User) -> None:
    model = ImageModelFactory(kind=Kind.IMAGE_EDIT, max_inputs=2)
    waiting = GenerationFactory(prompt_version__image_model=model)
    sent = GenerationFactory(prompt_version__image_model=model, processing=True)

    add_inputs(actor=admin, generation=waiting, files=[UploadedInput(make_png(1))])
    add_inputs(actor=admin, generation=waiting, files=[UploadedInput(make_png(2))])

    assert [image.position for image in waiting.inputs.order_by("position")] == [0, 1]
    with pytest.raises(InputsInvalidError):
        add_inputs(actor=admin, generation=waiting, files=[UploadedInput(make_png(3))])
    with pytest.raises(InputsNotAcceptedError):
        add_inputs(actor=admin, generation=sent, files=[UploadedInput(make_png(1))])


@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_only_admins_record(role: str, request: pytest.FixtureRequest) -> None:
    actor = request.getfixturevalue(role)

    with pytest.raises(PermissionDeniedError):
        record(actor)
    with pytest.raises(PermissionDeniedError):
        add_outputs(actor=actor, generation=GenerationFactory(), files=[make_png(1)])
    with pytest.raises(PermissionDeniedError):
        add_inputs(actor=actor, generation=GenerationFactory(), files=[])


@pytest.mark.parametrize(
    ("counts", "state"),
    [
        ({"queued": 2}, Status.QUEUED),
        ({"queued": 1, "completed": 1}, Status.PROCESSING),
        ({"processing": 1}, Status.PROCESSING),
        ({"completed": 1, "failed": 1}, Status.COMPLETED),
        ({"failed": 1}, Status.FAILED),
        ({"completed": 1, "cancelled": 1}, Status.CANCELLED),
        ({}, Status.COMPLETED),
    ],
)
def test_a_runs_state_follows_from_its_counts(counts: dict[str, int], state: str) -> None:
    assert get_run_state({**dict.fromkeys(Status.values, 0), **counts}) == state


def test_progress_says_rate_end_cost_and_failures(django_assert_num_queries: Any) -> None:
    now = timezone.now()
    run = RunFactory()
    model = ImageModelFactory(is_free=False, price_usd="0.04")
    version = PromptVersionFactory(image_model=model)
    common = {"run": run, "prompt_version": version, "n_outputs": 2}
    minute_ago = now - timedelta(seconds=60)
    GenerationFactory.create_batch(
        3, **common, completed=True, outputs=None, started_at=minute_ago, cost_usd="0.08"
    )
    GenerationFactory(**common, failed=True, started_at=minute_ago, error_code=ErrorCode.TIMEOUT)
    GenerationFactory.create_batch(2, **common)

    with django_assert_num_queries(3):
        progress = get_run_progress(run_id=run.pk, now=now)

    assert (progress.n_total, progress.n_finished, progress.is_finished) == (6, 4, False)
    assert progress.per_minute == pytest.approx(4, rel=0.05)
    assert progress.ends_at == pytest.approx(now + timedelta(seconds=30), abs=timedelta(seconds=3))
    assert (progress.cost_usd, progress.expected_usd) == (Decimal("0.24"), Decimal("0.48"))
    (failure,) = progress.failures
    assert (failure.code, failure.label, failure.count) == ("timeout", "Timed out", 1)
    assert failure.sentence


def test_counts_of_many_runs_take_one_query(django_assert_num_queries: Any) -> None:
    runs = [GenerationFactory(failed=True).run, RunFactory()]

    with django_assert_num_queries(1):
        attach_counts(runs)

    assert [run.counts["failed"] for run in runs] == [1, 0]


def test_the_consensus_of_an_output_is_its_generations_too() -> None:
    image = OutputImageFactory()

    set_consensus(output_image_id=image.pk, output_rating=Decimal("3.50"), generation_rating=Decimal("4.25"))

    image.refresh_from_db()
    image.generation.refresh_from_db()
    assert (image.rating, image.generation.result_rating) == (Decimal("3.50"), Decimal("4.25"))
    set_consensus(output_image_id=image.pk, output_rating=None, generation_rating=None)
    image.refresh_from_db()
    assert image.rating is None


def test_the_consensus_of_nothing_is_refused() -> None:
    image = InputImageFactory()

    set_input_rating(input_image_id=image.pk, rating=Decimal("2.00"))

    image.refresh_from_db()
    assert image.rating == Decimal("2.00")
    with pytest.raises(NotFoundError), transaction.atomic():
        set_consensus(output_image_id=image.pk, output_rating=None, generation_rating=None)
    with pytest.raises(NotFoundError):
        set_input_rating(input_image_id=image.generation_id, rating=None)
