"""Webhooks only wake us: forged, doubled, early or late ones change nothing; lost jobs come home."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.claiming import claim_batch
from generations.engine.drain import DrainLimits, drain
from generations.engine.recovering import recover_abandoned
from generations.engine.webhooks import make_webhook_url, note_webhook
from generations.engine.work import Work
from generations.models import Attempt, Generation
from generations.webhooks import FAILURES_AT_ONCE, MAX_BODY_BYTES
from tests.generations.engine_cases import LIMITS, let_leases_lapse, make_due
from tests.generations.job_cases import make_job_model
from tests.providers.fal_server import Behaviour, FalServer, running_server

JOB_ID = "fal-ai/flux/requests/11111111-2222-4333-8444-555555555555"
REQUEST_ID = JOB_ID.rpartition("/")[2]


@pytest.fixture
def server() -> Iterator[FalServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def work(server: FalServer, settings: Any, db: None) -> Work:
    """A claimed call whose job id nobody has noted."""
    settings.PUBLIC_URL = "https://mayagen.example.com"
    make_due(make_job_model(server, settings))
    [claimed] = claim_batch(worker="one", capacity=1)
    return claimed


def _post(
    server: FalServer,
    work: Work,
    *,
    request_id: str = REQUEST_ID,
    seconds: float | None = None,
    body: bytes | None = None,
    address: str | None = None,
    headers: dict[str, str] | None = None,
) -> int:
    content = json.dumps(
        {"request_id": request_id, "gateway_request_id": request_id, "status": "OK"}
    ).encode()
    signed = server.signer.sign(content, request_id=request_id, seconds=seconds)
    path = (address or make_webhook_url(work)).removeprefix("https://mayagen.example.com")
    response = Client(enforce_csrf_checks=True).post(
        path,
        data=content if body is None else body,
        content_type="application/json",
        headers={**signed, **(headers or {})},
    )
    assert response.content == b""
    return response.status_code


def test_a_verified_webhook_brings_a_lost_job_id_home(server: FalServer, work: Work) -> None:
    assert _post(server, work) == 204

    attempt = Attempt.objects.get(pk=work.attempt_id)
    assert (attempt.provider_job_id, attempt.state) == (JOB_ID, AttemptState.SUBMITTED)
    assert attempt.webhook_at is not None


def test_the_same_webhook_twice_is_noted_once(server: FalServer, work: Work) -> None:
    _post(server, work)
    first = Attempt.objects.get(pk=work.attempt_id).webhook_at

    assert _post(server, work) == 204
    assert Attempt.objects.get(pk=work.attempt_id).webhook_at == first


def test_everything_that_is_not_verified_gets_the_same_answer(server: FalServer, work: Work) -> None:
    now = timezone.now().timestamp()
    address = make_webhook_url(work)

    statuses = {
        "too old": _post(server, work, seconds=now - 360),
        "too early": _post(server, work, seconds=now + 360),
        "another body": _post(server, work, body=b'{"request_id":"x"}'),
        "no signature": _post(server, work, headers={"X-Fal-Webhook-Signature": ""}),
        "another address": _post(server, work, address=f"/webhooks/fal/{work.attempt_id.hex}.AAAA/"),
        "another provider": _post(server, work, address=address.replace("/fal/", "/replicate/")),
        "an unknown provider": _post(server, work, address=address.replace("/fal/", "/nobody/")),
    }

    assert set(statuses.values()) == {401}, statuses
    assert Attempt.objects.get(pk=work.attempt_id).webhook_at is None


def test_the_webhook_of_another_job_is_refused(server: FalServer, work: Work) -> None:
    Attempt.objects.filter(pk=work.attempt_id).update(provider_job_id="fal-ai/flux/requests/other")

    assert _post(server, work) == 401


def test_the_job_of_another_attempt_is_not_taken_over(server: FalServer, work: Work) -> None:
    make_due(Generation.objects.get().image_model)
    [other] = claim_batch(worker="one", capacity=1)
    Attempt.objects.filter(pk=other.attempt_id).update(provider_job_id=JOB_ID)

    assert _post(server, work) == 401
    assert Attempt.objects.get(pk=work.attempt_id).provider_job_id == ""


def test_a_body_that_is_too_long_is_not_read(server: FalServer, work: Work) -> None:
    assert _post(server, work, body=b" " * (MAX_BODY_BYTES + 1)) == 413


def test_an_address_that_is_none_of_ours_costs_no_query(
    server: FalServer, work: Work, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):
        assert _post(server, work, address="/webhooks/fal/nonsense/") == 401


def test_only_failures_are_limited(server: FalServer, work: Work) -> None:
    for _ in range(FAILURES_AT_ONCE + 5):
        assert _post(server, work) == 204

    statuses = [_post(server, work, body=b"{}") for _ in range(2 * FAILURES_AT_ONCE)]

    assert statuses[0] == 401
    assert 429 in statuses


def test_a_webhook_after_the_end_changes_nothing(server: FalServer, work: Work) -> None:
    Attempt.objects.filter(pk=work.attempt_id).update(
        provider_job_id=JOB_ID, state=AttemptState.SUCCEEDED, answered_at=timezone.now()
    )

    assert _post(server, work) == 204
    assert Attempt.objects.get(pk=work.attempt_id).webhook_at is None


def test_no_webhook_is_asked_for_without_a_public_address(server: FalServer, settings: Any, db: None) -> None:
    settings.PUBLIC_URL = ""
    make_due(make_job_model(server, settings))

    drain(LIMITS)

    assert [seen.webhook_url for seen in server.requests] == [""]


def test_a_lost_submit_waits_for_its_webhook_and_then_for_a_person(work: Work) -> None:
    let_leases_lapse()
    assert recover_abandoned() == 0
    generation = Generation.objects.get(pk=work.generation_id)
    assert (generation.status, generation.worker) == (Status.PROCESSING, "")

    Attempt.objects.update(started_at=timezone.now() - timedelta(hours=1))
    let_leases_lapse()
    assert recover_abandoned() == 1
    generation.refresh_from_db()
    assert generation.error_code == ErrorCode.OUTCOME_UNKNOWN


def test_a_lost_submit_goes_on_when_its_webhook_has_come(work: Work) -> None:
    let_leases_lapse()
    recover_abandoned()

    assert note_webhook(attempt_id=work.attempt_id, job_id=JOB_ID)

    [again] = claim_batch(worker="next", capacity=1)
    assert (again.attempt_id, again.provider_job_id) == (work.attempt_id, JOB_ID)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("fault", "webhook"),
    [("", ""), ("", "twice"), ("", "early"), ("", "forged"), ("", "none"), ("dropped", "")],
)
def test_however_webhooks_come_there_is_one_job_and_one_result(
    server: FalServer, settings: Any, live_server: Any, fault: str, webhook: str
) -> None:
    settings.PUBLIC_URL = live_server.url
    server.behaviour = Behaviour(delay_seconds=0.5, fault=fault, webhook=webhook)
    [generation] = make_due(make_job_model(server, settings))
    # Where a webhook comes polling would be much later than this test is patient.
    limits = DrainLimits(linger_seconds=1.0, watch_seconds=0.1, listen_seconds=0.1, tick_seconds=0.05)

    for _ in range(40):
        drain(limits)
        generation.refresh_from_db()
        if generation.is_final:
            break
        time.sleep(0.1)

    assert generation.status == Status.COMPLETED
    assert generation.outputs.count() == 1
    assert generation.attempts.count() == len(server.jobs) == 1
