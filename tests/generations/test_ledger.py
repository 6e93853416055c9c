"""Money: reserved when work is made, settled when it ends, and never more than quotas and ceilings allow."""

from __future__ import annotations

import importlib
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import AuditEntry, User
from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.answering import Answered
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.recovering import close_cancelled_attempts, recover_abandoned
from generations.engine.transitions import Dropped, Failed, apply_all
from generations.models import Attempt, Generation, MonthlySpend, Run
from generations.services.ledger import QuotaExceededError, book, release_late, settle_unknown
from generations.services.recounting import list_drift
from generations.services.retrying import retry_failed, retry_generation
from generations.services.runs import RunInvalidError, cancel_generation, cancel_run
from prompts.models import ImageModel, PromptVersion
from tests.accounts.factories import UserFactory
from tests.generations.engine_cases import LIMITS, make_model
from tests.generations.factories import GenerationFactory, QuotaFactory
from tests.generations.money_cases import (
    PRICE,
    REFUSED,
    UNKNOWN,
    complete,
    end,
    launch,
    make_version,
    read_ledger,
)
from tests.prompts.factories import ImageModelFactory
from tests.providers.openai_server import running_server

pytestmark = pytest.mark.django_db


def test_a_run_reserves_what_it_is_expected_to_cost(admin: User) -> None:
    model = ImageModelFactory(is_free=False, price_usd=PRICE)
    first, second = make_version(model, n_outputs=2), make_version(model)

    run = launch(admin, first, second, n=3)

    assert read_ledger(admin) == read_ledger(None) == (6, Decimal("0.36"), 0, 0)
    reserved = Generation.objects.filter(run=run, prompt_version=first).values_list("reserved_usd", flat=True)
    assert set(reserved) == {Decimal("0.08")}
    assert list_drift() == []


def test_a_free_model_is_outside_of_all_quotas_and_costs_no_statement(
    admin: User, django_assert_num_queries: Any
) -> None:
    QuotaFactory(limit_generations=0, limit_usd=0)
    launch(admin, make_version(ImageModelFactory(price_usd=PRICE)), n=3)
    works = claim_batch(worker="w", capacity=10)

    with django_assert_num_queries(4):  # Savepoint, lock, values, savepoint.
        apply_all([complete(work, None) for work in works])

    assert not MonthlySpend.objects.exists()
    assert {work.model.price_usd for work in works} == {None}


def test_a_batch_of_a_paid_model_writes_each_account_once(
    admin: User, paid_version: PromptVersion, django_assert_num_queries: Any
) -> None:
    launch(admin, paid_version, n=20)
    works = claim_batch(worker="w", capacity=20)

    with django_assert_num_queries(6):
        apply_all([complete(work) for work in works])

    assert read_ledger(admin) == read_ledger(None) == (0, 0, 20, Decimal("0.80"))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"limit_generations": 2}, ("2 generations left", "asks for 3", {"left_generations": 2})),
        ({"limit_usd": "0.11"}, ("$0.11 left", "asks for $0.12", {"left_usd": "0.110000"})),
    ],
)
@pytest.mark.parametrize("scope", ["user", "installation"])
def test_a_run_beyond_a_quota_is_refused_whole(
    admin: User, paid_version: PromptVersion, scope: str, limits: dict[str, Any], words: tuple[Any, ...]
) -> None:
    QuotaFactory(user=admin if scope == "user" else None, **limits)

    with pytest.raises(QuotaExceededError) as caught:
        launch(admin, paid_version, n=3)

    assert not Run.objects.exists()
    assert not Generation.objects.exists()
    assert not MonthlySpend.objects.filter(reserved_generations__gt=0).exists()
    assert (caught.value.code, caught.value.status) == ("quota_exceeded", 409)
    assert words[0] in caught.value.message
    assert words[1] in caught.value.message
    assert caught.value.extra["quota"] == scope
    ((name, _),) = words[2].items()
    assert Decimal(caught.value.extra[name]) == Decimal(words[2][name])
    launch(admin, paid_version, n=2)


