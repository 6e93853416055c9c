"""The engine with Replicate: one order for each picture, and none again for what may have been charged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from accounts.models import User
from generations.choices import AttemptState, ErrorCode, Status
from generations.engine import calling, polling
from generations.engine.drain import drain
from generations.models import Attempt, Generation
from prompts.models import ImageModel
from tests.generations.engine_cases import LIMITS, drain_while_cancelling, make_due, make_model
from tests.generations.money_cases import launch, make_version, read_ledger
from tests.providers.replicate_server import ReplicateServer, running_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[ReplicateServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def model(server: ReplicateServer, settings: Any) -> ImageModel:
    return make_model(
        server, settings, provider="replicate", endpoint="acme/painter", base_url=server.base_url
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("has_begun", [False, True])
def test_a_job_that_is_cancelled_costs_only_if_it_had_begun(
    server: ReplicateServer, model: ImageModel, admin: User, *, has_begun: bool
) -> None:
    server.behaviour.delay_seconds = 5.0 if has_begun else 60.0
    ImageModel.objects.filter(pk=model.pk).update(price_usd=server.price_usd)
    model.refresh_from_db()
    generation = launch(admin, make_version(model)).generations.get()

    drain_while_cancelling(
        generation, admin, is_time=lambda: bool(server.ledger.list_entries("charged")) == has_begun
    )

    cost = server.price_usd if has_begun else None
    assert _read(generation) == (Status.CANCELLED, "")
    assert (generation.cost_usd, generation.reserved_usd) == (cost, None)
    assert generation.attempts.get().state == AttemptState.CANCELLED
    assert read_ledger(admin) == (0, 0, int(has_begun), cost or 0)
    assert server.ledger.sum_usd() == (cost or 0)


def test_a_job_that_overran_its_time_is_paid_for_and_not_ordered_again(
    server: ReplicateServer, model: ImageModel, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "GRACE_SECONDS", 1.0)
    monkeypatch.setattr(calling, "GRACE_SECONDS", 1.0)
    ImageModel.objects.filter(pk=model.pk).update(price_usd=server.price_usd, timeout_seconds=1)
    model.refresh_from_db()
    server.behaviour.delay_seconds = 4.0
    generation = launch(admin, make_version(model)).generations.get()

    drain(LIMITS)
    drain(LIMITS)

    assert _read(generation) == (Status.FAILED, ErrorCode.TIMEOUT)
    assert (generation.cost_usd, generation.attempts.get().cost_usd) == (server.price_usd, server.price_usd)
    assert read_ledger(admin) == (0, 0, 1, server.price_usd)
    assert server.ledger.sum_usd() == server.price_usd


def _read(generation: Generation) -> tuple[str, str]:
    generation.refresh_from_db()
    return generation.status, generation.error_code


def test_each_generation_is_ordered_once_and_completes(server: ReplicateServer, model: ImageModel) -> None:
    server.behaviour.delay_seconds = 0.3
    generations = make_due(model, 20)

    drain(LIMITS)

    assert [_read(generation) for generation in generations] == [(Status.COMPLETED, "")] * 20
    assert set(Attempt.objects.values_list("provider_job_id", flat=True)) == set(server.jobs)
    assert server.ledger.sum_usd() == 20 * server.price_usd


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"outcome": "failed", "error": "NSFW content detected."}, ErrorCode.REFUSED),
        ({"outcome": "failed", "error": "CUDA error"}, ErrorCode.BAD_OUTPUT),
        ({"file_status": 404}, ErrorCode.BAD_OUTPUT),
        ({"file_fault": "truncated"}, ErrorCode.BAD_OUTPUT),
        ({"file_fault": "wrong_type"}, ErrorCode.BAD_OUTPUT),
        ({"fault": "no_credit"}, ErrorCode.QUOTA_EXHAUSTED),
        ({"fault": "dropped"}, ErrorCode.OUTCOME_UNKNOWN),
    ],
)
def test_what_may_not_be_ordered_again_fails_at_once(
    server: ReplicateServer, model: ImageModel, changes: dict[str, Any], code: str
) -> None:
    for name, value in changes.items():
        setattr(server.behaviour, name, value)
    [generation] = make_due(model)

    drain(LIMITS)
    drain(LIMITS)

    assert _read(generation) == (Status.FAILED, code)
    assert len(server.ledger.list_entries("asked")) == 1
