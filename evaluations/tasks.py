"""Background entries of reviewing; each is safe to run twice."""

from __future__ import annotations

from evaluations.assignment import leasing, syncing
from evaluations.models import ReviewQueue


def sync_queues() -> None:
    """Pull new outputs into every active queue, and open the places of lapsed leases again."""
    for queue in ReviewQueue.objects.alive().filter(is_active=True).order_by("pk"):
        syncing.sync(queue)
        syncing.reconcile_when_due(queue)
    while leasing.expire_leases() == leasing.EXPIRY_BATCH:
        pass