def test_anothers_quota_and_another_months_spending_do_not_count(
    admin: User, paid_version: PromptVersion
) -> None:
    QuotaFactory(user=UserFactory(), limit_usd=0)
    QuotaFactory(user=admin, limit_usd="0.04")
    MonthlySpend.objects.create(user=admin, month=date(2020, 1, 1), booked_usd=99)

    launch(admin, paid_version)

    with pytest.raises(QuotaExceededError):
        launch(admin, paid_version)


def test_what_ends_is_settled_by_how_it_ended(admin: User, paid_version: PromptVersion) -> None:
    launch(admin, paid_version, n=6)
    works = claim_batch(worker="w", capacity=6)

    apply_all(
        [
            complete(works[0], Decimal("0.05")),
            Failed(works[1], REFUSED, 10),
            Failed(works[2], REFUSED, 10, cost_usd=PRICE),
            Failed(works[3], UNKNOWN, 10),
            Failed(works[4], UNKNOWN, 10, cost_usd=PRICE),
            Failed(works[5], REFUSED, 10, delay_seconds=60.0),
        ]
    )

    # Reserved are the unknown one and the one that is tried again.
    assert read_ledger(admin) == read_ledger(None) == (2, Decimal("0.08"), 3, Decimal("0.13"))
    assert list(Generation.objects.at_risk()) == [Generation.objects.get(pk=works[3].generation_id)]
    assert list_drift() == []


def test_a_transition_that_comes_twice_releases_once(admin: User, paid_version: PromptVersion) -> None:
    launch(admin, paid_version, n=2)
    first, _ = claim_batch(worker="w", capacity=2)

    assert apply_all([complete(first)]) == [True]
    assert apply_all([complete(first)]) == [False]
    assert apply_all([Failed(first, REFUSED, 10)]) == [False]

    assert read_ledger(admin) == (1, PRICE, 1, PRICE)


@pytest.mark.parametrize(("is_paid", "booked"), [(True, (1, PRICE)), (False, (0, Decimal(0)))])
def test_money_at_risk_stays_reserved_until_somebody_decides(
    admin: User, paid_version: PromptVersion, is_paid: bool, booked: tuple[int, Decimal]
) -> None:
    launch(admin, paid_version)
    claim_batch(worker="w", capacity=1)
    Generation.objects.update(lease_expires_at=timezone.now() - timedelta(minutes=5))
    assert recover_abandoned() == 1
    assert read_ledger(admin)[:2] == (1, PRICE)

    assert [settle_unknown(Generation.objects.all(), is_paid=is_paid) for _ in range(2)] == [1, 0]

    assert read_ledger(admin) == read_ledger(None) == (0, 0, *booked)
    assert Generation.objects.get().cost_usd == (PRICE if is_paid else None)
    assert list_drift() == []


def test_cancelling_releases_what_has_no_call_under_way(admin: User, paid_version: PromptVersion) -> None:
    run = launch(admin, paid_version, n=3)
    works = claim_batch(worker="w", capacity=2)
    Attempt.objects.filter(pk=works[1].attempt_id).update(state=AttemptState.SUBMITTED)

    cancel_run(actor=admin, run=run)

    assert read_ledger(admin) == (2, Decimal("0.08"), 0, 0)
    assert apply_all([Dropped(works[0])]) == [True]
    assert read_ledger(admin) == (1, PRICE, 0, 0)
    answered = Answered(works[1], 10, PRICE, "", {})
    assert apply_all([answered]) == [True]
    apply_all([complete(works[1])])
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 1, PRICE)
    assert Generation.objects.get(pk=works[1].generation_id).cost_usd == PRICE
    assert list_drift() == []


