"""Whose turn it is: among models in one claim, and among priorities within a model; no database here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeVar

from generations.choices import Priority

WEIGHTS: Final[Mapping[int, int]] = MappingProxyType(
    {Priority.HIGH: 70, Priority.NORMAL: 20, Priority.LOW: 10}
)
Key = TypeVar("Key")


class Turns:
    """Remembers who was served, for as long as one worker claims.

    Priorities that wait get places as 70 : 20 : 10, whoever comes first being the highest; what one of them
    has no use for goes to the others. So high work passes a backlog, and low work never stands still.
    """

    def __init__(self) -> None:
        self._credits: dict[tuple[object, int], int] = {}
        self._n_claims = 0

    def order(self, keys: Sequence[Key]) -> list[Key]:
        """Return the keys, beginning one further each time."""
        if not keys:
            return []
        start = self._n_claims % len(keys)
        self._n_claims += 1
        return [*keys[start:], *keys[:start]]

    def share(self, owner: object, waiting: Sequence[int], n_places: int) -> dict[int, int]:
        """Return how many of the places each waiting priority of the owner gets.

        Source: smooth weighted round robin as nginx does it (`ngx_http_upstream_get_peer`).
        """
        shares = dict.fromkeys(waiting, 0)
        if len(waiting) <= 1:
            return dict.fromkeys(waiting, n_places)
        total = sum(WEIGHTS[priority] for priority in waiting)
        for _ in range(n_places):
            for priority in waiting:
                key = (owner, priority)
                self._credits[key] = self._credits.get(key, 0) + WEIGHTS[priority]
            chosen = max(waiting, key=lambda priority: (self._credits[(owner, priority)], priority))
            self._credits[(owner, chosen)] -= total
            shares[chosen] += 1
        return shares


def split(n_places: int, n_sharers_left: int) -> int:
    """Return how many places the next of several sharers may take, so that those after it get as many."""
    return -(-n_places // max(1, n_sharers_left))
