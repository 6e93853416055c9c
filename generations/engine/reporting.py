"""What one worker tells the others about the providers it calls."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from asgiref.sync import sync_to_async
from django.db import DatabaseError

from generations.engine.clock import read_clock
from generations.engine.health import OUTAGE_CODES, Address, note_failure, note_success
from generations.engine.transitions import Failure
from generations.engine.work import ModelSpec, Work
from generations.providers.base import ErrorCode

logger = logging.getLogger(__name__)
TELL_SECONDS: Final = 1.0


class HealthReporter:
    """Tells of successes now and then, and of each failure that speaks for an outage.

    A failure says nothing when its call began before the last success: of many calls in flight a few may
    hang and end together, while the provider answers all others.
    """

    def __init__(self) -> None:
        self._succeeded_at: dict[Address, float] = {}
        self._told_at: dict[Address, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def succeed(self, work: Work) -> None:
        """Note that the provider took or answered a call."""
        address, now = to_address(work.model), read_clock()
        self._succeeded_at[address] = now
        if work.is_probe or now - self._told_at.get(address, 0.0) >= TELL_SECONDS:
            self._told_at[address] = now
            task = asyncio.create_task(self._tell(address))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def fail(self, work: Work, failure: Failure, *, began: float) -> float | None:
        """Note a failure; return for how long work at this address has to wait, or None when it need not."""
        address = to_address(work.model)
        if failure.code not in OUTAGE_CODES:
            if failure.code != ErrorCode.CONFIGURATION:
                self.succeed(work)
            return None
        if not work.is_probe and began < self._succeeded_at.get(address, 0.0):
            return None
        try:
            return await sync_to_async(note_failure)(
                address, code=failure.code, sentence=failure.sentence, is_probe=work.is_probe
            )
        except DatabaseError:
            # What became of the call is still to be written, and matters more.
            logger.exception("the health of %s was not noted", address.provider)
            return None

    async def finish(self) -> None:
        """Wait until all is told."""
        await asyncio.gather(*self._tasks)

    async def _tell(self, address: Address) -> None:
        try:
            await sync_to_async(note_success)(address)
        except DatabaseError:
            logger.exception("the health of %s was not noted", address.provider)


def to_address(model: ModelSpec) -> Address:
    """Return the address that the breaker of a model's provider belongs to."""
    return Address(model.provider, model.base_url)
