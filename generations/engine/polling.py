"""Ask a provider for the submitted jobs of one model: gathered, spread out, and no oftener than it takes."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, cast

from generations.engine.clock import read_clock
from generations.engine.pacing import Pace
from generations.providers.base import (
    BulkPollProvider,
    JobFailedError,
    JobProvider,
    JobState,
    JobStatus,
    ProviderError,
)

logger = logging.getLogger(__name__)
GROWTH: Final = 1.6
JITTER: Final = 0.15
MAX_JITTER_SECONDS: Final = 0.15
N_SCOUTS: Final = 8
WITH_WEBHOOK_SECONDS: Final = 10.0
WITH_WEBHOOK_LONGEST_SECONDS: Final = 60.0
MISSED_WEBHOOKS: Final = 3
MAX_POLLS_AT_ONCE: Final = 32
BULK_SIZE: Final = 100
GATHER_SECONDS: Final = 0.1
GRACE_SECONDS: Final = 30.0
MAX_REFUSED_POLLS: Final = 3
ENDED: Final[frozenset[JobStatus]] = frozenset({"succeeded", "failed", "cancelled"})


class JobLeftError(Exception):
    """The job is not waited for any longer here, although it may still be under way at the provider."""

    def __init__(self, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        super().__init__()


@dataclass(slots=True)
class Job:
    """A job that is under way.

    Args:
        deadline: By `read_clock`, when the provider is asked to stop it.
        began: By `read_clock`, when the provider took it.
        running_seconds: Its age when it was last found running.
        asked_seconds: Its age when it was last asked for.
        is_measured: Its length is to be found out.
        is_resumed: It was ordered by an earlier worker, or in an earlier turn of this one.
        is_hurried: It is to be asked for at once.
        is_called_off: The provider has been asked to stop it; what it brings all the same is taken.
    """

    job_id: str
    attempt_id: uuid.UUID
    deadline: float
    expects_webhook: bool = False
    is_called_off: bool = False
    is_overdue: bool = False
    has_news: bool = False
    is_left: bool = False
    is_measured: bool = False
    is_resumed: bool = False
    is_hurried: bool = False
    running_seconds: float = 0.0
    asked_seconds: float = 0.0
    began: float = field(default_factory=read_clock)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def age_seconds(self) -> float:
        """How long it has been under way."""
        return read_clock() - self.began

    def hurry(self) -> None:
        """Have it asked for at once."""
        self.is_hurried = True
        self.wake.set()


class JobPoller:
    """Waits for the jobs of one model.

    A job is asked for when jobs of this model usually end, by bulk requests where the adapter offers them
    and else by a few requests at once. While nobody knows how long they take, a few jobs are asked for often
    and the others wait for what these find. Where webhooks are expected polling is rare, until they fail to
    come.
    """

    def __init__(self, provider: JobProvider) -> None:
        self._provider = provider
        self._jobs: dict[uuid.UUID, Job] = {}
        self._pace = Pace()
        self._n_missed_webhooks = 0
        self._places = asyncio.Semaphore(MAX_POLLS_AT_ONCE)
        self._gathered: dict[str, asyncio.Future[JobState]] = {}
        self._gathering: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()

    @property
    def awaiting_webhooks(self) -> list[uuid.UUID]:
        """The attempts whose webhook has not come."""
        return [job.attempt_id for job in self._jobs.values() if job.expects_webhook and not job.has_news]

    def tell(self, attempt_id: uuid.UUID) -> None:
        """Ask for this attempt's job at once, since its webhook has come."""
        job = self._jobs.get(attempt_id)
        if job is not None and not job.has_news:
            job.has_news = True
            job.hurry()

    async def call_off(self, attempt_id: uuid.UUID) -> None:
        """Ask the provider to stop the attempt's job; it is waited for all the same."""
        job = self._jobs.get(attempt_id)
        if job is not None:
            await self._call_off(job)

    def leave_all(self) -> None:
        """Stop waiting: the jobs go on at the provider, and their ids are known."""
        for job in self._jobs.values():
            job.is_left = True
            job.hurry()

    async def wait(self, job: Job) -> JobState:
        """Return how the job ended.

        Raises:
            JobLeftError: It has not ended, but is to be asked for later, perhaps by another worker.
            ProviderError: The provider does not know the job, or does not take our key any more.
        """
        self._jobs[job.attempt_id] = job
        job.is_measured = self._pace.choose_measured()
        if job.is_resumed:
            job.hurry()
        if job.is_called_off:
            await self._call_off(job)
        try:
            return await self._wait(job)
        finally:
            self._jobs.pop(job.attempt_id, None)

    async def _wait(self, job: Job) -> JobState:
        n_polls = n_refused = 0
        while True:
            await self._pause(job, n_polls)
            if job.is_left:
                raise JobLeftError(0.0)
            n_polls += 1
            try:
                state = await self._ask(job)
                n_refused = 0
            except ProviderError as error:
                n_refused += not error.retryable
                if isinstance(error, JobFailedError) or n_refused >= MAX_REFUSED_POLLS:
                    raise
                logger.warning("job %s could not be asked for: %s", job.job_id, error)
            else:
                if state.status in ENDED:
                    self._learn(job)
                    return state
                job.running_seconds = job.asked_seconds
            await self._keep_deadline(job)

    async def _pause(self, job: Job, n_polls: int) -> None:
        while not (job.is_hurried or job.is_left):
            job.wake.clear()
            try:
                async with asyncio.timeout(self._get_pause(job, n_polls)):
                    await job.wake.wait()
            except TimeoutError:
                break
        job.is_hurried = False

    def _get_pause(self, job: Job, n_polls: int) -> float:
        if job.expects_webhook and not job.has_news and self._n_missed_webhooks < MISSED_WEBHOOKS:
            longest = max(WITH_WEBHOOK_SECONDS, 2 * (self._pace.usual_seconds or 0.0)) * GROWTH**n_polls
            return _spread(min(longest, WITH_WEBHOOK_LONGEST_SECONDS))
        is_scout = any(scout is job for scout in islice(self._jobs.values(), N_SCOUTS))
        pause = self._pace.get_pause_seconds(
            age_seconds=job.age_seconds,
            asked_seconds=job.asked_seconds,
            is_scout=is_scout,
            is_measured=job.is_measured,
        )
        if self._pace.usual_seconds is not None and not job.asked_seconds:
            return pause  # The first questions are as far apart as the orders were.
        return _spread(pause)

    def _learn(self, job: Job) -> None:
        is_first = self._pace.usual_seconds is None
        # One that an earlier worker ordered may have ended long before it was asked for.
        is_telling = job.running_seconds or not job.is_resumed
        if is_telling and (is_first or job.is_measured):
            self._pace.learn(running_seconds=job.running_seconds, ended_seconds=job.asked_seconds)
        if job.expects_webhook:
            self._n_missed_webhooks = 0 if job.has_news else self._n_missed_webhooks + 1
        if is_first and self._pace.usual_seconds is not None:
            for other in self._jobs.values():
                other.wake.set()

    async def _keep_deadline(self, job: Job) -> None:
        now = read_clock()
        if now < job.deadline:
            return
        if not job.is_overdue:
            job.is_overdue = True
            job.deadline = now + GRACE_SECONDS
            await self._call_off(job)
        else:
            raise JobLeftError(GRACE_SECONDS)

    async def _call_off(self, job: Job) -> None:
        job.is_called_off = True
        if not self._provider.capabilities.cancel:
            return
        try:
            await self._provider.cancel(job.job_id)
        except ProviderError as error:
            logger.warning("job %s could not be cancelled: %s", job.job_id, error)
        job.hurry()

    async def _ask(self, job: Job) -> JobState:
        if not self._provider.capabilities.bulk_poll:
            async with self._places:
                job.asked_seconds = job.age_seconds
                return await self._provider.poll(job.job_id)
        job.asked_seconds = job.age_seconds
        waiting = self._gathered.get(job.job_id)
        if waiting is None:
            waiting = self._gathered[job.job_id] = asyncio.get_running_loop().create_future()
        if self._gathering is None or self._gathering.done():
            self._gathering = asyncio.create_task(self._ask_together())
        return await waiting

    async def _ask_together(self) -> None:
        while self._gathered:
            await asyncio.sleep(GATHER_SECONDS)
            batch = dict(list(self._gathered.items())[:BULK_SIZE])
            for job_id in batch:
                del self._gathered[job_id]
            # One that gets no answer for long must not hold up those that are asked after it.
            asking = asyncio.create_task(self._answer(batch))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)

    async def _answer(self, batch: Mapping[str, asyncio.Future[JobState]]) -> None:
        states = await self._ask_many(list(batch))
        for job_id, waiting in batch.items():
            if waiting.done():
                continue
            state = states if isinstance(states, Exception) else states[job_id]
            if isinstance(state, JobState):
                waiting.set_result(state)
            else:
                waiting.set_exception(state)

    async def _ask_many(self, job_ids: Sequence[str]) -> Mapping[str, JobState | Exception] | Exception:
        try:
            found = await cast("BulkPollProvider", self._provider).poll_many(job_ids)
        except Exception as error:  # noqa: BLE001 - each of those who wait is to hear of it
            return error
        left_out = [job_id for job_id in job_ids if job_id not in found]
        alone = await asyncio.gather(*(self._ask_alone(job_id) for job_id in left_out))
        return {**found, **dict(zip(left_out, alone, strict=True))}

    async def _ask_alone(self, job_id: str) -> JobState | Exception:
        try:
            async with self._places:
                return await self._provider.poll(job_id)
        except Exception as error:  # noqa: BLE001 - the one who waits is to hear of it
            return error


def _spread(seconds: float) -> float:
    """Return about as long a pause, so that jobs that began together are not asked for together."""
    jitter = min(JITTER * seconds, MAX_JITTER_SECONDS)
    return seconds + random.uniform(-jitter, jitter)  # noqa: S311 - spreads requests, no secret
