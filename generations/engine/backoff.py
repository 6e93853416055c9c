"""How long a failed attempt waits before the next; pure."""

from __future__ import annotations

BASE_SECONDS = 2.0
CAP_SECONDS = 300.0


def get_delay_seconds(*, attempt_number: int, fraction: float, retry_after_seconds: float | None) -> float:
    """Return the seconds to wait: exponential with full jitter, never less than the provider asked for.

    Args:
        attempt_number: The attempt that failed, from 1.
        fraction: A random number from 0 to 1.
        retry_after_seconds: What the provider asked for, if it did.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
    """
    ceiling = min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(attempt_number - 1, 20))
    return max(ceiling * fraction, retry_after_seconds or 0.0)
