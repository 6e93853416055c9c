"""The circuit breaker of each provider address: what opens it, who tries again, what closes it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.db.models import DurationField, ExpressionWrapper, F, Value
from django.db.models.functions import Now

from generations.choices import BreakerState
from generations.models import ProviderHealth
from generations.providers.base import ErrorCode
from generations.querysets import ProviderHealthQuerySet

FAILURES_TO_OPEN: Final = 5
FIRST_PAUSE_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 300.0
PROBE_SECONDS: Final = 60.0
OUTAGE_CODES: Final = frozenset(
    {ErrorCode.PROVIDER_UNAVAILABLE, ErrorCode.TIMEOUT, ErrorCode.OUTCOME_UNKNOWN}
)
"""What speaks for an outage; a provider that refuses or asks to slow down is well."""


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A provider at an address, as catalogue entries name it; entries that share it share its breaker."""

    provider: str
    base_url: str

    @property
    def health(self) -> ProviderHealthQuerySet:
        """The row of this address, if it was ever in trouble."""
        return ProviderHealth.objects.filter(provider=self.provider, base_url=self.base_url)


def note_failure(address: Address, *, code: str, sentence: str, is_probe: bool) -> float | None:
    """Count a failure that speaks for an outage, and open the breaker when it is one too many.

    Args:
        is_probe: The call was made to try an address whose breaker is open: it opens again, for longer.

    Returns:
        The seconds for which work has to wait, or None while the breaker is closed.
    """
    facts = {"last_failed_at": Now(), "last_error_code": code, "last_error_message": sentence}
    if not address.health.update(n_failures=F("n_failures") + 1, **facts):
        row = ProviderHealth(provider=address.provider, base_url=address.base_url)
        ProviderHealth.objects.bulk_create([row], ignore_conflicts=True)
        address.health.update(n_failures=F("n_failures") + 1, **facts)
    address.health.filter(state=BreakerState.CLOSED, n_failures__gte=FAILURES_TO_OPEN).update(
        state=BreakerState.OPEN, opened_at=Now(), n_openings=1, blocked_until=_after(FIRST_PAUSE_SECONDS)
    )
    if is_probe:
        _open_again(address)
    waits = ExpressionWrapper(F("blocked_until") - Now(), output_field=DurationField())
    remaining: timedelta | None = (
        address.health.exclude(state=BreakerState.CLOSED).values_list(waits, flat=True).first()
    )
    return None if remaining is None else max(0.0, remaining.total_seconds())


def note_success(address: Address) -> bool:
    """Close the breaker and forget the failures; return whether there was anything to forget."""
    return bool(address.health.close())


def begin_probe(address: Address) -> bool:
    """Return whether the caller may make the one call that tries the address; of many callers, one may."""
    due = address.health.exclude(state=BreakerState.CLOSED).filter(blocked_until__lte=Now())
    # Should the one who tries it die, another may after a while.
    return bool(due.update(state=BreakerState.HALF_OPEN, blocked_until=_after(PROBE_SECONDS)))


def _open_again(address: Address) -> None:
    half_open = address.health.filter(state=BreakerState.HALF_OPEN)
    n_openings = half_open.values_list("n_openings", flat=True).first()
    if n_openings is None:
        return
    pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(n_openings, 20))
    half_open.filter(n_openings=n_openings).update(
        state=BreakerState.OPEN, n_openings=F("n_openings") + 1, blocked_until=_after(pause)
    )


def _after(seconds: float) -> ExpressionWrapper[Any]:
    return ExpressionWrapper(
        Now() + Value(timedelta(seconds=seconds), output_field=DurationField()),
        output_field=ProviderHealth._meta.get_field("blocked_until"),
    )