@pytest.mark.parametrize("job_id", ["", "a-job-that-cannot-be-asked-for"])
def test_a_cancelled_call_whose_worker_died_is_settled_by_the_sweep(
    admin: User, paid_version: PromptVersion, job_id: str
) -> None:
    launch(admin, paid_version)
    claim_batch(worker="w", capacity=1)
    Attempt.objects.update(provider_job_id=job_id, started_at=timezone.now() - timedelta(hours=3))
    cancel_generation(actor=admin, generation=Generation.objects.get())
    long_ago = timezone.now() - timedelta(hours=1)
    Generation.objects.update(finished_at=long_ago, lease_expires_at=long_ago)

    assert close_cancelled_attempts() == 1

    # Nobody can find out any more whether it was charged.
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 1, PRICE)
    assert list_drift() == []


def test_what_a_provider_delivers_after_all_is_booked_once(admin: User, paid_version: PromptVersion) -> None:
    launch(admin, paid_version, n=2)
    works = claim_batch(worker="w", capacity=2)
    apply_all([Failed(works[0], REFUSED, 10), Failed(works[1], UNKNOWN, 10)])

    for _ in range(2):
        book(release_late({work.generation_id: Decimal("0.03") for work in works}))

    assert read_ledger(admin) == read_ledger(None) == (0, 0, 2, Decimal("0.06"))
    assert list_drift() == []


def test_what_a_cancelled_job_delivers_after_it_was_given_up_is_booked_once(
    admin: User, paid_version: PromptVersion
) -> None:
    launch(admin, paid_version)
    [work] = claim_batch(worker="w", capacity=1)
    cancel_generation(actor=admin, generation=Generation.objects.get())
    apply_all([Dropped(work)])
    assert read_ledger(admin) == (0, 0, 0, 0)
    late = replace(complete(work), unwritten_answer=Answered(work, 10, PRICE, "", {}))

    assert [apply_all([late]), apply_all([late])] == [[True], [False]]

    assert Generation.objects.get().cost_usd == PRICE
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 1, PRICE)
    assert list_drift() == []


def test_a_retry_reserves_anew_for_who_asks_and_books_what_may_have_been_paid(
    admin: User, paid_version: PromptVersion
) -> None:
    run = launch(admin, paid_version, n=2)
    works = claim_batch(worker="w", capacity=2)
    apply_all([Failed(works[0], REFUSED, 10), Failed(works[1], UNKNOWN, 10)])
    other = UserFactory(role="admin")
    QuotaFactory(user=other, limit_generations=1)

    with pytest.raises(QuotaExceededError):
        retry_failed(actor=other, run=run)
    assert read_ledger(admin) == (1, PRICE, 0, 0)
    retry_generation(actor=other, generation=Generation.objects.get(pk=works[1].generation_id))

    assert read_ledger(other) == (1, PRICE, 0, 0)
    assert read_ledger(admin) == (0, 0, 1, PRICE)
    assert read_ledger(None) == (1, PRICE, 1, PRICE)
    assert list_drift() == []


def test_a_run_stops_at_its_ceiling(admin: User, paid_version: PromptVersion) -> None:
    run = launch(admin, paid_version, n=10, ceiling_usd=Decimal("0.20"))
    ImageModel.objects.update(max_in_flight=3)

    works = claim_batch(worker="w", capacity=100)
    assert len(works) == 3
    end([complete(works[0]), complete(works[1]), Failed(works[2], REFUSED, 10)])
    more = claim_batch(worker="w", capacity=100)
    last = claim_batch(worker="w", capacity=100)

    # What failed without a cost leaves room for another one.
    assert (len(more), len(last)) == (3, 0)
    end([complete(work) for work in more])
    assert claim_batch(worker="w", capacity=100) == []
    stopped = Generation.objects.filter(run=run, status=Status.CANCELLED)
    assert set(stopped.values_list("error_code", flat=True)) == {ErrorCode.CEILING_REACHED}
    assert stopped.count() == 4
    assert all(stopped.values_list("error_message", flat=True))
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 5, Decimal("0.20"))
    assert AuditEntry.objects.get(verb="stop_run_at_ceiling").after == {"n_cancelled": 4}
    assert list_drift() == []


