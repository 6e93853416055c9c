"""What a drain keeps of each generation under way in it, and what it counts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from generations.engine.fetching import FetchGate
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


@dataclass(slots=True)
class Flight:
    """One generation under way in this process.

    Args:
        seen_at: When the database last said that it is ours, by `read_clock` before it was asked.
        is_calling: It takes one of the places of its model.
        has_left: A request that may cost money may have been sent.
        poller: Waits for its job, where its provider has jobs.
        gate: Lets its result come, once its job has ended.
        ending: Writes that its job has ended.
        is_fetching: Its result is coming, or in memory until it is stored.
    """

    work: Work
    seen_at: float
    is_calling: bool = True
    has_left: bool = False
    is_called_off: bool = False
    poller: JobPoller | None = None
    gate: FetchGate | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)
    task: asyncio.Task[None] | None = None
    ending: asyncio.Task[None] | None = None
    is_fetching: bool = False

    async def begin_fetching(self) -> None:
        """Wait until few enough results are in memory for one more."""
        if self.gate is not None:
            await self.gate.enter()
            self.is_fetching = True

    def end_fetching(self) -> None:
        """Let the next result come, once this one is in storage or given up."""
        if self.gate is not None and self.is_fetching:
            self.is_fetching = False
            self.gate.leave()
