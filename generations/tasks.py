"""What the task queue runs; messages carry no arguments, and each task is safe to run twice."""

from __future__ import annotations

from django.db.models.functions import Now

from generations.engine.drain import drain as drain_due
from generations.engine.preparing import prepare_forgotten
from generations.engine.recovering import close_cancelled_attempts, recover_abandoned
from generations.models import Generation
from generations.waking import wake_engine


def drain() -> None:
    """Generate everything that is due; ask for another drain when more is."""
    if drain_due().has_more:
        wake_engine()


def sweep() -> None:
    """Find what no wake-up told of: lapsed leases, due rows, attempts of cancelled work, copies."""
    recover_abandoned()
    close_cancelled_attempts()
    prepare_forgotten()
    if Generation.objects.due(Now()).exists():
        wake_engine()
