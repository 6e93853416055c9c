"""Jobs are followed by their ids: never submitted twice, stopped when cancelled, kept if paid for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from accounts.models import User
from generations.choices import AttemptState, ErrorCode, Status
from generations.engine import fetching
from generations.engine.answering import Ended, Submitted
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.holding import Confirmed, Postponed
from generations.engine.recovering import recover_abandoned
from generations.engine.transitions import apply_all
from generations.engine.work import Work
from generations.models import Attempt, Generation
from generations.services.runs import cancel_generation
from tests.generations.engine_cases import LIMITS, drain_while_cancelling, let_leases_lapse, make_due
from tests.generations.job_cases import leave_job_behind, make_job_model
from tests.providers.fal_server import Behaviour, FalServer, running_server


@pytest.fixture
def server() -> Iterator[FalServer]:
    with running_server() as server:
        yield server


def claim_and_submit(*, worker: str) -> list[Work]:
    """Claim what there is room for, and let the provider give each a job."""
    works = claim_batch(worker=worker, capacity=5)
    apply_all([Submitted(work, f"fal-ai/flux/requests/job-{n}") for n, work in enumerate(works)])
    return works


def finish_for_the_dead(generation: Generation, server: FalServer) -> None:
    """Let another worker take over what was left behind: it completes that, and orders nothing again."""
    let_leases_lapse()

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.attempts.count()) == (Status.COMPLETED, 1)
    assert len(server.requests) == 1


@pytest.mark.django_db
def test_a_job_is_submitted_once_and_its_result_kept(server: FalServer, settings: Any) -> None:
    server.behaviour = Behaviour(delay_seconds=0.3)
    [generation] = make_due(make_job_model(server, settings))

    drain(LIMITS)

    generation.refresh_from_db()
    attempt = generation.attempts.get()
    assert (generation.status, attempt.state) == (Status.COMPLETED, AttemptState.SUCCEEDED)
    assert attempt.provider_job_id
    assert generation.cost_usd == Decimal("0.04")
    assert len(server.requests) == 1


@pytest.mark.django_db
def test_the_job_of_a_dead_worker_is_asked_for_and_not_submitted_again(
    server: FalServer, settings: Any
) -> None:
    generation, _ = leave_job_behind(make_job_model(server, settings))

    finish_for_the_dead(generation, server)


@pytest.mark.django_db
def test_jobs_left_open_are_taken_up_although_they_hold_all_places(server: FalServer, settings: Any) -> None:
    make_due(make_job_model(server, settings, max_in_flight=2), 3)
    works = claim_and_submit(worker="stopping")
    apply_all([Postponed(work, 0.0) for work in works])

    again = claim_batch(worker="next", capacity=5)

    assert {work.attempt_id for work in again} == {work.attempt_id for work in works}
    assert all(work.provider_job_id for work in again)
    assert set(Attempt.objects.in_flight().values_list("worker", flat=True)) == {"next"}
    assert claim_batch(worker="next", capacity=5) == []


@pytest.mark.django_db
def test_a_job_that_has_ended_leaves_its_place_before_its_result_is_fetched(
    server: FalServer, settings: Any
) -> None:
    make_due(make_job_model(server, settings, max_in_flight=2), 4)
    works = claim_and_submit(worker="first")

    apply_all([Ended(works[0])])

    assert len(claim_batch(worker="second", capacity=5)) == 1


@pytest.mark.django_db
def test_a_result_that_a_dead_worker_had_yet_to_fetch_is_fetched_by_the_next(
    server: FalServer, settings: Any
) -> None:
    generation, work = leave_job_behind(make_job_model(server, settings))
    apply_all([Ended(work)])

    finish_for_the_dead(generation, server)


@pytest.mark.django_db
def test_a_result_that_cannot_be_used_makes_room_for_the_next(
    server: FalServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MAX_AT_ONCE", 1)
    monkeypatch.setattr(fetching, "MAX_WHILE_REFILLING", 1)
    server.behaviour = Behaviour(fault="truncated", first=2)
    make_due(make_job_model(server, settings), 5)

    drain(LIMITS)

    statuses = Counter(Generation.objects.values_list("status", flat=True))
    assert statuses == {Status.COMPLETED: 3, Status.FAILED: 2}


@pytest.mark.django_db
def test_abandoned_calls_that_may_be_repeated_are_taken_up_although_they_hold_all_places(
    server: FalServer, settings: Any
) -> None:
    make_due(make_job_model(server, settings, max_in_flight=2, repeats_unknown=True), 3)
    works = claim_batch(worker="dead", capacity=5)
    let_leases_lapse()
    recover_abandoned()

    again = claim_batch(worker="next", capacity=5)

    assert {work.attempt_id for work in again} == {work.attempt_id for work in works}


@pytest.mark.django_db
def test_a_submit_whose_answer_was_lost_is_unknown(server: FalServer, settings: Any) -> None:
    server.behaviour = Behaviour(fault="dropped")
    [generation] = make_due(make_job_model(server, settings))

    drain(LIMITS)
    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.OUTCOME_UNKNOWN)
    assert generation.attempts.get().state == AttemptState.UNKNOWN
    assert len(server.jobs) == 1


@pytest.mark.django_db
def test_a_worker_that_died_before_the_job_id_was_noted_leaves_an_unknown(
    server: FalServer, settings: Any
) -> None:
    [generation] = make_due(make_job_model(server, settings))
    claim_batch(worker="dead", capacity=1)
    let_leases_lapse()

    assert recover_abandoned() == 1

    generation.refresh_from_db()
    assert generation.error_code == ErrorCode.OUTCOME_UNKNOWN


@pytest.mark.django_db
def test_a_questions_lost_answer_costs_no_attempt(server: FalServer, settings: Any) -> None:
    server.behaviour = Behaviour(delay_seconds=0.2, fault="question_unavailable", first=2)
    [generation] = make_due(make_job_model(server, settings))

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.COMPLETED
    assert len(server.requests) == 1


@pytest.mark.django_db(transaction=True)
def test_a_job_cancelled_in_flight_is_stopped_at_the_provider(
    server: FalServer, settings: Any, admin: User
) -> None:
    server.behaviour = Behaviour(delay_seconds=15)
    [generation] = make_due(make_job_model(server, settings))

    drain_while_cancelling(generation, admin)

    generation.refresh_from_db()
    assert (generation.status, generation.is_completed_after_cancel) == (Status.CANCELLED, False)
    assert generation.attempts.get().state == AttemptState.CANCELLED
    assert server.ledger.list_entries("cancelled")
    assert not generation.outputs.exists()


@pytest.mark.django_db(transaction=True)
def test_what_a_provider_delivers_after_a_cancel_is_kept_and_marked(
    server: FalServer, settings: Any, admin: User
) -> None:
    server.behaviour = Behaviour(delay_seconds=1.5, ignores_cancel=True)
    [generation] = make_due(make_job_model(server, settings))

    drain_while_cancelling(generation, admin)

    generation.refresh_from_db()
    assert (generation.status, generation.is_completed_after_cancel) == (Status.CANCELLED, True)
    assert generation.outputs.count() == 1
    assert generation.warning
    assert generation.cost_usd == Decimal("0.04")
    assert generation.attempts.get().state == AttemptState.SUCCEEDED


@pytest.mark.django_db
def test_the_job_of_a_cancelled_generation_whose_worker_died_is_taken_up(
    server: FalServer, settings: Any, admin: User
) -> None:
    generation, _ = leave_job_behind(make_job_model(server, settings))
    cancel_generation(actor=admin, generation=generation)
    let_leases_lapse()

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.is_completed_after_cancel) == (Status.CANCELLED, True)
    assert generation.outputs.count() == 1


@pytest.mark.django_db
def test_a_lease_that_lapsed_unnoticed_is_given_back_before_the_call_leaves(
    server: FalServer, settings: Any
) -> None:
    [generation] = make_due(make_job_model(server, settings))
    [work] = claim_batch(worker="frozen", capacity=1)
    let_leases_lapse()

    assert apply_all([Confirmed(work)]) == [False]

    generation.refresh_from_db()
    assert generation.status == Status.QUEUED
    [again] = claim_batch(worker="next", capacity=1)
    assert (again.attempt_id, again.attempt_number) == (work.attempt_id, 1)


@pytest.mark.django_db
def test_a_call_is_not_confirmed_to_whom_another_worker_has_followed(
    server: FalServer, settings: Any
) -> None:
    make_due(make_job_model(server, settings, repeats_unknown=True))
    [frozen] = claim_batch(worker="frozen", capacity=1)
    let_leases_lapse()
    recover_abandoned()
    [following] = claim_batch(worker="next", capacity=1)

    assert apply_all([Confirmed(frozen)]) == [False]
    assert apply_all([Confirmed(following)]) == [True]
