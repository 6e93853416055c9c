"""Work whose worker is gone is taken up; work that somebody else has, or that was cancelled, is let go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import User
from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.claiming import claim_batch, to_model_spec
from generations.engine.drain import drain
from generations.engine.preparing import prepare_forgotten
from generations.engine.recovering import close_cancelled_attempts, recover_abandoned
from generations.engine.transitions import Failed, Failure, apply_all
from generations.models import Attempt, Generation
from generations.services.ledger import Account, reserve
from generations.services.runs import cancel_generation
from generations.tasks import sweep
from tests.generations.engine_cases import LIMITS, let_leases_lapse, make_due, make_model
from tests.generations.factories import GenerationFactory, OutputImageFactory
from tests.prompts.factories import ImageModelFactory
from tests.providers.openai_server import OpenAIServer, running_server


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.mark.django_db
def test_a_call_of_a_dead_worker_with_an_unknown_outcome_waits_for_a_person(
    server: OpenAIServer, settings: Any
) -> None:
    [generation] = make_due(make_model(server, settings))
    claim_batch(worker="dead", capacity=10)
    let_leases_lapse()

    assert recover_abandoned() == 1

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.OUTCOME_UNKNOWN)
    assert generation.attempts.get().state == AttemptState.UNKNOWN
    assert not server.requests


@pytest.mark.django_db
def test_a_free_call_of_a_dead_worker_is_made_again_under_the_same_attempt() -> None:
    [generation] = make_due(ImageModelFactory(parameters_schema={}, default_parameters={}), width_px=64)
    claim_batch(worker="dead", capacity=10)
    let_leases_lapse()

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.COMPLETED
    assert generation.attempts.count() == 1


@pytest.mark.django_db
def test_a_job_that_was_submitted_is_asked_for_and_keeps_its_attempt(
    server: OpenAIServer, settings: Any
) -> None:
    make_due(make_model(server, settings))
    [work] = claim_batch(worker="dead", capacity=10)
    Attempt.objects.filter(pk=work.attempt_id).update(state=AttemptState.SUBMITTED, provider_job_id="job-1")
    let_leases_lapse()
    recover_abandoned()

    [again] = claim_batch(worker="next", capacity=10)

    assert (again.attempt_id, again.provider_job_id) == (work.attempt_id, "job-1")
    assert again.fence > work.fence


@pytest.mark.django_db
def test_a_lease_that_has_not_lapsed_is_left_alone(server: OpenAIServer, settings: Any) -> None:
    make_due(make_model(server, settings))
    claim_batch(worker="alive", capacity=10)

    assert recover_abandoned() == 0


@pytest.mark.django_db
def test_a_late_worker_writes_nothing(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings, repeats_unknown=True))
    [late] = claim_batch(worker="late", capacity=10)
    let_leases_lapse()
    recover_abandoned()
    claim_batch(worker="next", capacity=10)

    written = apply_all([Failed(late, Failure(code=ErrorCode.TIMEOUT, sentence="Late."), duration_ms=1)])

    generation.refresh_from_db()
    assert written == [False]
    assert (generation.status, generation.worker) == (Status.PROCESSING, "next")


@pytest.mark.django_db
def test_open_attempts_of_work_cancelled_long_ago_are_closed(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings))
    claim_batch(worker="dead", capacity=10)
    Generation.objects.filter(pk=generation.pk).update(
        status=Status.CANCELLED, finished_at=timezone.now() - timedelta(hours=1), lease_expires_at=None
    )

    assert close_cancelled_attempts() == 1
    assert not Attempt.objects.in_flight().exists()


@pytest.mark.django_db
def test_copies_that_a_dead_worker_left_unmade_are_made_by_the_sweep() -> None:
    output = OutputImageFactory(
        thumbnail="", small_thumbnail="", blind="", created_at=timezone.now() - timedelta(minutes=5)
    )

    assert prepare_forgotten() == 1

    output.refresh_from_db()
    assert output.blind
    assert output.thumbnail


@pytest.mark.django_db(transaction=True)
def test_the_sweep_wakes_the_engine_when_something_is_due() -> None:
    from django_q.models import OrmQ

    GenerationFactory()

    sweep()

    assert OrmQ.objects.count() == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_at_once_never_get_the_same_generation_nor_exceed_the_limit(
    server: OpenAIServer, settings: Any
) -> None:
    make_due(make_model(server, settings, max_in_flight=40), 60)
    claimed: list[list[Any]] = []
    barrier = threading.Barrier(8)

    def claim(number: int) -> None:
        barrier.wait()
        works = []
        for _ in range(5):
            works += claim_batch(worker=f"worker-{number}", capacity=3)
        claimed.append([work.generation_id for work in works])
        connection.close()

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ids = [generation_id for part in claimed for generation_id in part]
    assert len(ids) == len(set(ids)) == 40
    assert Attempt.objects.in_flight().count() == 40


@pytest.mark.django_db
def test_a_claim_costs_the_same_queries_for_one_row_and_for_many(
    server: OpenAIServer, settings: Any, django_assert_max_num_queries: Any
) -> None:
    make_due(make_model(server, settings), 30)

    with django_assert_max_num_queries(12):
        assert len(claim_batch(worker="w", capacity=30)) == 30


@pytest.mark.django_db
def test_a_free_model_may_always_be_asked_again() -> None:
    assert to_model_spec(ImageModelFactory(is_free=True)).repeats_unknown


@pytest.mark.django_db
def test_a_lost_answer_is_asked_for_again_under_the_same_key(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "reset_mid_body"
    server.behaviour.first = 1
    options = {"supports_idempotency_key": True}
    [generation] = make_due(make_model(server, settings, provider_options=options))
    drain(LIMITS)
    assert generation.attempts.get().state == AttemptState.STARTED
    Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now())

    drain(LIMITS)

    generation.refresh_from_db()
    keys = [seen.headers["Idempotency-Key"] for seen in server.requests]
    assert (generation.status, generation.attempts.count()) == (Status.COMPLETED, 1)
    assert keys == [f"{generation.pk}-1"] * 2


@pytest.mark.django_db
def test_a_call_of_a_dead_worker_is_made_again_under_its_key(server: OpenAIServer, settings: Any) -> None:
    options = {"supports_idempotency_key": True}
    [generation] = make_due(make_model(server, settings, provider_options=options))
    claim_batch(worker="dead", capacity=10)
    let_leases_lapse()

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.attempts.count()) == (Status.COMPLETED, 1)
    assert [seen.headers["Idempotency-Key"] for seen in server.requests] == [f"{generation.pk}-1"]


@pytest.mark.django_db
def test_what_a_cancelled_call_of_a_dead_worker_may_have_cost_counts_as_spent(
    server: OpenAIServer, settings: Any, admin: User
) -> None:
    price = Decimal("0.04")
    [generation] = make_due(make_model(server, settings), reserved_usd=price, created_by=admin)
    reserve(account=Account.of(admin.pk, generation.created_at), prices=[price])
    claim_batch(worker="dead", capacity=10)
    cancel_generation(actor=admin, generation=generation)
    Generation.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))

    assert close_cancelled_attempts() == 1

    generation.refresh_from_db()
    assert generation.attempts.get().state == AttemptState.UNKNOWN
    assert (generation.status, generation.cost_usd, generation.reserved_usd) == (
        Status.CANCELLED,
        price,
        None,
    )
