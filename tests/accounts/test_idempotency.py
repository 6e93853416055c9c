"""Creates that cost money are carried out once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory

from accounts.api.idempotency import answer_once
from accounts.idempotency import (
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    purge_records,
    run_once,
)
from accounts.models import IdempotencyRecord, User
from mayagen.common.errors import DomainError
from tests.accounts.factories import UserFactory

pytestmark = pytest.mark.django_db


class Till:
    """A verb that counts how often it ran."""

    def __init__(self) -> None:
        self.n_runs = 0

    def __call__(self) -> tuple[int, Any]:
        self.n_runs += 1
        return 201, {"run": self.n_runs, "at": timezone.now()}


def post(user: User, body: Any, till: Till, *, key: str | None = "key", form: bool = False) -> Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    django_request = APIRequestFactory().post(
        "/api/v1/runs/", body, format="multipart" if form else "json", headers=headers
    )
    request = Request(django_request, parsers=[JSONParser(), MultiPartParser()])
    request.user = user
    return answer_once(request, till)


def test_the_same_key_and_body_get_the_same_answer(admin: User) -> None:
    till = Till()
    first = post(admin, {"name": "a", "items": [1, 2]}, till)
    second = post(admin, {"items": [1, 2], "name": "a"}, till)

    assert till.n_runs == 1
    assert (second.status_code, second.data) == (first.status_code, first.data)
    assert first.headers.get("Idempotency-Replayed") is None
    assert second.headers["Idempotency-Replayed"] == "true"


def test_another_body_is_refused(admin: User) -> None:
    till = Till()
    post(admin, {"name": "a"}, till)

    with pytest.raises(IdempotencyKeyReusedError) as refusal:
        post(admin, {"name": "b"}, till)
    assert (refusal.value.status, refusal.value.code) == (422, "idempotency_key_reused")
    assert till.n_runs == 1


def test_without_a_key_every_request_counts(admin: User) -> None:
    till = Till()
    for _ in range(2):
        post(admin, {"name": "a"}, till, key=None)

    assert till.n_runs == 2
    assert not IdempotencyRecord.objects.exists()


def test_keys_belong_to_their_person(admin: User) -> None:
    till = Till()
    post(admin, {"name": "a"}, till)
    post(UserFactory(role="admin"), {"name": "b"}, till)

    assert till.n_runs == 2


@pytest.mark.parametrize(
    "key", ["", "a" * 256, "two,keys", "a, a", "with space", "n\u00e4h", "tab\t", "a\x00"]
)
def test_a_key_that_is_none_is_refused(admin: User, key: str) -> None:
    till = Till()

    with pytest.raises(IdempotencyKeyInvalidError):
        run_once(user=admin, key=key, request_body_hash="h", verb=till)
    assert IdempotencyKeyInvalidError.status == 400
    assert till.n_runs == 0


def test_a_key_may_be_255_long(admin: User) -> None:
    till = Till()
    for _ in range(2):
        post(admin, {}, till, key="a" * 255)

    assert till.n_runs == 1


def test_what_was_refused_is_not_kept(admin: User) -> None:
    def refuse() -> tuple[int, Any]:
        UserFactory(email="half.written@example.com")
        raise DomainError

    with pytest.raises(DomainError):
        run_once(user=admin, key="key", request_body_hash="h", verb=refuse)

    assert not IdempotencyRecord.objects.exists()
    assert not User.objects.filter(email="half.written@example.com").exists()
    assert post(admin, {}, Till()).status_code == 201


def test_an_empty_answer_is_repeated_too(admin: User) -> None:
    for _ in range(2):
        answer = run_once(user=admin, key="k", request_body_hash="h", verb=lambda: (204, None))
        assert (answer.status, answer.body) == (204, None)


def test_uploads_are_compared_by_their_bytes(admin: User) -> None:
    till = Till()
    for content in (b"one", b"one"):
        post(admin, {"name": "a", "file": SimpleUploadedFile("a.png", content)}, till, form=True)

    assert till.n_runs == 1
    with pytest.raises(IdempotencyKeyReusedError):
        post(admin, {"name": "a", "file": SimpleUploadedFile("a.png", b"two")}, till, form=True)


def test_an_upload_is_still_whole_when_the_verb_reads_it(admin: User) -> None:
    upload = SimpleUploadedFile("a.png", b"bytes")
    django_request = APIRequestFactory().post(
        "/api/v1/runs/", {"file": upload}, format="multipart", headers={"Idempotency-Key": "k"}
    )
    request = Request(django_request, parsers=[MultiPartParser()])
    request.user = admin

    answer = answer_once(request, lambda: (201, request.FILES["file"].read().decode()))

    assert answer.data == "bytes"


def test_keys_are_forgotten_after_30_days(admin: User) -> None:
    now = timezone.now()
    for key, age in (("old", 31), ("young", 29)):
        run_once(user=admin, key=key, request_body_hash="h", verb=lambda: (201, "made"))
        IdempotencyRecord.objects.filter(key=key).update(created_at=now - timedelta(days=age))

    assert purge_records(now=now) == 1
    assert IdempotencyRecord.objects.get().key == "young"
