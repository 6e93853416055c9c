"""Wake the engine when work waits that nobody seems to look after."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models.functions import Now
from django_q.brokers import get_broker

from generations.choices import Status
from generations.models import Generation
from generations.waking import wake_engine

PATIENCE: Final = timedelta(seconds=settings.LEASE_SECONDS / 4)


def rouse_engine() -> bool:
    """Ask for a drain if leases have lapsed or work has been due for a while; return whether that was so.

    Whoever claims or recovers leaves neither for long: a wake-up was lost with the worker that had it, or
    nobody is awake since the last. While a message waits on the task queue, none is added.
    """
    overdue = Generation.objects.filter(status=Status.QUEUED, due_at__lte=Now() - PATIENCE)
    if not (overdue.exists() or Generation.objects.abandoned(Now()).exists()):
        return False
    if get_broker().queue_size():
        return False
    wake_engine()
    return True
