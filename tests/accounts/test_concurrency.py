"""Many at once on PostgreSQL: exactly one wins, nothing is done twice."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from rest_framework.test import APIClient

from accounts import services
from accounts.idempotency import IdempotencyInProgressError, run_once
from accounts.models import AuditEntry, IdempotencyRecord, User
from accounts.rate_limits import take
from mayagen.common.errors import DomainError
from tests.accounts.factories import PASSWORD, UserFactory
from tests.accounts.threads import run_at_once

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]

TOKEN = "/api/v1/auth/token/"


def test_of_parallel_refreshes_with_one_token_exactly_one_succeeds(admin: User) -> None:
    credentials = {"email": admin.email, "password": PASSWORD}
    pair = APIClient().post(TOKEN, credentials, format="json").json()

    def refresh(_index: int) -> int:
        body = {"refresh_token": pair["refresh_token"]}
        return int(APIClient().post(f"{TOKEN}refresh/", body, format="json").status_code)

    statuses = run_at_once(12, refresh)

    assert sorted(statuses) == [200] + [401] * 11


def test_a_bucket_never_grants_more_than_its_burst() -> None:
    waits = run_at_once(20, lambda _index: [take("bucket", rate_per_minute=1, burst=10) for _ in range(3)])

    granted = [wait for some in waits for wait in some if wait == 0.0]
    refused = [wait for some in waits for wait in some if wait > 0.0]
    assert (len(granted), len(refused)) == (10, 50)
    assert all(0 < wait <= 60 for wait in refused)


def test_a_bucket_that_many_ask_for_the_first_time_refuses_none_within_its_burst() -> None:
    def take_new(key: str) -> Callable[[int], float]:
        return lambda _index: take(key, rate_per_minute=1, burst=8)

    for number in range(5):
        assert run_at_once(8, take_new(f"new {number}")) == [0.0] * 8


def test_parallel_wrong_passwords_are_looked_at_five_times_only(admin: User) -> None:
    def guess(index: int) -> int:
        body = {"email": admin.email, "password": f"guess {index}"}
        return int(APIClient().post(TOKEN, body, format="json").status_code)

    statuses = run_at_once(16, guess)

    assert sorted(statuses) == [401] * 5 + [429] * 11


def test_of_two_administrators_who_remove_each_other_one_stays() -> None:
    pair = [UserFactory(role="admin"), UserFactory(role="admin")]

    def remove_other(index: int) -> str:
        actor, other = (User.objects.get(pk=pair[position].pk) for position in (index, 1 - index))
        try:
            services.deactivate_user(actor=actor, user=other)
        except DomainError as error:
            return error.code
        return "done"

    outcomes = run_at_once(2, remove_other)

    assert sorted(outcomes) == ["done", "last_admin"]
    assert User.objects.filter(groups__name="admin", is_active=True).count() == 1


def test_of_two_administrators_who_both_step_down_one_stays() -> None:
    pair = [UserFactory(role="admin"), UserFactory(role="admin")]

    def step_down(index: int) -> str:
        person = User.objects.get(pk=pair[index].pk)
        try:
            services.change_role(actor=person, user=person, role="viewer")
        except DomainError as error:
            return error.code
        return "done"

    assert sorted(run_at_once(2, step_down)) == ["done", "last_admin"]


def test_one_address_becomes_one_person(admin: User) -> None:
    def make(_index: int) -> str:
        try:
            services.create_user(actor=admin, email="New@example.com", role="viewer")
        except DomainError as error:
            return error.code
        return "done"

    assert sorted(run_at_once(8, make)) == ["done"] + ["email_taken"] * 7
    assert AuditEntry.objects.filter(verb="create_user").count() == 1


def test_the_same_request_at_once_is_carried_out_once(admin: User) -> None:
    calls: list[int] = []

    def create(index: int) -> tuple[int, dict[str, int], bool]:
        def verb() -> tuple[int, dict[str, int]]:
            calls.append(index)
            time.sleep(0.2)
            return 201, {"made_by": index}

        answer = run_once(user=admin, key="k", request_body_hash="h", verb=verb)
        return answer.status, answer.body, answer.is_replay

    answers = run_at_once(20, create)

    assert len(calls) == 1
    assert {(status, body["made_by"]) for status, body, _replay in answers} == {(201, calls[0])}
    assert [replay for _status, _body, replay in answers].count(False) == 1
    assert IdempotencyRecord.objects.count() == 1


def test_a_request_that_waits_for_one_that_fails_is_carried_out_itself(admin: User) -> None:
    calls: list[int] = []

    def create(index: int) -> str:
        def verb() -> tuple[int, str]:
            calls.append(index)
            time.sleep(0.2)
            if len(calls) == 1:
                raise DomainError
            return 201, "made"

        try:
            return str(run_once(user=admin, key="k", request_body_hash="h", verb=verb).body)
        except DomainError as error:
            return error.code

    assert sorted(run_at_once(4, create)) == ["invalid", "made", "made", "made"]
    assert len(calls) == 2


def test_a_request_does_not_wait_for_ever_for_the_first(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.idempotency.LONGEST_WAIT_SECONDS", 1)

    def create(index: int) -> str:
        def verb() -> tuple[int, str]:
            time.sleep(3)
            return 201, "made"

        try:
            return str(run_once(user=admin, key="k", request_body_hash="h", verb=verb).body)
        except IdempotencyInProgressError as error:
            return error.code

    assert sorted(run_at_once(2, create)) == ["idempotency_in_progress", "made"]
