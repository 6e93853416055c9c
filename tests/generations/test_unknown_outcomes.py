"""Calls of unknown outcome are shown as one group with the money at risk, and decided about at once."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from generations.choices import ErrorCode, Status
from generations.models import Generation, Run
from generations.selectors import list_unknown_outcomes
from generations.services.ledger import Account, reserve
from generations.services.unknown_outcomes import (
    Decision,
    NoUnknownOutcomesError,
    decide_unknown_outcomes,
)
from mayagen.common.errors import PermissionDeniedError
from tests.generations.factories import GenerationFactory, RunFactory
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db
PRICE = Decimal("0.04")


@pytest.fixture
def run(admin: User) -> Run:
    """A run with three calls of unknown outcome and one failure of another kind."""
    made: Run = RunFactory()
    model = ImageModelFactory(paid=True, parameters_schema={}, default_parameters={})
    version = PromptVersionFactory(image_model=model, parameters={}, used=True)
    common: dict[str, Any] = {
        "run": made,
        "prompt_version": version,
        "image_model": model,
        "failed": True,
        "created_by": admin,
    }
    now = timezone.now()
    reserve(account=Account.of(admin.pk, now), prices=[PRICE] * 3)
    for number in range(3):
        GenerationFactory(
            case_key=f"case-{number}",
            error_code=ErrorCode.OUTCOME_UNKNOWN,
            reserved_usd=PRICE,
            created_at=now,
            **common,
        )
    GenerationFactory(case_key="other", error_code=ErrorCode.REFUSED, **common)
    return made


def test_they_are_one_group_with_the_money_at_risk(run: Run, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        group = list_unknown_outcomes(run)

    assert (group.count, group.at_risk_usd) == (3, Decimal("0.12"))


def test_accepted_as_lost_they_stay_failed_and_count_as_spent(run: Run, admin: User) -> None:
    assert decide_unknown_outcomes(actor=admin, run=run, decision=Decision.ACCEPT_AS_LOST) == 3

    decided = Generation.objects.filter(run=run, error_code=ErrorCode.OUTCOME_UNKNOWN)
    assert {(row.status, row.cost_usd, row.reserved_usd) for row in decided} == {(Status.FAILED, PRICE, None)}
    assert list_unknown_outcomes(run).count == 0
    assert AuditEntry.objects.get(verb="decide_unknown_outcomes").after["n_decided"] == 3


def test_sent_again_new_generations_take_their_places(run: Run, admin: User) -> None:
    assert decide_unknown_outcomes(actor=admin, run=run, decision=Decision.SEND_AGAIN) == 3

    assert Generation.objects.current().filter(run=run, status=Status.QUEUED).count() == 3
    assert list_unknown_outcomes(run).count == 0


@pytest.mark.parametrize("first", Decision)
@pytest.mark.parametrize("second", Decision)
def test_a_second_decision_finds_nothing_left(
    run: Run, admin: User, first: Decision, second: Decision
) -> None:
    decide_unknown_outcomes(actor=admin, run=run, decision=first)

    with pytest.raises(NoUnknownOutcomesError):
        decide_unknown_outcomes(actor=admin, run=run, decision=second)


def test_a_viewer_decides_nothing(run: Run, viewer: User) -> None:
    with pytest.raises(PermissionDeniedError):
        decide_unknown_outcomes(actor=viewer, run=run, decision=Decision.ACCEPT_AS_LOST)


def test_the_api_shows_and_decides(
    run: Run, admin: User, viewer: User, api_as: Callable[[User], APIClient]
) -> None:
    address = f"/api/v1/runs/{run.pk}/unknown-outcomes/"

    seen = api_as(viewer).get(address).json()
    assert (seen["count"], seen["at_risk_usd"]) == (3, "0.120000")
    assert api_as(viewer).post(address, {"decision": "accept_as_lost"}).status_code == 403
    assert api_as(admin).post(address, {"decision": "whatever"}, format="json").status_code == 400
    answer = api_as(admin).post(address, {"decision": "accept_as_lost"}, format="json")
    assert (answer.status_code, answer.json()) == (200, {"n_decided": 3})
    again = api_as(admin).post(address, {"decision": "send_again"}, format="json")
    assert (again.status_code, again.json()["code"]) == (409, "no_unknown_outcomes")
