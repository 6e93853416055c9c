"""From a lost order to its pictures: fal's server calls the site, the site wakes the engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from generations.choices import Status
from generations.engine.drain import drain
from generations.models import Attempt, Generation
from prompts.models import ImageModel
from tests.generations.engine_cases import LIMITS, make_due, make_model
from tests.generations.fal_cases import running_stranger
from tests.providers.fal_server import Behaviour, FalServer

# The site answers in a thread of its own, which SQLite in memory does not stand.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]


@pytest.fixture
def server() -> Iterator[FalServer]:
    with running_stranger() as server:
        yield server


@pytest.fixture
def model(server: FalServer, live_server: Any, settings: Any) -> ImageModel:
    settings.PUBLIC_URL = live_server.url
    return make_model(server, settings, provider="fal", endpoint="fal-ai/flux/dev", base_url=server.url)


def _drain_until_ended(generation: Generation, *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now())
        drain(LIMITS)
        generation.refresh_from_db()
        if generation.status in {Status.COMPLETED, Status.FAILED}:
            return
        time.sleep(0.05)


@pytest.mark.parametrize("fault", ["dropped", "gateway_timeout", "hang"])
def test_an_order_whose_reply_was_lost_comes_home_by_its_webhook(
    server: FalServer, model: ImageModel, fault: str
) -> None:
    server.behaviour = Behaviour(fault=fault, delay_seconds=0.5)
    [generation] = make_due(model)

    _drain_until_ended(generation)

    assert (generation.status, generation.error_code) == (Status.COMPLETED, "")
    assert server.n_requests == 1
    [request_id] = server.jobs
    attempt = Attempt.objects.get()
    assert attempt.provider_job_id == f"fal-ai/flux/requests/{request_id}"
    assert server.ledger.list_entries("webhook")[0].facts == {"status": 204}


@pytest.mark.parametrize("webhook", ["", "twice", "early", "late", "forged"])
def test_however_webhooks_come_there_is_one_result(
    server: FalServer, model: ImageModel, webhook: str
) -> None:
    server.behaviour = Behaviour(webhook=webhook, delay_seconds=0.3, webhook_delay_seconds=0.3)
    [generation] = make_due(model)

    _drain_until_ended(generation)

    assert generation.status == Status.COMPLETED
    assert generation.outputs.count() == generation.attempts.count() == server.n_requests == 1
    assert server.ledger.sum_usd() == server.price_usd
