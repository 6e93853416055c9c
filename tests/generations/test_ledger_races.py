"""Many who spend at once, each on a connection of their own: no quota is passed, nothing is settled twice."""

from __future__ import annotations

import contextlib

import pytest
from django.db.models import Sum

from accounts.models import User
from generations.choices import ErrorCode, Status
from generations.engine.claiming import claim_batch
from generations.engine.transitions import Dropped, Failed, apply_all
from generations.engine.work import Work
from generations.models import Attempt, Generation, MonthlySpend, Run
from generations.services.ledger import settle, settle_unknown
from generations.services.recounting import list_drift, repair
from generations.services.retrying import retry_failed
from generations.services.runs import cancel_run, create_run
from mayagen.common.errors import DomainError
from prompts.models import PromptVersion
from tests.accounts.factories import UserFactory
from tests.accounts.threads import run_at_once
from tests.generations.factories import QuotaFactory
from tests.generations.money_cases import (
    PRICE,
    REFUSED,
    UNKNOWN,
    End,
    complete,
    end,
    launch,
    make_paid_version,
    read_ledger,
)

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]
N_THREADS = 8


def try_to_launch(actor: User, version: PromptVersion) -> object:
    try:
        return create_run(actor=actor, name="Race", prompt_versions=[version], variables={"subject": "a"})
    except DomainError as error:
        return error.code


def end_somehow(work: Work, number: int) -> End:
    if number % 3 == 0:
        return complete(work)
    return Failed(work, UNKNOWN if number % 3 == 1 else REFUSED, 1)


@pytest.mark.parametrize("scope", ["user", "installation"])
@pytest.mark.parametrize("limits", [{"limit_generations": 1}, {"limit_usd": "0.04"}])
def test_of_two_launches_for_the_last_of_a_quota_exactly_one_wins(
    admin: User, scope: str, limits: dict[str, object]
) -> None:
    version = make_paid_version()
    QuotaFactory(user=admin if scope == "user" else None, **limits)

    results = run_at_once(2, lambda _: try_to_launch(admin, version))

    assert sorted(type(result) is Run for result in results) == [False, True]
    assert "quota_exceeded" in results
    assert read_ledger(admin) == read_ledger(None) == (1, PRICE, 0, 0)
    assert Generation.objects.count() == 1


def test_many_people_share_what_is_left_for_the_installation(admin: User) -> None:
    version = make_paid_version()
    people = [admin, *UserFactory.create_batch(3, role="admin")]
    QuotaFactory(limit_generations=5)
    QuotaFactory(user=admin, limit_generations=2)

    results = run_at_once(16, lambda number: try_to_launch(people[number % 4], version))

    assert sum(type(result) is Run for result in results) == 5
    assert read_ledger(None) == (5, 5 * PRICE, 0, 0)
    assert not MonthlySpend.objects.filter(user=admin, reserved_generations__gt=2).exists()
    assert list_drift() == []


def test_a_generation_is_settled_once_however_many_end_it(admin: User) -> None:
    run = launch(admin, make_paid_version(), n=1)
    [work] = claim_batch(worker="w", capacity=1)

    def end_by(number: int) -> None:
        ends = (
            lambda: apply_all([complete(work)]),
            lambda: apply_all([Failed(work, REFUSED, 1, cost_usd=PRICE)]),
            lambda: cancel_run(actor=admin, run=run),
            lambda: apply_all([Dropped(work)]),
        )
        with contextlib.suppress(DomainError):
            ends[number % 4]()

    run_at_once(N_THREADS, end_by)

    Attempt.objects.filter(answered_at=None).update(answered_at="2026-01-01T00:00Z")
    settle(Generation.objects.all())
    reserved, reserved_usd, booked, booked_usd = read_ledger(None)
    assert (reserved, reserved_usd) == (0, 0)
    assert (booked, booked_usd) in {(0, 0), (1, PRICE)}
    assert booked_usd == (Generation.objects.get().cost_usd or 0)
    assert list_drift() == []


def test_launches_ends_cancels_retries_and_repairs_at_once_leave_the_ledger_right(admin: User) -> None:
    version = make_paid_version()
    people = [admin, *UserFactory.create_batch(3, role="admin")]
    runs = [launch(person, version, n=6) for person in people]

    def work(number: int) -> None:
        person, run = people[number % 4], runs[(number + 1) % 4]
        for turn in range(6):
            works = claim_batch(worker=f"w{number}", capacity=4)
            end([end_somehow(each, index + turn) for index, each in enumerate(works)])
            verbs = (
                lambda: retry_failed(actor=person, run=run),
                lambda: cancel_run(actor=person, run=run),
                lambda: [repair(drift.account) for drift in list_drift()],
                lambda: try_to_launch(person, version),
            )
            with contextlib.suppress(DomainError):
                verbs[number % 4]()

    run_at_once(N_THREADS, work)

    assert list_drift() == []
    while works := claim_batch(worker="last", capacity=100):
        end([complete(each) for each in works])
    settle(Generation.objects.all())
    settle_unknown(Generation.objects.all(), is_paid=True)
    assert not Generation.objects.filter(status__in=(Status.QUEUED, Status.PROCESSING)).exists()
    costs = Generation.objects.aggregate(sum=Sum("cost_usd"))["sum"]
    assert read_ledger(None)[:2] == (0, 0)
    assert read_ledger(None)[3] == costs
    assert list_drift() == []


def test_claims_of_several_models_stay_together_below_one_ceiling(admin: User) -> None:
    versions = [make_paid_version() for _ in range(3)]
    run = launch(admin, *versions, n=8, ceiling_usd=5 * PRICE)

    claimed = run_at_once(
        N_THREADS, lambda number: [len(claim_batch(worker=f"w{number}", capacity=2)) for _ in range(4)]
    )

    while claim_batch(worker="last", capacity=100):
        pass
    begun = run.generations.filter(started_at__isnull=False)
    assert sum(map(sum, claimed)) <= begun.count() == 5
    stopped = run.generations.filter(status=Status.CANCELLED, error_code=ErrorCode.CEILING_REACHED)
    assert stopped.count() == 19
    assert read_ledger(None) == (5, 5 * PRICE, 0, 0)
    assert list_drift() == []
