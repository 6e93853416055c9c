"""Drive one claimed generation from its call to its stored images; one driver for all that a drain holds."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final, cast

import aiohttp
from django.db import DatabaseError

from generations.engine.answering import Answered, Ended, Submitted
from generations.engine.calling import (
    Departure,
    JobCancelledError,
    call_provider,
    guard_departures,
    open_provider,
    open_session,
    to_failure,
)
from generations.engine.capabilities import expects_webhooks
from generations.engine.clock import read_clock
from generations.engine.failing import Verdict, choose_delay_seconds, judge, says_nothing_of_the_first
from generations.engine.fetching import FetchGate, Refill
from generations.engine.flights import DrainTally, Flight
from generations.engine.holding import LEASE, Confirmed, LeaseLostError, LeftOpen, Postponed
from generations.engine.polling import JobLeftError, JobPoller
from generations.engine.reporting import HealthReporter
from generations.engine.storing import ImageWorkshop, StoredOutput, StoringError
from generations.engine.transitions import Completed, Dropped, Failed, Failure, Prepared
from generations.engine.webhooks import PATIENCE, make_webhook_url
from generations.engine.work import ModelSpec, Work
from generations.engine.writer import TransitionWriter
from generations.image_files import discard, discard_files
from generations.media.errors import MediaError
from generations.models import OutputImage
from generations.providers.base import (
    ERROR_FACTS,
    ErrorCode,
    JobProvider,
    Provider,
    ProviderError,
    ProviderResult,
)

logger = logging.getLogger(__name__)
SURE_SECONDS: Final = 1.0
"""A claim or look so recent needs no confirmation of its own: the lease it saw lasts a minute.

