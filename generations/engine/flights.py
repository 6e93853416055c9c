"""What a drain keeps of each generation under way in it, and what it counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from generations.engine.polling import JobPoller
from generations.engine.work import Work
from generations.providers.base import Capabilities


@dataclass(slots=True)
class DrainTally:
    """What a drain did."""

    n_claimed: int = 0
    n_completed: int = 0
    n_failed: int = 0
    n_requeued: int = 0
    n_dropped: int = 0
    has_more: bool = field(default=False)


@dataclass(slots=True)
class Flight:
    """One generation under way in this process.

    Args:
        seen_at: When the database last said that it is ours, by `read_clock` before it was asked.
        is_calling: It takes one of the places of its model.
        has_left: A request that may cost money may have been sent.
        is_fetching: Its result is coming, or in memory until it is stored.
    """

    work: Work
    seen_at: float
    is_calling: bool = True
    has_left: bool = False
    is_called_off: bool = False
    poller: JobPoller | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    task: asyncio.Task[None] | None = None
    is_fetching: bool = False

    async def begin_fetching(self) -> None:
        """Wait until few enough results are in memory for one more."""
        if self.poller is not None:
            await self.poller.fetching.acquire()
            self.is_fetching = True

    def end_fetching(self) -> None:
        """Let the next result come, once this one is in storage or given up."""
        if self.poller is not None and self.is_fetching:
            self.is_fetching = False
            self.poller.fetching.release()
