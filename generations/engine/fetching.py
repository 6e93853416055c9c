"""Let few results come at once, and none of many while places at the providers are being filled again."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from generations.engine.clock import read_clock

MAX_AT_ONCE: Final = 32
MAX_WHILE_REFILLING: Final = 2
FEW_WAITING: Final = 4
"""Where no more than these wait, some come even then: what ends by itself takes nothing from others. Of
hundreds that end together even two at once would hold up every order: to store them takes many short turns
of the interpreter."""
REFILLING_SECONDS: Final = 0.3
"""From a place's becoming free until the order that takes it has left, as a rule."""
LONGEST_HOLD_SECONDS: Final = 2.0
"""No result is held back for longer: where places become free all the time they would never come."""
LOOK_SECONDS: Final = 0.1


class Refill:
    """Whether free places at the providers are being filled, which goes before fetching what was made.

    A job that has ended waits for us at no cost, while a place that stays empty makes the whole run longer.
    """

    def __init__(self) -> None:
        self.expects_more = True
        self._moved_at = 0.0

    def move(self) -> None:
        """Note that a place became free, or that an order left for one."""
        self._moved_at = read_clock()

    @property
    def is_under_way(self) -> bool:
        """Whether to hold back for it."""
        return self.expects_more and read_clock() - self._moved_at < REFILLING_SECONDS


class FetchGate:
    """Keeps most results of one model at the provider until there is time and room for them."""

    def __init__(self, refill: Refill) -> None:
        self._refill = refill
        self._n_inside = 0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> None:
        """Wait for one's turn; whoever has entered must leave."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((read_clock(), turn))
        self._let_in()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            raise

    def leave(self) -> None:
        """Make room for the next."""
        self._n_inside -= 1
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting and self._n_inside < self._get_limit():
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._n_inside += 1
        if self._waiting and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self._let_in()

    def _get_limit(self) -> int:
        waits_since, _ = self._waiting[0]
        is_held = self._refill.is_under_way and read_clock() - waits_since < LONGEST_HOLD_SECONDS
        if not is_held:
            return MAX_AT_ONCE
        return MAX_WHILE_REFILLING if len(self._waiting) <= FEW_WAITING else 0
