"""Drive all due generations concurrently in one event loop until nothing is due.

The event loop runs in a thread of its own; every database access is handed back to the thread that called
`drain`, in few batches, so that Django's connection is the caller's and the loop never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError

from generations.engine.adopting import adopt_cancelled
from generations.engine.claiming import claim_batch
from generations.engine.clock import read_clock
from generations.engine.connecting import impatient_connection, renew_connection
from generations.engine.driving import Driver
from generations.engine.fairness import Turns
from generations.engine.flights import DrainTally
from generations.engine.holding import LEASE, extend_leases, give_back_unheard, look_after
from generations.engine.recovering import recover_abandoned
from generations.engine.stopping import is_cluster_stopping
from generations.engine.storing import ImageWorkshop
from generations.engine.waiting import get_seconds_until_due
from generations.engine.webhooks import list_told
from generations.engine.writer import TransitionWriter

logger = logging.getLogger(__name__)
TROUBLE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """How much one drain takes on.

    Args:
        max_in_flight: Calls and jobs that this process waits for at once.
        max_unstored: Answered generations whose images are not stored yet; while there are more, fewer are
            claimed, so that a storage that is slower than the providers holds them back.
        claim_seconds: After this time no more is claimed, so that a task never outlives its timeout.
        linger_seconds: How far ahead a queued generation's time is waited for.
        watch_seconds: How often cancelled work and a stopping cluster are looked for.
        max_claimed: How many one claim takes: the calls of the first leave while the next are claimed.
        gather_seconds: The least time from one claim to the next.
        listen_seconds: How often webhooks are looked for while any is awaited.
    """

    max_in_flight: int = 500
    max_unstored: int = 500
    max_claimed: int = 100
    claim_seconds: float = 300.0
    linger_seconds: float = 15.0
    watch_seconds: float = 2.0
    listen_seconds: float = 0.5
    tick_seconds: float = 0.5
    gather_seconds: float = 0.02


def drain(limits: DrainLimits | None = None, *, claimed: Callable[[], None] = lambda: None) -> DrainTally:
    """Generate everything that is due, and return what was done; safe to run many times at once.

    Args:
        claimed: Called once no more is going to be claimed; what was claimed may take minutes from then on.
    """
    with impatient_connection():
        recover_abandoned()
        return async_to_sync(_Drain(limits or DrainLimits(), claimed).run)()


class _Drain:
    """One drain: claims, and watches over what it has claimed; the rows say who holds what."""

    def __init__(self, limits: DrainLimits, claimed: Callable[[], None]) -> None:
        self._limits = limits
        self._claimed = claimed
        self._worker = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._tally = DrainTally()
        self._turns = Turns()
        self._place_free = asyncio.Event()
        self._is_stopping = False
        self._claimed_at = -math.inf
        # Every attempt that was ever driven here; what else is in our name was claimed unheard.
        self._begun: set[uuid.UUID] = set()

    async def run(self) -> DrainTally:
        """Claim and drive until nothing is due or the time for claiming is over."""
        with ImageWorkshop() as workshop:
            async with TransitionWriter() as writer:
                self._driver = Driver(
                    writer=writer,
                    workshop=workshop,
                    tally=self._tally,
                    place_freed=self._place_free.set,
                )
                await self._run_until(time.monotonic() + self._limits.claim_seconds)
        return self._tally

    async def _run_until(self, ends_at: float) -> None:
        watchers = [asyncio.create_task(self._watch()), asyncio.create_task(self._listen())]
        try:
            for work in await sync_to_async(adopt_cancelled)(worker=self._worker):
                self._begun.add(work.attempt_id)
                self._driver.start(work)
            while time.monotonic() < ends_at and not self._is_stopping and await self._step_in_trouble():
                pass
            # No call in flight is lost by a database that does not answer just now.
            with contextlib.suppress(DatabaseError):
                await sync_to_async(self._claimed)()
            await self._driver.finish(leaves_copies=lambda: self._is_stopping)
        finally:
            for watcher in watchers:
                watcher.cancel()
            await self._driver.close()

    async def _step_in_trouble(self) -> bool:
        """Step; while the database does not answer, wait and go on: no call in flight is lost by it."""
        try:
            return await self._step()
        except (OperationalError, InterfaceError):
            logger.exception("could not claim")
            await renew_connection()
            await asyncio.sleep(TROUBLE_SECONDS)
            with contextlib.suppress(DatabaseError):
                await sync_to_async(give_back_unheard)(worker=self._worker, begun=self._begun)
            return True

    async def _step(self) -> bool:
        """Claim what fits, wait for a free place; return whether there may be more to do."""
        await self._gather_places()
        was_freed = self._place_free.is_set()
        self._place_free.clear()
        calling = [flight for flight in self._driver.flights.values() if flight.is_calling]
        n_unstored = len(self._driver.flights) - len(calling)
        capacity = self._limits.max_in_flight - len(calling) - max(0, n_unstored - self._limits.max_unstored)
        works = []
        if capacity > 0:
            n_unkeyed = sum(flight.work.is_unkeyed for flight in calling)
            works = await sync_to_async(claim_batch)(
                worker=self._worker,
                capacity=min(capacity, self._limits.max_claimed),
                unkeyed_capacity=settings.UNKEYED_IN_FLIGHT - n_unkeyed,
                turns=self._turns,
            )
        if works or was_freed:
            self._driver.refill.expects_more = bool(works)
        for work in works:
            self._begun.add(work.attempt_id)
            self._driver.start(work)
        if works:
            await asyncio.sleep(0)
            return True
        wait = self._limits.tick_seconds
        if not self._driver.flights:
            linger = timedelta(seconds=self._limits.linger_seconds)
            due_in = await sync_to_async(get_seconds_until_due)(within=linger)
            if due_in is None:
                return False
            # Something due that could not be claimed waits for its model's places, rate or breaker.
            wait = min(due_in, wait) if due_in > 0 else wait
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._place_free.wait(), timeout=wait)
        return True

    async def _gather_places(self) -> None:
        """Let a moment pass after the last claim: one for ten places costs little more than for one."""
        wait = self._claimed_at + self._limits.gather_seconds - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._claimed_at = time.monotonic()

    async def _watch(self) -> None:
        """Beat the leases; recover others'; call off what was cancelled; let go of jobs when we stop."""
        beat_every = LEASE.total_seconds() / 3
        beaten_at = time.monotonic()
        while True:
            await asyncio.sleep(self._limits.watch_seconds)
            try:
                self._is_stopping = self._is_stopping or await sync_to_async(is_cluster_stopping)()
                if time.monotonic() - beaten_at >= beat_every:
                    await self._beat()
                    beaten_at = time.monotonic()
                if self._driver.flights:
                    await self._look_after()
            except DatabaseError:
                logger.exception("could not look after the leases")
                await renew_connection()
            if self._is_stopping:
                for poller in self._driver.pollers:
                    poller.leave_all()

    async def _beat(self) -> None:
        """Keep our leases, and take up what others left, sooner than the sweep would."""
        if self._driver.flights:
            ids = list(self._driver.flights)
            await sync_to_async(extend_leases)(generation_ids=ids, worker=self._worker)
        await sync_to_async(recover_abandoned)()

    async def _look_after(self) -> None:
        flights = dict(self._driver.flights)
        asked_at = read_clock()
        holdings = await sync_to_async(look_after)(generation_ids=list(flights), worker=self._worker)
        for generation_id, flight in flights.items():
            if generation_id in holdings.held:
                flight.seen_at = asked_at
            elif generation_id in holdings.cancelled:
                self._driver.call_off(flight)
            elif flight.is_calling and flight.task is not None:
                # One whose call has ended meanwhile is let be: its next write finds out by itself.
                flight.task.cancel()

    async def _listen(self) -> None:
        """Look for webhooks that have come, wherever they came in, while any is awaited."""
        while True:
            await asyncio.sleep(self._limits.listen_seconds)
            awaited = {
                attempt_id: poller
                for poller in self._driver.pollers
                for attempt_id in poller.awaiting_webhooks
            }
            if not awaited:
                continue
            try:
                told = await sync_to_async(list_told)(list(awaited))
            except DatabaseError:
                logger.exception("could not look for webhooks")
                await renew_connection()
                continue
            for attempt_id in told:
                awaited[attempt_id].tell(attempt_id)
