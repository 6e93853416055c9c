"""What has run out is deleted once a day."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.db.models import F
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule

from accounts.apps import PURGE_TASK
from accounts.idempotency import run_once
from accounts.models import IdempotencyRecord, RateBucket, User
from accounts.rate_limits import take
from accounts.tasks import purge

pytestmark = pytest.mark.django_db


def test_the_purge_is_scheduled() -> None:
    schedule = Schedule.objects.get(func=PURGE_TASK)

    assert (schedule.schedule_type, schedule.repeats) == (Schedule.DAILY, -1)


def test_what_has_run_out_goes_and_the_rest_stays(admin: User) -> None:
    for name in ("old", "new"):
        Client().force_login(admin)
        run_once(user=admin, key=name, request_body_hash="h", verb=lambda: (201, "made"))
        take(name, rate_per_minute=1, burst=1)
    session = Session.objects.order_by("session_key")[0]
    Session.objects.filter(pk=session.pk).update(expire_date=timezone.now() - timedelta(seconds=1))
    IdempotencyRecord.objects.filter(key="old").update(created_at=F("created_at") - timedelta(days=31))
    RateBucket.objects.filter(key="old").update(arrival_at=F("arrival_at") - timedelta(minutes=2))

    for _ in range(2):
        purge()

        assert not Session.objects.filter(pk=session.pk).exists()
        assert Session.objects.count() == 1
        assert IdempotencyRecord.objects.get().key == "new"
        assert RateBucket.objects.get().key == "new"
