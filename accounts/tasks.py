"""What the task queue runs for accounts; safe to run twice."""

from __future__ import annotations

from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.idempotency import purge_records
from accounts.rate_limits import purge_buckets


def purge() -> None:
    """Delete what has run out: sessions, keys of repeated requests, and buckets that are full again."""
    now = timezone.now()
    Session.objects.filter(expire_date__lt=now).delete()
    purge_records(now=now)
    purge_buckets()