A process that is frozen between that look and the request cannot miss it: the clock runs on while it stands
still, and is read again when the request's first byte is about to be written (`calling.guard_departures`).
"""
GUARD_SECONDS: Final = LEASE.total_seconds() / 2
LONGEST_PAUSE_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 3600.0
"""For so long after its timeout a job is asked for that has not ended; providers keep results for an hour."""


class Driver:
    """Calls providers, stores what they made, and writes what became of each generation."""

    def __init__(
        self,
        *,
        writer: TransitionWriter,
        workshop: ImageWorkshop,
        tally: DrainTally,
        place_freed: Callable[[], None],
    ) -> None:
        self._writer = writer
        self._workshop = workshop
        self._tally = tally
        self._place_freed = place_freed
        self._sessions: dict[str, aiohttp.ClientSession] = {}
        self._pollers: dict[uuid.UUID, JobPoller] = {}
        self._gates: dict[uuid.UUID, FetchGate] = {}
        self._preparations: set[asyncio.Task[None]] = set()
        self._cancellings: set[asyncio.Task[None]] = set()
        self.health = HealthReporter()
        self.refill = Refill()
        self.flights: dict[uuid.UUID, Flight] = {}

    def start(self, work: Work) -> None:
        """Begin to drive a generation that has just been claimed."""
        flight = Flight(work, seen_at=work.claimed_at, is_called_off=work.is_cancelled)
        self.flights[work.generation_id] = flight
        flight.task = asyncio.create_task(self._drive(flight))
        flight.task.add_done_callback(lambda _: self.flights.pop(work.generation_id, None))
        self._tally.n_claimed += 1

    @property
    def pollers(self) -> list[JobPoller]:
        """Those who wait for jobs."""
        return list(self._pollers.values())

    async def finish(self, *, leaves_copies: Callable[[], bool]) -> None:
        """Wait for all that was started.

        Args:
            leaves_copies: Whether the copies that are still to be made are left to the sweep of another
                worker, asked again and again: there may be minutes of work for them.
        """
        tasks = [flight.task for flight in self.flights.values() if flight.task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        while self._preparations:
            if leaves_copies():
                for preparation in self._preparations:
                    preparation.cancel()
            await asyncio.wait(self._preparations, timeout=LOOK_SECONDS)
        await asyncio.gather(*self._cancellings, return_exceptions=True)
        await self.health.finish()

    async def close(self) -> None:
        """Close the connections."""
        for session in self._sessions.values():
            await session.close()

    def call_off(self, flight: Flight) -> None:
        """Do what can be done about the call of a generation that a person has cancelled.

        A call that has not left, or costs nothing, is dropped; a job's provider is asked to stop it. What
        has left and is paid for is waited for, and what it brings is kept.
        """
        if flight.is_called_off:
            return
        flight.is_called_off = True
        if flight.poller is not None and flight.has_left:
            task = asyncio.create_task(flight.poller.call_off(flight.work.attempt_id))
            self._cancellings.add(task)
            task.add_done_callback(self._cancellings.discard)
        elif flight.task is not None and (not flight.has_left or flight.work.model.is_free):
            flight.task.cancel()

    async def _drive(self, flight: Flight) -> None:
        work = flight.work
        try:
            await self._generate(flight)
        except JobLeftError as left:
            await self._leave_job(flight, left.delay_seconds)
        except JobCancelledError as cancelled:
            self._tally.n_dropped += 1
            cost = work.expected_cost_usd if cancelled.is_charged else None
            await self._writer.write(Dropped(work, cost))
        except (asyncio.CancelledError, LeaseLostError):
            self._tally.n_dropped += 1
            await self._writer.write(Dropped(work))
        except DatabaseError:
            logger.exception("generation %s is left to its lease", work.generation_id)
        finally:
            flight.end_fetching()

    async def _generate(self, flight: Flight) -> None:
        work, began = flight.work, read_clock()
        try:
            try:
                result = await self._call(flight)
            except (JobLeftError, JobCancelledError, LeaseLostError, DatabaseError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever a call raises must end in a row
                await self._fail(flight, error, began)
                return
            self.health.succeed(work)
            answered = _to_answer(work, result, began)
            if flight.poller is None:
                await self._write_answer(answered)
        finally:
            self._free_place(flight)
        await self._store(flight, result, answered)

    async def _write_answer(self, answered: Answered) -> None:
        if not await self._writer.write(answered):
            raise LeaseLostError

    def _free_place(self, flight: Flight) -> None:
        if flight.is_calling:
            flight.is_calling = False
            self._refill_moves()
            self._place_freed()

    def _refill_moves(self) -> None:
        self.refill.move()
        if self.refill.expects_more:
            self._workshop.hold_copies()

    async def _call(self, flight: Flight) -> ProviderResult:
        work = flight.work
        provider = self._open(work.model)
        flight.capabilities = provider.capabilities
        if provider.capabilities.job_ids:
            flight.poller = self._get_poller(work.model, cast("JobProvider", provider))
            flight.gate = self._gates.setdefault(work.model.id, FetchGate(self.refill))
            flight.has_left = bool(work.provider_job_id)
        try:
            return await call_provider(provider, work, self._make_departure(flight), flight.poller)
        finally:
            if flight.ending is not None:
                await flight.ending

    def _make_departure(self, flight: Flight) -> Departure:
        work = flight.work

        async def confirm() -> bool:
            asked_at = read_clock()
            if not await self._writer.write(Confirmed(work)):
                return False
            flight.seen_at = asked_at
            return True

        async def note_job(job_id: str) -> None:
            self._refill_moves()
            self.health.succeed(work)
            await self._writer.write(Submitted(work, job_id))

        async def note_end() -> None:
            flight.ending = asyncio.create_task(self._end_job(flight))
            await flight.begin_fetching()

        def may_be_ours() -> bool:
            flight.has_left = read_clock() - flight.seen_at < GUARD_SECONDS
            return flight.has_left

        return Departure(
            is_sure=lambda: read_clock() - flight.seen_at < SURE_SECONDS,
            may_be_ours=may_be_ours,
            confirm=confirm,
            note_job=note_job,
            note_end=note_end,
            is_called_off=lambda: flight.is_called_off,
            webhook_url=make_webhook_url(work) if expects_webhooks(flight.capabilities) else "",
        )

    async def _end_job(self, flight: Flight) -> None:
        """Free the place of the job, whose result may come meanwhile; all else is written after this."""
        await self._writer.write(Ended(flight.work))
        self._free_place(flight)

    def _open(self, model: ModelSpec) -> Provider | JobProvider:
        """One HTTP session for each address that a catalogue entry names itself."""
        session = self._sessions.get(model.base_url)
        if session is None:
            session = self._sessions[model.base_url] = open_session(model)
            guard_departures(session)
        return open_provider(model, session)

    def _get_poller(self, model: ModelSpec, provider: JobProvider) -> JobPoller:
        poller = self._pollers.get(model.id)
        if poller is None:
            poller = self._pollers[model.id] = JobPoller(provider)
        return poller

    async def _leave_job(self, flight: Flight, delay_seconds: float) -> None:
        work = flight.work
        if work.attempt_age_seconds > work.model.timeout_seconds + GIVE_UP_SECONDS:
            code = ErrorCode.OUTCOME_UNKNOWN
            failure = Failure(code=code.value, sentence=ERROR_FACTS[code].sentence, is_unknown=True)
            await self._end(work, failure, Verdict(None), duration_ms=int(work.attempt_age_seconds * 1000))
        elif await self._writer.write(Postponed(work, delay_seconds)):
            self._tally.n_requeued += 1

    async def _store(self, flight: Flight, result: ProviderResult, answered: Answered) -> None:
        work = flight.work
        try:
            stored, warning = await self._workshop.store_outputs(result.outputs)
            flight.end_fetching()
        except StoringError as error:
            if error.is_refusal and _can_be_had_again(flight):
                logger.error("generation %s is left to its lease: %s", work.generation_id, error)  # noqa: TRY400
                return
            if flight.poller is not None:
                await self._write_answer(answered)
            failure = Failure(code=error.code, sentence=error.sentence, provider_message=error.detail)
            self._tally.n_failed += 1
            failed = Failed(work, failure, answered.duration_ms, cost_usd=answered.cost_usd)
            await self._writer.write(failed)
            return
        images = [
            OutputImage(generation_id=work.generation_id, position=position, **output.files.as_fields())
            for position, output in enumerate(stored)
        ]
        warnings = "\n".join(filter(None, (result.warning, warning)))
        completed = Completed(
            work,
            images,
            answered.duration_ms,
            answered.cost_usd,
            warnings,
            unwritten_answer=answered if flight.poller is not None else None,
        )
        if not await self._writer.write(completed):
            self._tally.n_dropped += 1
            await asyncio.to_thread(discard, [output.files for output in stored])
            return
        self._tally.n_completed += 1
        for image, output in zip(images, stored, strict=True):
            task = asyncio.create_task(self._prepare(image.pk, output))
            self._preparations.add(task)
            task.add_done_callback(self._preparations.discard)

    async def _prepare(self, output_image_id: uuid.UUID, output: StoredOutput) -> None:
        """Make the copies of a stored output; what fails here is found again by the sweep."""
        try:
            copies = await self._workshop.make_copies(output)
            del output
            if not await self._writer.write(Prepared(output_image_id, copies)):
                await asyncio.to_thread(discard_files, copies.list_names())
        except (MediaError, OSError, DatabaseError):
            logger.exception("the copies of output %s could not be made", output_image_id)

    async def _fail(self, flight: Flight, error: Exception, began: float) -> None:
        work, failure = flight.work, to_failure(error)
        if not isinstance(error, ProviderError):
            logger.error("the call for generation %s broke", work.generation_id, exc_info=error)
        pause = await self.health.fail(work, failure, began=began)
        was_refused = not failure.is_unknown
        if says_nothing_of_the_first(flight, failure):
            sentence = ERROR_FACTS[ErrorCode.OUTCOME_UNKNOWN].sentence
            failure = replace(
                failure, code=ErrorCode.OUTCOME_UNKNOWN.value, sentence=sentence, is_unknown=True
            )
        delay = choose_delay_seconds(work, error)
        wait = delay + (pause or 0.0)
        if failure.is_unknown and await self._keep_open(flight, wait, was_refused=was_refused):
            return
        verdict = judge(work, error, failure, delay_seconds=delay, breaker_pause=pause)
        await self._end(work, failure, verdict, duration_ms=_to_ms(began))

    async def _keep_open(self, flight: Flight, delay: float, *, was_refused: bool) -> bool:
        """Keep the attempt open if what became of its call can still be found out; return whether it can."""
        work = flight.work
        if work.attempt_age_seconds > GIVE_UP_SECONDS:
            return False
        if flight.capabilities.idempotency_keys:
            # The same key again, ever more rarely: the attempt itself is not counted anew. Sooner where an
            # answer came, if only to ask for patience.
            share = 8 if was_refused else 2
            pause = min(LONGEST_PAUSE_SECONDS, work.attempt_age_seconds / share)
            return await self._writer.write(Postponed(work, max(delay, pause)))
        if expects_webhooks(flight.capabilities) and not work.provider_job_id:
            patience = work.model.timeout_seconds + PATIENCE.total_seconds()
            return await self._writer.write(LeftOpen(work, patience))
        return False

    async def _end(self, work: Work, failure: Failure, verdict: Verdict, *, duration_ms: int) -> None:
        again_in = verdict.again_in_seconds
        failed = Failed(work, failure, duration_ms, again_in, verdict.cost_usd, verdict.is_spared)
        if await self._writer.write(failed):
            self._tally.n_requeued += again_in is not None
            self._tally.n_failed += again_in is None


def _can_be_had_again(flight: Flight) -> bool:
    """Whether the provider still gives the result of this attempt, for nothing."""
    capabilities = flight.capabilities
    is_kept = capabilities.job_ids or capabilities.idempotency_keys
    return is_kept and flight.work.attempt_age_seconds < GIVE_UP_SECONDS


def _to_answer(work: Work, result: ProviderResult, began: float) -> Answered:
    cost, price = result.cost_usd, work.price_usd
    if cost is None and price is not None:
        cost = price * len(result.outputs)
    return Answered(work, _to_ms(began), cost, result.provider_request_id or "", dict(result.metadata))


def _to_ms(began: float) -> int:
    return int((read_clock() - began) * 1000)
