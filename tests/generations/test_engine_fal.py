"""The engine with a provider that hands out job ids: one order for each picture, whatever happens to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.recovering import recover_abandoned
from generations.models import Attempt, Generation
from prompts.models import ImageModel
from tests.generations.engine_cases import LIMITS, let_leases_lapse, make_due, make_model
from tests.providers.fal_server import Behaviour, FalServer, running_server
from tests.providers.serving import Dice

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[FalServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def model(server: FalServer, settings: Any) -> ImageModel:
    return make_model(server, settings, provider="fal", endpoint="fal-ai/flux/dev", base_url=server.url)


def _read(generation: Generation) -> tuple[str, str, int]:
    generation.refresh_from_db()
    return generation.status, generation.error_code, generation.attempts.count()


def test_each_generation_is_ordered_once_and_completes(server: FalServer, model: ImageModel) -> None:
    server.behaviour = Behaviour(queue_seconds=0.1, delay_seconds=0.3)
    generations = make_due(model, 20)

    drain(LIMITS)

    assert [_read(generation) for generation in generations] == [(Status.COMPLETED, "", 1)] * 20
    assert server.n_requests == server.n_completed == 20
    job_ids = set(Attempt.objects.values_list("provider_job_id", flat=True))
    assert job_ids == {f"fal-ai/flux/requests/{request_id}" for request_id in server.jobs}
    assert server.ledger.sum_usd() == 20 * server.price_usd


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("content_policy", ErrorCode.REFUSED),
        ("no_images", ErrorCode.BAD_OUTPUT),
        ("truncated", ErrorCode.BAD_OUTPUT),
        ("wrong_type", ErrorCode.BAD_OUTPUT),
        ("dropped", ErrorCode.OUTCOME_UNKNOWN),
        ("gateway_timeout", ErrorCode.OUTCOME_UNKNOWN),
        ("account_locked", ErrorCode.QUOTA_EXHAUSTED),
    ],
)
def test_what_may_not_be_ordered_again_fails_at_once(
    server: FalServer, model: ImageModel, fault: str, code: str
) -> None:
    server.behaviour.fault = fault
    [generation] = make_due(model)

    drain(LIMITS)
    drain(LIMITS)

    assert _read(generation) == (Status.FAILED, code, 1)
    assert server.n_requests == 1


def test_a_job_that_failed_at_no_cost_is_ordered_again(server: FalServer, model: ImageModel) -> None:
    server.behaviour = Behaviour(fault="runner_lost", first=1)
    [generation] = make_due(model)

    drain(LIMITS)
    Generation.objects.update(due_at=timezone.now())
    drain(LIMITS)

    assert _read(generation) == (Status.COMPLETED, "", 2)
    assert server.ledger.sum_usd() == server.price_usd


def test_questions_that_get_no_answer_are_asked_again_and_nothing_is_ordered_twice(
    server: FalServer, model: ImageModel
) -> None:
    server.behaviour = Behaviour(fault="question_unavailable", first=2)
    [generation] = make_due(model)

    drain(LIMITS)

    assert _read(generation) == (Status.COMPLETED, "", 1)
    assert server.n_requests == 1


def test_the_next_worker_resumes_the_job_of_a_dead_one(server: FalServer, model: ImageModel) -> None:
    [generation] = make_due(model)
    drain(LIMITS)
    [job_id] = server.jobs
    [other] = make_due(model)
    [work] = claim_batch(worker="dead", capacity=10)
    Attempt.objects.filter(pk=work.attempt_id).update(
        state=AttemptState.SUBMITTED, provider_job_id=f"fal-ai/flux/requests/{job_id}"
    )
    let_leases_lapse()
    recover_abandoned()

    drain(LIMITS)

    assert _read(other) == (Status.COMPLETED, "", 1)
    assert _read(generation) == (Status.COMPLETED, "", 1)
    assert server.n_requests == 1


def test_in_a_mixture_of_faults_every_generation_ends_and_none_is_paid_for_twice(settings: Any) -> None:
    rates = {"rate_limited": 0.1, "server_error": 0.1, "hang": 0.05, "dropped": 0.05, "truncated": 0.1}
    with running_server(FalServer(dice=Dice(rates, seed=5))) as server:
        server.behaviour = Behaviour(delay_seconds=0.2, retry_after="0")
        model = make_model(
            server,
            settings,
            provider="fal",
            endpoint="fal-ai/flux/dev",
            base_url=server.url,
            timeout_seconds=2,
            max_attempts=10,
        )
        generations = make_due(model, 60)
        for number, generation in enumerate(generations):
            Generation.objects.filter(pk=generation.pk).update(seed=number)

        for _ in range(20):
            Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now())
            drain(LIMITS)

    ends = Counter(Generation.objects.values_list("status", "error_code"))
    assert set(ends) == {
        (Status.COMPLETED, ""),
        (Status.FAILED, ErrorCode.OUTCOME_UNKNOWN),
        (Status.FAILED, ErrorCode.BAD_OUTPUT),
    }
    charged = Counter(entry.key for entry in server.ledger.list_entries("charged"))
    assert len(charged) == 60
    assert set(charged.values()) == {1}
