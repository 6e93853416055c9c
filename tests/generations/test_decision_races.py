"""Of many that decide, or try a provider, at the same moment one does."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import User
from generations.choices import BreakerState, ErrorCode, Status
from generations.engine.health import Address, begin_probe, note_failure
from generations.models import Generation, ProviderHealth, Run
from generations.services.ledger import Account, reserve
from generations.services.unknown_outcomes import Decision, NoUnknownOutcomesError, decide_unknown_outcomes
from tests.accounts.threads import run_at_once
from tests.generations.factories import GenerationFactory, ProviderHealthFactory, RunFactory

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("decision", Decision)
def test_of_many_decisions_at_once_one_counts(admin: User, decision: Decision) -> None:
    run: Run = RunFactory()
    now, price = timezone.now(), Decimal("0.04")
    reserve(account=Account.of(admin.pk, now), prices=[price] * 3)
    for number in range(3):
        GenerationFactory(
            run=run,
            case_key=f"case-{number}",
            failed=True,
            error_code=ErrorCode.OUTCOME_UNKNOWN,
            reserved_usd=price,
            created_at=now,
            created_by=admin,
        )

    def decide(_: int) -> int:
        try:
            return decide_unknown_outcomes(actor=admin, run=run, decision=decision)
        except NoUnknownOutcomesError:
            return 0

    assert sorted(run_at_once(8, decide)) == [0] * 7 + [3]
    n_again = Generation.objects.filter(run=run, status=Status.QUEUED).count()
    assert n_again == (3 if decision == Decision.SEND_AGAIN else 0)


def test_of_many_workers_at_once_one_tries_the_provider() -> None:
    health = ProviderHealthFactory(opened=True, blocked_until=timezone.now() - timedelta(seconds=1))
    address = Address(health.provider, health.base_url)

    assert sum(run_at_once(12, lambda _: begin_probe(address))) == 1


def test_failures_of_many_workers_at_once_open_the_breaker_once() -> None:
    address = Address("openai", "https://images.example.com/v1")

    run_at_once(12, lambda _: note_failure(address, code=ErrorCode.TIMEOUT, sentence="Gone.", is_probe=False))

    health = ProviderHealth.objects.get()
    assert (health.state, health.n_failures, health.n_openings) == (BreakerState.OPEN, 12, 1)
