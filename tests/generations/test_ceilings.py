"""A run begins no more than its ceiling allows, and what it has begun is known without summing all of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from accounts.models import AuditEntry, User
from generations.choices import ErrorCode, Status
from generations.engine.ceilings import keep_within_ceilings
from generations.engine.claiming import claim_batch
from generations.engine.transitions import Failed, apply_all
from generations.engine.work import Work
from generations.models import Generation, OpenCharge, Run
from generations.services.ledger import book, release_late
from generations.services.run_money import count_begun, list_run_drift, repair_run
from prompts.models import PromptVersion
from tests.accounts.threads import run_at_once
from tests.generations.money_cases import (
    PRICE,
    REFUSED,
    UNKNOWN,
    complete,
    end,
    launch,
    make_paid_version,
)

pytestmark = pytest.mark.django_db


def complete_all(works: list[Work], cost_usd: Decimal = PRICE) -> None:
    end([complete(work, cost_usd) for work in works])


def claim(n: int) -> list[Work]:
    return claim_batch(worker="w", capacity=n)


def test_what_was_settled_is_added_once_and_only_what_is_open_is_kept_apart(
    admin: User, paid_version: PromptVersion
) -> None:
    run = launch(admin, paid_version, n=12, ceiling_usd=Decimal("0.40"))
    first = claim(4)
    complete_all(first[:3], Decimal("0.05"))
    apply_all([Failed(first[3], UNKNOWN, 1)])
    second = claim(2)

    run.refresh_from_db()
    # The unknown one may yet be paid: it stays open until somebody decides.
    assert run.settled_usd == Decimal("0.15")
    opened = {first[3].generation_id, *(work.generation_id for work in second)}
    assert set(OpenCharge.objects.values_list("pk", flat=True)) == opened
    assert list_run_drift() == []
    # 0.15 settled, 0.12 open: three more fit under 0.40.
    assert len(claim(12)) == 3
    assert run.generations.filter(error_code=ErrorCode.CEILING_REACHED).count() == 3


def test_calls_dearer_than_their_price_leave_less_room(admin: User, paid_version: PromptVersion) -> None:
    launch(admin, paid_version, n=10, ceiling_usd=Decimal("0.20"))

    complete_all(claim(2), Decimal("0.08"))

    assert len(claim(10)) == 1


def test_a_run_without_a_ceiling_is_not_counted(admin: User, paid_version: PromptVersion) -> None:
    run = launch(admin, paid_version, n=2)

    complete_all(claim(2))

    run.refresh_from_db()
    assert run.settled_usd == 0
    assert not OpenCharge.objects.exists()
    assert list_run_drift() == []


def test_what_was_let_in_but_not_begun_counts_nothing(admin: User, paid_version: PromptVersion) -> None:
    run = launch(admin, paid_version, n=3, ceiling_usd=Decimal("0.08"))
    # As when somebody else tries the address of a provider that was down, at this very moment.
    with transaction.atomic():
        assert len(keep_within_ceilings(list(run.generations.order_by("id")[:1]))) == 1

    assert count_begun(run) == 0
    assert len(claim(3)) == 2
    assert list_run_drift() == []


def test_what_is_delivered_after_all_counts_however_late(admin: User, paid_version: PromptVersion) -> None:
    run = launch(admin, paid_version, n=6, ceiling_usd=Decimal("0.12"))
    works = claim(2)
    end([Failed(work, REFUSED, 1) for work in works])
    assert count_begun(run) == 0

    for _ in range(2):
        book(release_late({works[0].generation_id: Decimal("0.05")}))

    assert count_begun(Run.objects.get()) == Decimal("0.05")
    assert list_run_drift() == []
    assert len(claim(6)) == 1


def test_the_command_names_a_run_that_was_miscounted_and_repairs_it(
    admin: User, paid_version: PromptVersion, capsys: Any
) -> None:
    run = launch(admin, paid_version, n=6, ceiling_usd=Decimal(1))
    complete_all(claim(4)[:2])
    assert count_begun(run) == 4 * PRICE
    idle = launch(admin, paid_version, ceiling_usd=Decimal(1))
    Run.objects.filter(pk=run.pk).update(settled_usd=7)
    Run.objects.filter(pk=idle.pk).update(settled_usd=1)
    OpenCharge.objects.all().delete()

    with pytest.raises(CommandError, match="2 figures differ"):
        call_command("check_quotas")
    call_command("check_quotas", repair=True)
    call_command("check_quotas")

    run.refresh_from_db()
    assert (run.settled_usd, OpenCharge.objects.count()) == (2 * PRICE, 2)
    assert count_begun(run) == 4 * PRICE
    assert AuditEntry.objects.filter(verb="repair_run_money").count() == 2
    assert f"run {run.pk}: stored 7.000000, counted 0.160000" in capsys.readouterr().out


def test_runs_that_exist_are_summed_by_the_migration(admin: User, paid_version: PromptVersion) -> None:
    migration = importlib.import_module("generations.migrations.0012_sum_begun_of_capped_runs")
    run = launch(admin, paid_version, n=6, ceiling_usd=Decimal(1))
    complete_all(claim(4)[:3], Decimal("0.050001"))
    launch(admin, paid_version)
    OpenCharge.objects.all().delete()
    Run.objects.update(settled_usd=0)
    assert list_run_drift() != []

    migration.sum_begun(apps, None)

    run.refresh_from_db()
    assert (run.settled_usd, OpenCharge.objects.count()) == (Decimal("0.150003"), 1)
    assert list_run_drift() == []


@pytest.mark.postgres
@pytest.mark.parametrize("n_made", [20, 400])
def test_a_claim_reads_no_more_rows_however_much_the_run_has_made(
    admin: User, paid_version: PromptVersion, n_made: int
) -> None:
    launch(admin, paid_version, n=n_made + 20, ceiling_usd=Decimal(1_000))
    for _ in range(n_made // 20):
        complete_all(claim(20))
    complete_all(claim(5))

    n_touched = _count_touched(lambda: claim(5))

    assert Generation.objects.filter(status=Status.PROCESSING).count() == 5
    assert n_touched <= 100


def _count_touched(act: Callable[[], object]) -> int:
    """Return how many rows of generations and their charges the database reads meanwhile."""
    before = _read_touched()
    act()
    return _read_touched() - before


def _read_touched() -> int:
    tables = [model._meta.db_table for model in (Generation, OpenCharge, Run)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
            " WHERE relname = ANY(%s)",
            [tables],
        )
        return int(cursor.fetchone()[0])


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_many_workers_that_claim_and_end_at_once_begin_no_more_than_the_ceiling_allows(admin: User) -> None:
    versions = [make_paid_version() for _ in range(3)]
    run = launch(admin, *versions, n=30, ceiling_usd=40 * PRICE)

    def work(number: int) -> None:
        for turn in range(12):
            works = claim_batch(worker=f"w{number}", capacity=3)
            ended = works if turn % 3 else works[:1]
            end([Failed(each, REFUSED, 1) if (number + turn) % 4 == 0 else complete(each) for each in ended])
            if turn % 4 == number % 4:
                repair_run(run.pk)
            begun = Generation.objects.filter(run=run, started_at__isnull=False)
            usd = [each.reserved_usd or each.cost_usd or 0 for each in begun]
            assert sum(usd) <= 40 * PRICE

    run_at_once(8, work)

    assert list_run_drift() == []
    # Room that refused calls leave is filled up to the last cent, unless the ceiling had stopped the rest.
    assert count_begun(Run.objects.get()) <= 40 * PRICE
    assert run.generations.filter(started_at__isnull=False).count() >= 40
    assert run.generations.filter(error_code=ErrorCode.CEILING_REACHED).exists()