def test_what_has_begun_is_tried_again_below_the_ceiling_it_was_let_in_under(
    admin: User, paid_version: PromptVersion
) -> None:
    launch(admin, paid_version, n=3, ceiling_usd=Decimal("0.04"))
    [work] = claim_batch(worker="w", capacity=10)
    apply_all([Failed(work, REFUSED, 10, delay_seconds=0.0)])

    [again] = claim_batch(worker="w", capacity=10)

    assert again.generation_id == work.generation_id
    assert Generation.objects.filter(status=Status.CANCELLED).count() == 2


@pytest.mark.parametrize("ceiling", ["0", "-1", "NaN", "Infinity", "0.001", "1000000.01"])
def test_a_ceiling_is_an_amount_of_money(admin: User, paid_version: PromptVersion, ceiling: str) -> None:
    with pytest.raises(RunInvalidError) as caught:
        launch(admin, paid_version, ceiling_usd=Decimal(ceiling))

    assert list(caught.value.fields) == ["ceiling_usd"]


@pytest.mark.parametrize("price", [None, Decimal("0.50")])
def test_what_is_under_way_costs_what_it_did_at_launch(
    admin: User, settings: Any, price: Decimal | None
) -> None:
    with running_server() as server:
        version = make_version(make_model(server, settings, max_outputs=2), n_outputs=2)
        run = launch(admin, version, n=2)
        ImageModel.objects.update(price_usd=price)

        drain(LIMITS)

    assert set(run.generations.values_list("status", "cost_usd")) == {(Status.COMPLETED, Decimal("0.08"))}
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 2, Decimal("0.16"))
    assert list_drift() == []


def test_after_a_drain_nothing_is_reserved_and_booked_is_what_was_paid(admin: User, settings: Any) -> None:
    with running_server() as server:
        launch(admin, make_version(make_model(server, settings)), n=12)

        drain(LIMITS)

    costs = Generation.objects.aggregate(sum=Sum("cost_usd"))["sum"]
    assert read_ledger(admin) == read_ledger(None) == (0, 0, 12, costs)
    assert costs == 12 * PRICE


def test_the_command_names_drift_and_repairs_it(
    admin: User, paid_version: PromptVersion, capsys: Any
) -> None:
    launch(admin, paid_version, n=2)
    call_command("check_quotas")
    MonthlySpend.objects.filter(user=admin).update(reserved_usd=7, booked_generations=1)
    MonthlySpend.objects.filter(user=None).delete()

    with pytest.raises(CommandError, match="4 figures differ"):
        call_command("check_quotas")
    call_command("check_quotas", repair=True)
    call_command("check_quotas")

    assert read_ledger(admin) == read_ledger(None) == (2, Decimal("0.08"), 0, 0)
    assert AuditEntry.objects.filter(verb="repair_ledger").count() == 2
    assert "reserved_usd: stored 7.000000, counted 0.080000" in capsys.readouterr().out


@pytest.mark.parametrize(
    "figure", ["reserved_generations", "booked_generations", "reserved_usd", "booked_usd"]
)
def test_no_figure_of_the_ledger_goes_below_zero(admin: User, figure: str) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        MonthlySpend.objects.create(user=admin, month="2026-11-01", **{figure: -1})


def test_what_was_spent_before_there_was_a_ledger_is_booked(admin: User) -> None:
    migration = importlib.import_module("generations.migrations.0008_book_past_costs")
    for moment, person in (
        ("2025-12-31T23:59Z", admin),
        ("2026-01-01T00:00Z", admin),
        ("2026-01-09T00:00Z", None),
    ):
        GenerationFactory(completed=True, cost_usd=PRICE, created_by=person, created_at=moment)
    GenerationFactory(completed=True, created_by=admin)

    migration.book(apps, None)

    sums = MonthlySpend.objects.filter(user=None).order_by("month").values_list("booked_usd", flat=True)
    assert list(sums) == [PRICE, 2 * PRICE]
    assert MonthlySpend.objects.filter(user=admin).count() == 2
    assert list_drift() == []
