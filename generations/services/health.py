"""What a person decides about a provider's circuit breaker."""

from __future__ import annotations

from django.db import transaction

from accounts import audit
from accounts.models import User
from accounts.permissions import require
from generations.choices import BreakerState
from generations.models import ProviderHealth
from generations.waking import wake_engine
from mayagen.common.errors import ConflictError


class BreakerClosedError(ConflictError):
    """The breaker is closed already."""

    code = "breaker_closed"
    sentence = "Calls to this provider are being made already."


@transaction.atomic
def close_breaker(*, actor: User, health: ProviderHealth) -> ProviderHealth:
    """Let work of a provider address go on at once, and return its health as it is now.

    Raises:
        BreakerClosedError: It is not held back.
    """
    require(actor, "generations.change_providerhealth")
    held_back = ProviderHealth.objects.filter(pk=health.pk).exclude(state=BreakerState.CLOSED)
    if not held_back.close():
        raise BreakerClosedError
    audit.record(
        actor=actor,
        verb="close_breaker",
        target=health,
        before={"state": health.state},
        after={"state": BreakerState.CLOSED.value},
    )
    wake_engine()
    health.refresh_from_db()
    return health
