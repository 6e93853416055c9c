"""Decide, without rows or clock, how much to hand out and what a rating is worth."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

MAX_PREFETCH: Final = 8
MAX_DECISION_MS: Final = 24 * 3600 * 1000
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)


def count_to_claim(*, n_wanted: int, n_held: int, n_due: int, n_raters: int) -> int:
    """Return how many items to claim for somebody who wants `n_wanted` and already holds `n_held`.

    At a queue's tail, where fewer items are due than raters × prefetch, it is one item beside the one in
    sight: so nobody sees an empty queue while somebody else holds unseen items.

    Args:
        n_wanted: Items wanted in all, held ones included.
        n_held: Items that the person holds already.
        n_due: Items of the queue with an open place; may be capped at `n_raters` × `n_wanted` or above.
        n_raters: People who hold something in the queue, this one included.
    """
    most_held = n_wanted
    if is_tail(n_wanted=n_wanted, n_due=n_due, n_raters=n_raters):
        most_held = min(n_wanted, 2 if n_held else 1)
    return max(0, most_held - n_held)


def is_tail(*, n_wanted: int, n_due: int, n_raters: int) -> bool:
    """Return whether fewer items are due than raters × prefetch."""
    return n_due < n_raters * n_wanted


def find_exclusion_reason(*, is_blind: bool, is_admin: bool, is_author: bool) -> str:
    """Return why a rating is kept but not counted; empty when it counts.

    Who may see what a blind queue hides, or wrote it, cannot rate it blindly.
    """
    if not is_blind:
        return ""
    if is_author:
        return "Rated by the author of the prompt version."
    return "Rated by an admin, who may see what the queue hides." if is_admin else ""


def check_shown_at(shown_at: datetime | None, *, leased_at: datetime, now: datetime) -> datetime | None:
    """Return the time at which a page says it showed an item, or None when its clock cannot be right."""
    if shown_at is None or not leased_at - _CLOCK_TOLERANCE <= shown_at <= now + _CLOCK_TOLERANCE:
        return None
    return shown_at


def check_decided_ms(decided_ms: int | None) -> int | None:
    """Return how long a decision took, or None when nobody can have looked for so long."""
    return None if decided_ms is None or not 0 <= decided_ms <= MAX_DECISION_MS else decided_ms
