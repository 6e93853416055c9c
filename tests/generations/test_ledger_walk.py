"""Whatever is done to runs in whatever order, the ledger equals a recount, and in the end all is settled."""

from __future__ import annotations

import random
from decimal import Decimal

import pytest
from django.db.models import Sum
from django.utils import timezone

from accounts.models import User
from generations.choices import Status
from generations.engine.claiming import claim_batch
from generations.engine.transitions import Dropped, Failed
from generations.engine.work import Work
from generations.models import Attempt, Generation, MonthlySpend, Run
from generations.services.ledger import settle, settle_unknown
from generations.services.recounting import list_drift
from generations.services.retrying import retry_failed
from generations.services.run_money import list_run_drift
from generations.services.runs import cancel_generation, cancel_run
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
)

pytestmark = pytest.mark.django_db
N_STEPS = 40


class Walk:
    """One person at random work; each step leaves the ledger right."""

    def __init__(self, actor: User, seed: int) -> None:
        self.actor = actor
        self.dice = random.Random(seed)
        self.version = make_paid_version()
        self.works: list[Work] = []

    def step(self) -> None:
        steps = (self.launch, self.claim, self.claim, self.end, self.end, self.end, self.cancel, self.retry)
        self.dice.choice(steps)()

    def launch(self) -> None:
        ceiling = self.dice.choice([None, None, Decimal("0.08")])
        launch(self.actor, self.version, n=self.dice.randint(1, 5), ceiling_usd=ceiling)

    def claim(self) -> None:
        self.works += claim_batch(worker="w", capacity=self.dice.randint(1, 5))

    def end(self) -> None:
        n = min(self.dice.randint(1, 3), len(self.works))
        ending = [self.works.pop(self.dice.randrange(len(self.works))) for _ in range(n)]
        end([self._end_of(work) for work in ending])
        settle(Generation.objects.filter(attempts__in=[work.attempt_id for work in ending]))

    def _end_of(self, work: Work) -> End:
        ends: list[End] = [
            complete(work, self.dice.choice([PRICE, Decimal("0.031"), None])),
            Failed(work, self.dice.choice([REFUSED, UNKNOWN]), 1),
            Failed(work, REFUSED, 1, cost_usd=PRICE),
            Failed(work, REFUSED, 1, delay_seconds=0.0),
            Dropped(work),
        ]
        return self.dice.choice(ends)

    def cancel(self) -> None:
        runs = list(Run.objects.filter(generations__status=Status.QUEUED).distinct().order_by("pk"))
        if runs:
            cancel_run(actor=self.actor, run=self.dice.choice(runs))

    def retry(self) -> None:
        failed = Generation.objects.current().filter(status=Status.FAILED)
        runs = list(Run.objects.filter(pk__in=failed.values("run")).order_by("pk"))
        if runs:
            retry_failed(actor=self.actor, run=self.dice.choice(runs))


@pytest.mark.parametrize("seed", range(6))
def test_the_ledger_equals_a_recount_throughout_and_all_is_settled_at_the_end(admin: User, seed: int) -> None:
    walk = Walk(admin, seed)
    walk.launch()
    QuotaFactory(limit_usd=1_000)

    for _ in range(N_STEPS):
        walk.step()
        assert list_drift() == []
        assert list_run_drift() == []

    Attempt.objects.in_flight().update(answered_at=timezone.now())
    for generation in Generation.objects.unfinished():
        cancel_generation(actor=admin, generation=generation)
    settle(Generation.objects.all())
    settle_unknown(Generation.objects.all(), is_paid=bool(seed % 2))
    total = MonthlySpend.objects.get(user=None)
    assert total.reserved_generations == total.reserved_usd == 0
    assert total.booked_usd == (Generation.objects.aggregate(sum=Sum("cost_usd"))["sum"] or 0)
    assert list_drift() == []
    assert list_run_drift() == []
