"""Drive all due generations concurrently in one event loop until nothing is due.

The event loop runs in a thread of its own; every database access is handed back to the thread that called
`drain`, in few batches, so that Django's connection is the caller's and the loop never waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import socket
import time
import uuid
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import urlsplit

import aiohttp
from asgiref.sync import async_to_sync, sync_to_async
from django.db import DatabaseError

from generations.engine.backoff import get_delay_seconds
from generations.engine.calling import call_provider, open_provider, to_failure
from generations.engine.claiming import LEASE, claim_batch, get_seconds_until_due
from generations.engine.recovering import recover_abandoned
from generations.engine.stopping import is_cluster_stopping
from generations.engine.storing import ImageWorkshop, StoringError
from generations.engine.transitions import (
    Answered,
    Completed,
    Dropped,
    Failed,
    Failure,
    Prepared,
    Submitted,
    extend_leases,
    list_held,
)
from generations.engine.work import ModelSpec, Work
from generations.engine.writer import TransitionWriter
from generations.image_files import discard, discard_files
from generations.media.errors import MediaError
from generations.models import OutputImage
from generations.providers.base import JobProvider, Provider, ProviderError, ProviderResult
from mayagen.common.http_safety import create_session

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DrainLimits:
    """How much one drain takes on.

    Args:
        max_in_flight: Generations held at once by this process.
        claim_seconds: After this time no more is claimed, so that a task never outlives its timeout.
        linger_seconds: How far ahead a queued generation's time is waited for.
        watch_seconds: How often cancelled work and a stopping cluster are looked for.
    """

    max_in_flight: int = 500
    claim_seconds: float = 300.0
    linger_seconds: float = 15.0
    watch_seconds: float = 2.0
    tick_seconds: float = 0.5


@dataclass(slots=True)
class DrainTally:
    """What a drain did."""

    n_claimed: int = 0
    n_completed: int = 0
    n_failed: int = 0
    n_requeued: int = 0
    n_dropped: int = 0
    has_more: bool = field(default=False)


def drain(limits: DrainLimits | None = None) -> DrainTally:
    """Generate everything that is due, and return what was done; safe to run many times at once."""
    recover_abandoned()
    return async_to_sync(_Drain(limits or DrainLimits()).run)()


class _Drain:
    """One drain: claims, calls, stores; the rows say who holds what."""

    def __init__(self, limits: DrainLimits) -> None:
        self._limits = limits
        self._worker = f"{socket.gethostname()[:30]}:{os.getpid()}:{uuid.uuid4().hex[:12]}"
        self._tally = DrainTally()
        self._tasks: dict[uuid.UUID, asyncio.Task[None]] = {}
        self._preparations: set[asyncio.Task[None]] = set()
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._place_free = asyncio.Event()
        self._calling: set[uuid.UUID] = set()
        self._is_stopping = False

    async def run(self) -> DrainTally:
        """Claim and drive until nothing is due or the time for claiming is over."""
        ends_at = time.monotonic() + self._limits.claim_seconds
        with ImageWorkshop() as self._workshop:
            async with TransitionWriter() as self._writer:
                await self._run_until(ends_at)
        linger = timedelta(seconds=self._limits.linger_seconds)
        wait = await sync_to_async(get_seconds_until_due)(within=linger)
        self._tally.has_more = wait is not None and not self._is_stopping
        return self._tally

    async def _run_until(self, ends_at: float) -> None:
        watcher = asyncio.create_task(self._watch())
        try:
            while time.monotonic() < ends_at and not self._is_stopping and await self._step():
                pass
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.gather(*self._preparations, return_exceptions=True)
        finally:
            watcher.cancel()
            for session in self._sessions.values():
                await session.close()

    async def _step(self) -> bool:
        """Claim what fits, wait for a free place; return whether there may be more to do."""
        self._place_free.clear()
        capacity = self._limits.max_in_flight - len(self._calling)
        works = []
        if capacity > 0:
            works = await sync_to_async(claim_batch)(worker=self._worker, capacity=capacity)
        for work in works:
            self._start(work)
        if works:
            await asyncio.sleep(0)
            return True
        wait = self._limits.tick_seconds
        if not self._tasks:
            linger = timedelta(seconds=self._limits.linger_seconds)
            due_in = await sync_to_async(get_seconds_until_due)(within=linger)
            if due_in is None:
                return False
            # Something due that could not be claimed waits for its model's places or rate.
            wait = min(due_in, wait) if due_in > 0 else wait
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._place_free.wait(), timeout=wait)
        return True

    def _start(self, work: Work) -> None:
        self._tally.n_claimed += 1
        self._calling.add(work.generation_id)
        task = asyncio.create_task(self._drive(work))
        self._tasks[work.generation_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(work.generation_id, None))

    def _free_place(self, work: Work) -> None:
        self._calling.discard(work.generation_id)
        self._place_free.set()

    async def _drive(self, work: Work) -> None:
        try:
            await self._generate(work)
        except asyncio.CancelledError:
            self._tally.n_dropped += 1
            await self._writer.write(Dropped(work))
        except DatabaseError:
            logger.exception("generation %s is left to its lease", work.generation_id)

    async def _generate(self, work: Work) -> None:
        started = time.monotonic()
        try:
            try:
                result = await self._call(work)
            except Exception as error:  # noqa: BLE001 - whatever a call raises must end in a row
                await self._fail(work, error, _to_ms(started))
                return
            duration_ms = _to_ms(started)
            cost = result.cost_usd
            if cost is None and work.model.price_usd is not None:
                cost = work.model.price_usd * len(result.outputs)
            answered = Answered(
                work, duration_ms, cost, result.provider_request_id or "", dict(result.metadata)
            )
            if not await self._writer.write(answered):
                raise asyncio.CancelledError
        finally:
            self._free_place(work)
        await self._store(work, result, answered)

    async def _call(self, work: Work) -> ProviderResult:
        if time.monotonic() - work.claimed_at > LEASE.total_seconds() / 2:
            # The process stood still since the claim; somebody else may have the work by now.
            held = await sync_to_async(list_held)(generation_ids=[work.generation_id], worker=self._worker)
            if not held:
                raise asyncio.CancelledError
        provider = self._open(work.model)

        async def note_job(job_id: str) -> None:
            await self._writer.write(Submitted(work, job_id))

        return await call_provider(provider, work, job_submitted=note_job)

    def _open(self, model: ModelSpec) -> Provider | JobProvider:
        """One HTTP session for each address that a catalogue entry names itself."""
        session = self._sessions.get(model.base_url)
        if session is None:
            parts = urlsplit(model.base_url)
            default_port = 443 if parts.scheme == "https" else 80
            endpoint = (parts.hostname or "", parts.port or default_port)
            allowed = frozenset({endpoint}) if parts.hostname else frozenset()
            session = self._sessions[model.base_url] = create_session(allowed_endpoints=allowed)
        return open_provider(model, session)

    async def _store(self, work: Work, result: ProviderResult, answered: Answered) -> None:
        try:
            stored, warning = await self._workshop.store_outputs(result.outputs)
        except StoringError as error:
            failure = Failure(code=error.code, sentence=error.sentence, provider_message=error.detail)
            self._tally.n_failed += 1
            failed = Failed(work, failure, answered.duration_ms, cost_usd=answered.cost_usd)
            await self._writer.write(failed)
            return
        images = [
            OutputImage(generation_id=work.generation_id, position=position, **files.as_fields())
            for position, files in enumerate(stored)
        ]
        warnings = "\n".join(filter(None, (result.warning, warning)))
        completed = Completed(work, images, answered.duration_ms, answered.cost_usd, warnings)
        if not await self._writer.write(completed):
            self._tally.n_dropped += 1
            await asyncio.to_thread(discard, stored)
            return
        self._tally.n_completed += 1
        for image in images:
            task = asyncio.create_task(self._prepare(image))
            self._preparations.add(task)
            task.add_done_callback(self._preparations.discard)

    async def _prepare(self, image: OutputImage) -> None:
        """Make the copies of a stored output; what fails here is found again by the sweep."""
        try:
            copies = await self._workshop.make_copies(str(image.file))
            if not await self._writer.write(Prepared(image.pk, copies)):
                await asyncio.to_thread(discard_files, copies.list_names())
        except (MediaError, OSError, DatabaseError):
            logger.exception("the copies of output %s could not be made", image.pk)

    async def _fail(self, work: Work, error: Exception, duration_ms: int) -> None:
        failure = to_failure(error)
        if not isinstance(error, ProviderError):
            logger.error("the call for generation %s broke", work.generation_id, exc_info=error)
        is_repeatable = isinstance(error, ProviderError) and error.retryable
        if failure.is_unknown and work.model.repeats_unknown:
            is_repeatable = True
        delay = None
        if is_repeatable and work.attempt_number < work.model.max_attempts:
            retry_after = error.retry_after_seconds if isinstance(error, ProviderError) else None
            delay = get_delay_seconds(
                attempt_number=work.attempt_number,
                fraction=random.random(),  # noqa: S311 - jitter, not a secret
                retry_after_seconds=retry_after,
            )
        if await self._writer.write(Failed(work, failure, duration_ms, delay_seconds=delay)):
            self._tally.n_requeued += delay is not None
            self._tally.n_failed += delay is None

    async def _watch(self) -> None:
        """Beat the leases; drop what a person cancelled; stop claiming when the cluster stops."""
        beat_every = LEASE.total_seconds() / 3
        beaten_at = time.monotonic()
        while True:
            await asyncio.sleep(self._limits.watch_seconds)
            try:
                self._is_stopping = self._is_stopping or await sync_to_async(is_cluster_stopping)()
                ids = list(self._tasks)
                if not ids:
                    continue
                if time.monotonic() - beaten_at >= beat_every:
                    await sync_to_async(extend_leases)(generation_ids=ids, worker=self._worker)
                    beaten_at = time.monotonic()
                held = await sync_to_async(list_held)(generation_ids=ids, worker=self._worker)
            except DatabaseError:
                logger.exception("could not look after the leases")
                continue
            # One whose call has ended meanwhile is let be: its next write finds out by itself.
            for generation_id in self._calling.intersection(ids) - held:
                self._tasks[generation_id].cancel()


def _to_ms(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
