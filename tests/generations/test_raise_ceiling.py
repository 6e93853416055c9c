"""The ceiling of a run that exists is raised or removed, and what it had stopped goes on."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django_q.models import OrmQ
from rest_framework.test import APIClient

from accounts.models import AuditEntry, User
from generations.choices import ErrorCode, Status
from generations.engine.claiming import claim_batch
from generations.models import Generation, MonthlySpend, OpenCharge, Run
from generations.services.ceilings import CeilingInvalidError, CeilingNotRaisedError, raise_ceiling
from generations.services.ledger import QuotaExceededError
from generations.services.recounting import list_drift
from generations.services.run_money import list_run_drift
from mayagen.common.errors import DomainError, PermissionDeniedError
from prompts.models import PromptVersion
from prompts.services.versions import delete_version
from tests.accounts.factories import UserFactory
from tests.accounts.threads import run_at_once
from tests.generations.factories import QuotaFactory
from tests.generations.money_cases import PRICE, complete, end, launch, make_paid_version, read_ledger

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]
N = 10


@pytest.fixture
def run(admin: User) -> Run:
    """A run of ten that has begun and completed two, at its ceiling."""
    made = launch(admin, make_paid_version(), n=N, ceiling_usd=2 * PRICE)
    go_on()
    return made


@pytest.fixture
def as_admin(admin: User) -> Client:
    return sign_in(admin)


def sign_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def go_on() -> int:
    """Do all that is due, and return how much that was."""
    n_done = 0
    while works := claim_batch(worker="w", capacity=100):
        end([complete(work) for work in works])
        n_done += len(works)
    return n_done


def count(run: Run, **which: Any) -> int:
    return Generation.objects.current().filter(run=run, **which).count()


def test_as_much_is_queued_as_the_new_ceiling_has_room_for(
    admin: User, run: Run, django_capture_on_commit_callbacks: Any
) -> None:
    assert count(run, error_code=ErrorCode.CEILING_REACHED) == 8
    OrmQ.objects.all().delete()

    with django_capture_on_commit_callbacks(execute=True):
        n_queued = raise_ceiling(actor=admin, run=run, ceiling_usd=5 * PRICE)

    assert OrmQ.objects.exists()
    assert (n_queued, run.ceiling_usd) == (3, Decimal("0.20"))
    assert read_ledger(admin) == read_ledger(None) == (3, 3 * PRICE, 2, 2 * PRICE)
    assert go_on() == 3
    assert (count(run, status=Status.COMPLETED), count(run)) == (5, N)
    assert read_ledger(admin) == (0, 0, 5, 5 * PRICE)
    entry = AuditEntry.objects.get(verb="raise_ceiling")
    assert (entry.actor, entry.before) == (admin, {"ceiling_usd": "0.08"})
    assert entry.after == {"ceiling_usd": "0.20", "n_queued": 3}
    assert not [*list_drift(), *list_run_drift()]


def test_removed_it_lets_everything_go_on(admin: User, run: Run) -> None:
    assert raise_ceiling(actor=admin, run=run, ceiling_usd=None) == 8

    assert run.ceiling_usd is None
    assert not OpenCharge.objects.exists()
    assert go_on() == 8
    assert count(run, status=Status.COMPLETED) == count(run) == N
    assert not [*list_drift(), *list_run_drift()]


def test_raised_in_time_it_stops_nothing(admin: User) -> None:
    run = launch(admin, make_paid_version(), n=N, ceiling_usd=2 * PRICE)
    claim_batch(worker="w", capacity=1)

    # What waits is reserved already, and what the new ceiling has room for is known with it.
    assert raise_ceiling(actor=admin, run=run, ceiling_usd=N * PRICE) == 0

    assert read_ledger(admin)[:2] == (N, N * PRICE)
    assert len(claim_batch(worker="w", capacity=100)) == N - 1


def test_what_waits_has_its_room_before_what_was_stopped(admin: User, run: Run) -> None:
    assert raise_ceiling(actor=admin, run=run, ceiling_usd=4 * PRICE) == 2
    assert raise_ceiling(actor=admin, run=run, ceiling_usd=5 * PRICE) == 1

    assert go_on() == 3
    assert count(run, error_code=ErrorCode.CEILING_REACHED) == 5


@pytest.mark.parametrize("scope", ["user", "installation"])
def test_a_raise_beyond_a_quota_is_refused_whole(admin: User, run: Run, scope: str) -> None:
    QuotaFactory(user=admin if scope == "user" else None, limit_usd="0.16")

    with pytest.raises(QuotaExceededError, match=r"\$0\.08 left, and this asks for \$0\.32"):
        raise_ceiling(actor=admin, run=run, ceiling_usd=None)
    with pytest.raises(QuotaExceededError):
        raise_ceiling(actor=admin, run=run, ceiling_usd=5 * PRICE)

    run.refresh_from_db()
    assert run.ceiling_usd == 2 * PRICE
    assert count(run, status=Status.QUEUED) == 0
    assert read_ledger(admin) == (0, 0, 2, 2 * PRICE)
    assert not AuditEntry.objects.filter(verb="raise_ceiling").exists()
    # The ceiling keeps within the quota what the run as a whole would pass.
    assert raise_ceiling(actor=admin, run=run, ceiling_usd=4 * PRICE) == 2
    assert not [*list_drift(), *list_run_drift()]


def test_what_goes_on_is_reserved_for_who_asks(run: Run, admin: User) -> None:
    other = UserFactory(role="admin")

    raise_ceiling(actor=other, run=run, ceiling_usd=3 * PRICE)

    assert read_ledger(other)[:2] == (1, PRICE)
    assert read_ledger(admin)[:2] == (0, 0)


def test_a_version_that_is_gone_refuses_whole(admin: User, run: Run) -> None:
    delete_version(actor=admin, version=PromptVersion.objects.get())

    with pytest.raises(DomainError) as caught:
        raise_ceiling(actor=admin, run=run, ceiling_usd=Decimal(1))

    assert caught.value.code == "version_deleted"
    run.refresh_from_db()
    assert run.ceiling_usd == 2 * PRICE


@pytest.mark.parametrize("amount", ["0.08", "0.07"])
def test_a_ceiling_is_only_ever_raised(admin: User, run: Run, amount: str) -> None:
    with pytest.raises(CeilingNotRaisedError, match=r"The ceiling is \$0\.08") as caught:
        raise_ceiling(actor=admin, run=run, ceiling_usd=Decimal(amount))

    assert list(caught.value.fields) == ["ceiling_usd"]


@pytest.mark.parametrize("amount", [Decimal(5), None])
def test_a_run_without_a_ceiling_has_none_to_raise(admin: User, amount: Decimal | None) -> None:
    with pytest.raises(CeilingNotRaisedError, match="has no ceiling"):
        raise_ceiling(actor=admin, run=launch(admin, make_paid_version()), ceiling_usd=amount)


@pytest.mark.parametrize("amount", ["0", "-1", "NaN", "Infinity", "0.101", "1000000.01"])
def test_a_raised_ceiling_is_an_amount_of_money(admin: User, run: Run, amount: str) -> None:
    with pytest.raises(CeilingInvalidError):
        raise_ceiling(actor=admin, run=run, ceiling_usd=Decimal(amount))


@pytest.mark.parametrize("role", ["viewer", "evaluator"])
def test_only_admins_raise_it(role: str, run: Run, api_as: ApiAs, request: pytest.FixtureRequest) -> None:
    user = request.getfixturevalue(role)

    with pytest.raises(PermissionDeniedError):
        raise_ceiling(actor=user, run=run, ceiling_usd=None)
    answer = api_as(user).post(f"/api/v1/runs/{run.pk}/raise-ceiling/", {"ceiling_usd": "9"}, format="json")
    pages = [
        sign_in(user).post(reverse(f"admin:generations_run_{name}", args=[run.pk]), {"ceiling_usd": "9"})
        for name in ("ceiling", "uncap")
    ]

    assert answer.status_code == (403 if role == "viewer" else 404)
    assert all(page.status_code in {302, 403, 404} for page in pages)
    run.refresh_from_db()
    assert run.ceiling_usd == 2 * PRICE
    if role == "viewer":
        page = sign_in(user).get(reverse("admin:generations_run_change", args=[run.pk])).content.decode()
        assert "Ceiling" in page
        assert 'id="raise-ceiling"' not in page
        assert 'id="go-to-ceiling"' not in page


def test_over_the_api_it_is_raised_once_for_a_key_and_removed_by_null(
    run: Run, admin: User, api_as: ApiAs
) -> None:
    address = f"/api/v1/runs/{run.pk}/raise-ceiling/"

    first, second = (
        api_as(admin).post(address, {"ceiling_usd": "0.12"}, format="json", headers={"Idempotency-Key": "k"})
        for _ in range(2)
    )
    removed = api_as(admin).post(address, {"ceiling_usd": None}, format="json")

    assert first.json() == second.json() == {"n_queued": 1}
    assert removed.json() == {"n_queued": 7}
    assert api_as(admin).get(f"/api/v1/runs/{run.pk}/").json()["ceiling_usd"] is None


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, (400, "invalid")),
        ({"ceiling_usd": "much"}, (400, "invalid")),
        ({"ceiling_usd": True}, (400, "invalid")),
        ({"ceiling_usd": "0.123"}, (400, "invalid")),
        ({"ceiling_usd": "1", "unknown": 1}, (400, "invalid")),
        ({"ceiling_usd": "-1"}, (422, "ceiling_invalid")),
        ({"ceiling_usd": "2000000"}, (422, "ceiling_invalid")),
        ({"ceiling_usd": "0.08"}, (409, "ceiling_not_raised")),
    ],
)
def test_bad_bodies_are_refused_with_a_stable_code(
    run: Run, admin: User, api_as: ApiAs, body: dict[str, Any], refusal: tuple[int, str]
) -> None:
    answer = api_as(admin).post(f"/api/v1/runs/{run.pk}/raise-ceiling/", body, format="json")

    assert (answer.status_code, answer.json()["code"]) == refusal
    assert Run.objects.get().ceiling_usd == 2 * PRICE


def test_on_the_page_the_ceiling_is_raised_and_removed(run: Run, as_admin: Client) -> None:
    page = reverse("admin:generations_run_change", args=[run.pk])
    raising, removing = (
        reverse(f"admin:generations_run_{name}", args=[run.pk]) for name in ("ceiling", "uncap")
    )
    assert f'{page}#ceiling"' in as_admin.get(page).content.decode()
    assert as_admin.get(raising).headers["Location"] == page

    raised = as_admin.post(raising, {"ceiling_usd": "0.16"}, follow=True).content.decode()
    asked = as_admin.get(removing).content.decode()
    removed = as_admin.post(removing, follow=True).content.decode()

    assert "The ceiling is raised." in raised
    assert "$0.16" in raised
    assert "as much as it will" in asked
    assert "The ceiling was removed." in removed
    assert 'id="ceiling"' not in removed
    assert count(run, status=Status.QUEUED) == 8


@pytest.mark.parametrize(
    ("amount", "refusal"),
    [
        ("", (400, "required")),
        ("much", (400, "Enter a number")),
        ("0.125", (400, "decimal places")),
        ("0.05", (409, "a new one has to be higher")),
        ("-3", (422, "in whole cents")),
        ("0.20", (409, "has $0.00 left, and this asks for $0.12")),
    ],
)
def test_on_the_page_what_is_refused_stays_in_its_field(
    run: Run, admin: User, as_admin: Client, amount: str, refusal: tuple[int, str]
) -> None:
    QuotaFactory(user=admin, limit_usd="0.08")

    answer = as_admin.post(reverse("admin:generations_run_ceiling", args=[run.pk]), {"ceiling_usd": amount})

    page = answer.content.decode()
    assert answer.status_code == refusal[0]
    assert refusal[1] in page
    assert not amount or f'value="{amount}"' in page
    assert Run.objects.get().ceiling_usd == 2 * PRICE
    assert count(run, status=Status.QUEUED) == 0


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_who_raise_at_once_while_it_is_claimed_nothing_is_queued_twice(admin: User) -> None:
    run = launch(admin, make_paid_version(), n=40, ceiling_usd=4 * PRICE)
    others = UserFactory.create_batch(3, role="admin")

    def work(number: int) -> int:
        if number % 2:
            for turn in range(6):
                works = claim_batch(worker=f"w{number}", capacity=2 + turn)
                end([complete(each) for each in works])
            return 0
        n_refused = 0
        for n in (8, 12, 20):
            try:
                raise_ceiling(actor=others[number % 3], run=Run.objects.get(), ceiling_usd=n * PRICE)
            except CeilingNotRaisedError:
                n_refused += 1
        return n_refused

    n_refused = run_at_once(8, work)

    go_on()
    # Each amount was set once at most, by one of them.
    assert sum(n_refused) >= 4 * 3 - 3
    assert Run.objects.get().ceiling_usd == 20 * PRICE
    assert count(run, status=Status.COMPLETED) == 20
    assert (count(run), count(run, error_code=ErrorCode.CEILING_REACHED)) == (40, 20)
    totals = MonthlySpend.objects.get(user=None)
    assert (totals.reserved_usd, totals.booked_usd) == (Decimal(0), 20 * PRICE)
    assert not [*list_drift(), *list_run_drift()]
