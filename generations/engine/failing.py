"""What becomes of a generation whose call brought nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from generations.engine.backoff import get_delay_seconds
from generations.engine.flights import Flight
from generations.engine.transitions import Failure
from generations.engine.work import Work
from generations.providers.base import ErrorCode, ProviderError

CONCLUSIVE_CODES: Final = frozenset({ErrorCode.REFUSED, ErrorCode.INVALID_REQUEST, ErrorCode.BAD_OUTPUT})
"""What an answer under a key says of every call under that key: anything else is of the moment."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it is called again.

    Args:
        again_in_seconds: None when it has failed.
        cost_usd: What the call cost all the same.
        is_spared: The provider could not be reached: the attempt counts towards no limit.
    """

    again_in_seconds: float | None
    cost_usd: Decimal | None = None
    is_spared: bool = False


def choose_delay_seconds(work: Work, error: Exception) -> float:
    """Return how long to wait before the next call, if there is one."""
    return get_delay_seconds(
        attempt_number=max(1, work.attempt_number - work.n_spared_attempts),
        fraction=random.random(),  # noqa: S311 - jitter, not a secret
        retry_after_seconds=error.retry_after_seconds if isinstance(error, ProviderError) else None,
    )


def judge(
    work: Work, error: Exception, failure: Failure, *, delay_seconds: float, breaker_pause: float | None
) -> Verdict:
    """Return what becomes of it.

    Args:
        delay_seconds: What `choose_delay_seconds` returned.
        breaker_pause: For so long the provider is left alone; None when it was reached.
    """
    if isinstance(error, ProviderError) and error.is_charged:
        return Verdict(None, cost_usd=work.expected_cost_usd)
    if failure.is_unknown:
        is_repeatable = work.model.repeats_unknown
    else:
        is_repeatable = isinstance(error, ProviderError) and error.retryable
    if not is_repeatable:
        return Verdict(None)
    if breaker_pause is not None:
        return Verdict(delay_seconds + breaker_pause, is_spared=True)
    n_counted = work.attempt_number - work.n_spared_attempts
    return Verdict(None if n_counted >= work.model.max_attempts else delay_seconds)


def says_nothing_of_the_first(flight: Flight, failure: Failure) -> bool:
    """Return whether a call was refused under the key of one before it, of which that tells nothing.

    Made anew under another key, it would be paid for twice if that one was carried out.
    """
    is_keyed = flight.capabilities.idempotency_keys and not flight.capabilities.job_ids
    return is_keyed and flight.work.is_repeated and failure.code not in CONCLUSIVE_CODES
