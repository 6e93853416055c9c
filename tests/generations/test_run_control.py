"""Cancelling and retrying: compare-and-set, never twice, and what went in is kept."""

from __future__ import annotations

import pytest
from django.utils import timezone

from accounts.models import AuditEntry, User
from generations.choices import ErrorCode, Source, Status
from generations.models import Generation, Run
from generations.selectors import get_run_progress
from generations.services.planning import VersionDeletedError, VersionUnusableError
from generations.services.retrying import (
    GenerationNotRetryableError,
    NothingToRetryError,
    retry_failed,
    retry_generation,
)
from generations.services.runs import (
    GenerationFinishedError,
    RunFinishedError,
    cancel_generation,
    cancel_run,
)
from mayagen.common.errors import PermissionDeniedError
from tests.generations.factories import GenerationFactory, InputImageFactory, RunFactory

pytestmark = pytest.mark.django_db


def test_cancelling_a_run_ends_what_is_open_and_leaves_the_rest(admin: User) -> None:
    run = RunFactory()
    queued = GenerationFactory(run=run)
    processing = GenerationFactory(run=run, processing=True)
    completed = GenerationFactory(run=run, completed=True)

    n_cancelled = cancel_run(actor=admin, run=run)

    assert n_cancelled == 2
    statuses = dict(Generation.objects.values_list("pk", "status"))
    assert statuses == {
        queued.pk: Status.CANCELLED,
        processing.pk: Status.CANCELLED,
        completed.pk: Status.COMPLETED,
    }
    run.refresh_from_db()
    assert run.cancelled_at is not None
    assert AuditEntry.objects.get(verb="cancel_run").after == {"n_cancelled": 2}


def test_a_worker_that_holds_a_cancelled_generation_has_an_old_fence(admin: User) -> None:
    generation = GenerationFactory(processing=True)

    cancelled = cancel_generation(actor=admin, generation=generation)

    assert cancelled.fence == 2
    assert cancelled.lease_expires_at == generation.lease_expires_at
    assert cancelled.finished_at is not None


@pytest.mark.parametrize("trait", ["completed", "failed", "cancelled"])
def test_what_is_finished_cannot_be_cancelled(admin: User, trait: str) -> None:
    generation = GenerationFactory(**{trait: True})

    with pytest.raises(GenerationFinishedError):
        cancel_generation(actor=admin, generation=generation)
    with pytest.raises(RunFinishedError):
        cancel_run(actor=admin, run=generation.run)


def test_a_retry_is_a_new_generation_of_the_same_request(admin: User) -> None:
    old = GenerationFactory(failed=True, seed=77, parameters={"detail": 3})
    given = InputImageFactory(generation=old)

    new = retry_generation(actor=admin, generation=old)

    old.refresh_from_db()
    new.refresh_from_db()
    assert old.is_superseded
    assert old.status == Status.FAILED
    assert (new.status, new.retry_of, new.seed, new.parameters) == (Status.QUEUED, old, 77, {"detail": 3})
    assert (new.case_key, new.run, new.created_by) == (old.case_key, old.run, admin)
    assert new.error_code == ""
    assert new.inputs.get().file.name == given.file.name


def test_a_generation_is_retried_once_only(admin: User) -> None:
    old = GenerationFactory(failed=True)
    retry_generation(actor=admin, generation=old)

    with pytest.raises(GenerationNotRetryableError):
        retry_generation(actor=admin, generation=old)

    assert Generation.objects.count() == 2


@pytest.mark.parametrize("traits", [{}, {"processing": True}, {"completed": True}])
def test_only_failed_and_cancelled_generations_are_retried(admin: User, traits: dict[str, bool]) -> None:
    with pytest.raises(GenerationNotRetryableError):
        retry_generation(actor=admin, generation=GenerationFactory(**traits))


def test_a_cancelled_generation_can_be_retried(admin: User) -> None:
    new = retry_generation(actor=admin, generation=GenerationFactory(cancelled=True))

    assert new.status == Status.QUEUED


def test_work_made_elsewhere_is_not_retried(admin: User) -> None:
    with pytest.raises(GenerationNotRetryableError):
        retry_generation(
            actor=admin, generation=GenerationFactory(cancelled=True, source=Source.EXTERNAL, run=None)
        )


def test_failures_of_a_run_are_retried_by_code(admin: User) -> None:
    run = RunFactory()
    GenerationFactory(run=run, failed=True, error_code=ErrorCode.TIMEOUT)
    GenerationFactory.create_batch(2, run=run, failed=True, error_code=ErrorCode.REFUSED)
    GenerationFactory(run=run, cancelled=True)
    GenerationFactory(run=run, completed=True)

    assert retry_failed(actor=admin, run=run, error_code=ErrorCode.REFUSED) == 2
    assert retry_failed(actor=admin, run=run) == 1
    with pytest.raises(NothingToRetryError):
        retry_failed(actor=admin, run=run)


def test_superseded_generations_are_left_out_of_a_runs_counts(admin: User) -> None:
    run = RunFactory()
    GenerationFactory(run=run, failed=True)

    retry_failed(actor=admin, run=run)

    progress = get_run_progress(run_id=run.pk, now=timezone.now())
    assert (progress.n_total, progress.counts[Status.FAILED], progress.counts[Status.QUEUED]) == (1, 0, 1)
    counted = Run.objects.with_counts().get()
    assert (counted.n_total, counted.n_failed) == (1, 0)  # type: ignore[attr-defined]


def test_a_retry_with_a_deleted_version_or_model_is_refused(admin: User) -> None:
    deleted = GenerationFactory(failed=True, prompt_version__deleted=True)
    unavailable = GenerationFactory(failed=True, prompt_version__image_model__is_active=False)

    with pytest.raises(VersionDeletedError):
        retry_generation(actor=admin, generation=deleted)
    with pytest.raises(VersionUnusableError):
        retry_failed(actor=admin, run=unavailable.run)

    assert not Generation.objects.filter(is_superseded=True).exists()


@pytest.mark.parametrize("role", ["evaluator", "viewer"])
def test_only_admins_cancel_and_retry(role: str, request: pytest.FixtureRequest) -> None:
    actor = request.getfixturevalue(role)
    generation = GenerationFactory(failed=True)

    with pytest.raises(PermissionDeniedError):
        cancel_run(actor=actor, run=generation.run)
    with pytest.raises(PermissionDeniedError):
        cancel_generation(actor=actor, generation=generation)
    with pytest.raises(PermissionDeniedError):
        retry_failed(actor=actor, run=generation.run)
    with pytest.raises(PermissionDeniedError):
        retry_generation(actor=actor, generation=generation)
