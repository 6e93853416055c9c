"""A provider that cannot be reached is left alone: work waits, no attempt is spent, and one call tries it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from generations.choices import BreakerState, ErrorCode, Status
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.health import FAILURES_TO_OPEN, Address, begin_probe, note_failure, note_success
from generations.models import Generation, ProviderHealth
from generations.services.health import BreakerClosedError, close_breaker
from mayagen.common.errors import PermissionDeniedError
from prompts.models import ImageModel
from tests.generations.engine_cases import LIMITS, make_due, make_model
from tests.generations.factories import ProviderHealthFactory
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = pytest.mark.django_db
ADDRESS = Address("openai", "https://images.example.com/v1")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def _fail(n: int, *, is_probe: bool = False, address: Address = ADDRESS) -> float | None:
    wait = None
    for _ in range(n):
        wait = note_failure(address, code=ErrorCode.PROVIDER_UNAVAILABLE, sentence="Gone.", is_probe=is_probe)
    return wait


def _open(model: ImageModel) -> None:
    _fail(FAILURES_TO_OPEN, address=Address(model.provider, model.base_url))


def _let_pause_end() -> None:
    ProviderHealth.objects.update(blocked_until=timezone.now() - timedelta(seconds=1))


def test_it_opens_after_failures_in_a_row() -> None:
    assert _fail(FAILURES_TO_OPEN - 1) is None

    assert _fail(1) is not None

    health = ProviderHealth.objects.get()
    assert (health.state, health.last_error_code) == (BreakerState.OPEN, ErrorCode.PROVIDER_UNAVAILABLE)


def test_a_success_in_between_starts_the_count_again() -> None:
    _fail(FAILURES_TO_OPEN - 1)
    note_success(ADDRESS)

    assert _fail(FAILURES_TO_OPEN - 1) is None


def test_one_of_many_may_try_again() -> None:
    _fail(FAILURES_TO_OPEN)
    assert not begin_probe(ADDRESS)
    _let_pause_end()

    assert [begin_probe(ADDRESS) for _ in range(3)] == [True, False, False]


def test_a_try_that_fails_waits_longer_and_one_that_succeeds_closes() -> None:
    first = _fail(FAILURES_TO_OPEN)
    _let_pause_end()
    begin_probe(ADDRESS)

    second = _fail(1, is_probe=True)

    assert first is not None
    assert second is not None
    assert second > first
    _let_pause_end()
    begin_probe(ADDRESS)
    assert note_success(ADDRESS)
    assert ProviderHealth.objects.get().state == BreakerState.CLOSED


def test_the_try_of_a_dead_worker_is_repeated() -> None:
    _fail(FAILURES_TO_OPEN)
    _let_pause_end()
    begin_probe(ADDRESS)
    _let_pause_end()

    assert begin_probe(ADDRESS)


def test_nothing_is_claimed_while_it_is_open_and_one_call_afterwards(
    server: OpenAIServer, settings: Any
) -> None:
    model = make_model(server, settings)
    make_due(model, 5)
    _open(model)

    assert claim_batch(worker="w", capacity=5) == []
    _let_pause_end()
    [probe] = claim_batch(worker="w", capacity=5)
    assert probe.is_probe
    assert claim_batch(worker="w", capacity=5) == []


def test_other_addresses_are_not_concerned(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings)
    make_due(model)
    _open(make_model(server, settings, base_url="https://other.example.com/v1"))

    assert len(claim_batch(worker="w", capacity=5)) == 1


def test_an_outage_spends_no_attempts_and_all_completes_afterwards(
    server: OpenAIServer, settings: Any
) -> None:
    model = make_model(server, settings, max_in_flight=2, max_attempts=2)
    generations = make_due(model, 8)
    server.behaviour.fault = "server_error"
    for _ in range(12):
        Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now())
        _let_pause_end()
        drain_until_blocked()
    assert ProviderHealth.objects.get().state != BreakerState.CLOSED
    n_failed = Generation.objects.filter(status=Status.FAILED).count()
    # Those before the breaker opened had their attempts; from then on none is spent.
    assert n_failed <= FAILURES_TO_OPEN // 2
    server.behaviour.fault = ""

    for _ in range(3):
        Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now())
        _let_pause_end()
        drain(LIMITS)

    done = Generation.objects.filter(status=Status.COMPLETED).count()
    assert done == len(generations) - n_failed
    assert ProviderHealth.objects.get().state == BreakerState.CLOSED


def drain_until_blocked() -> None:
    from dataclasses import replace

    drain(replace(LIMITS, claim_seconds=0.3))


def test_a_refusal_or_a_wish_to_slow_down_is_no_outage(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings)
    for fault in ("moderation_blocked", "rate_limit"):
        server.behaviour.fault = fault
        make_due(model, FAILURES_TO_OPEN + 1)
        drain(LIMITS)

    assert not ProviderHealth.objects.exclude(state=BreakerState.CLOSED).exists()


def test_an_admin_lets_work_go_on_and_that_is_audited(admin: User) -> None:
    _fail(FAILURES_TO_OPEN)

    health = close_breaker(actor=admin, health=ProviderHealth.objects.get())

    assert health.state == BreakerState.CLOSED
    assert AuditEntry.objects.filter(verb="close_breaker", actor=admin).count() == 1
    with pytest.raises(BreakerClosedError):
        close_breaker(actor=admin, health=health)


def test_a_viewer_lets_nothing_go_on(viewer: User) -> None:
    _fail(FAILURES_TO_OPEN)

    with pytest.raises(PermissionDeniedError):
        close_breaker(actor=viewer, health=ProviderHealth.objects.get())


def test_the_api_tells_viewers_all_but_the_address(
    viewer: User, admin: User, api_as: Callable[[User], APIClient]
) -> None:
    _fail(FAILURES_TO_OPEN)

    [seen] = api_as(viewer).get("/api/v1/provider-health/").json()["results"]
    [known] = api_as(admin).get("/api/v1/provider-health/").json()["results"]

    assert (seen["state"], "base_url" in seen) == ("open", False)
    assert known["base_url"] == ADDRESS.base_url
    assert api_as(viewer).post(f"/api/v1/provider-health/{seen['id']}/close/").status_code == 403
    assert api_as(admin).post(f"/api/v1/provider-health/{seen['id']}/close/").json()["state"] == "closed"
    assert api_as(admin).post(f"/api/v1/provider-health/{seen['id']}/close/").status_code == 409


def test_an_evaluator_is_told_nothing(evaluator: User, api_as: Callable[[User], APIClient]) -> None:
    assert api_as(evaluator).get("/api/v1/provider-health/").status_code == 404


def test_the_admins_list_lets_work_go_on_and_takes_the_same_queries_for_many(
    admin: User, viewer: User, client: Any, django_assert_max_num_queries: Any
) -> None:
    opened = ProviderHealthFactory.create_batch(12, opened=True)
    address = reverse("admin:generations_providerhealth_changelist")
    client.force_login(viewer)
    assert opened[0].base_url not in client.get(address).content.decode()
    client.force_login(admin)
    with django_assert_max_num_queries(12):
        assert opened[0].base_url in client.get(address).content.decode()

    client.post(address, {"action": "close_now", "_selected_action": [str(opened[0].pk)]})

    assert ProviderHealth.objects.get(pk=opened[0].pk).state == BreakerState.CLOSED
    assert ProviderHealth.objects.filter(state=BreakerState.OPEN).count() == 11
