"""Jobs of one model are asked for together where that is possible, and no oftener than it takes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping, Sequence

import pytest

from generations.engine.clock import read_clock
from generations.engine.polling import (
    BULK_SIZE,
    MAX_POLLS_AT_ONCE,
    MAX_REFUSED_POLLS,
    Job,
    JobLeftError,
    JobPoller,
)
from generations.providers.base import (
    Capabilities,
    ErrorCode,
    JobState,
    ProviderError,
    ProviderRequest,
    ProviderResult,
)


class _Jobs:
    """An adapter whose jobs end when the test says so."""

    name = "jobs"

    def __init__(self, *, bulk_poll: bool = False, error: ProviderError | None = None) -> None:
        self.capabilities = Capabilities(job_ids=True, cancel=True, bulk_poll=bulk_poll)
        self.ended: set[str] = set()
        self.all_end = False
        self.error = error
        self.n_errors = 0
        self.hangs_on = ""
        self.polled: list[str] = []
        self.asked_together: list[int] = []
        self.cancelled: list[str] = []
        self.was_polled = asyncio.Event()
        self.was_asked_together = asyncio.Event()
        self.n_at_once = self.max_at_once = 0

    async def submit(self, request: ProviderRequest) -> str:
        raise NotImplementedError

    async def fetch(self, job_id: str) -> ProviderResult:
        raise NotImplementedError

    async def poll(self, job_id: str) -> JobState:
        self.polled.append(job_id)
        self.was_polled.set()
        self.n_at_once += 1
        self.max_at_once = max(self.max_at_once, self.n_at_once)
        await asyncio.sleep(0.01)
        self.n_at_once -= 1
        if self.error is not None and self.n_errors > 0:
            self.n_errors -= 1
            raise self.error
        return self._state(job_id)

    async def poll_many(self, job_ids: Sequence[str]) -> Mapping[str, JobState]:
        self.asked_together.append(len(job_ids))
        self.was_asked_together.set()
        if self.hangs_on in job_ids:
            await asyncio.Event().wait()
        return {job_id: self._state(job_id) for job_id in job_ids if not job_id.startswith("left-out")}

    async def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)
        self.ended.add(job_id)

    def _state(self, job_id: str) -> JobState:
        if job_id in self.cancelled:
            return JobState("cancelled")
        return JobState("succeeded" if self.all_end or job_id in self.ended else "running")


def _job(job_id: str, *, seconds: float = 60.0, expects_webhook: bool = False) -> Job:
    deadline = read_clock() + seconds
    return Job(job_id, uuid.uuid4(), deadline=deadline, expects_webhook=expects_webhook)


async def test_many_jobs_are_asked_for_by_few_requests() -> None:
    provider = _Jobs(bulk_poll=True)
    provider.all_end = True
    poller = JobPoller(provider)

    states = await asyncio.gather(*(poller.wait(_job(f"job-{n}")) for n in range(250)))

    assert {state.status for state in states} == {"succeeded"}
    assert provider.polled == []
    assert max(provider.asked_together) <= BULK_SIZE
    assert len(provider.asked_together) < 20


async def test_a_job_that_the_bulk_answer_leaves_out_is_asked_for_alone() -> None:
    provider = _Jobs(bulk_poll=True)
    provider.all_end = True

    await JobPoller(provider).wait(_job("left-out-1"))

    assert provider.polled == ["left-out-1"]


async def test_a_bulk_question_without_an_answer_holds_up_no_other() -> None:
    provider = _Jobs(bulk_poll=True)
    provider.all_end = True
    provider.hangs_on = "job-1"
    poller = JobPoller(provider)
    stuck = asyncio.create_task(poller.wait(_job("job-1")))
    await provider.was_asked_together.wait()

    state = await asyncio.wait_for(poller.wait(_job("job-2")), timeout=15)

    assert state.status == "succeeded"
    assert not stuck.done()
    stuck.cancel()


async def test_without_bulk_requests_few_are_made_at_once() -> None:
    provider = _Jobs()
    provider.all_end = True
    poller = JobPoller(provider)

    await asyncio.gather(*(poller.wait(_job(f"job-{n}")) for n in range(100)))

    assert provider.max_at_once <= MAX_POLLS_AT_ONCE
    assert len(provider.polled) == 100


async def test_a_webhook_has_its_job_asked_for_at_once() -> None:
    provider = _Jobs()
    provider.all_end = True
    poller = JobPoller(provider)
    job = _job("job-1", expects_webhook=True)
    waiting = asyncio.create_task(poller.wait(job))
    await asyncio.sleep(0.05)
    assert (provider.polled, poller.awaiting_webhooks) == ([], [job.attempt_id])

    poller.tell(job.attempt_id)

    # Polling alone would begin long after this.
    assert (await asyncio.wait_for(waiting, timeout=5)).status == "succeeded"
    assert poller.awaiting_webhooks == []


async def test_an_early_webhook_leaves_the_job_to_polling() -> None:
    provider = _Jobs()
    poller = JobPoller(provider)
    job = _job("job-1", expects_webhook=True)
    waiting = asyncio.create_task(poller.wait(job))
    await asyncio.sleep(0)
    poller.tell(job.attempt_id)
    await asyncio.wait_for(provider.was_polled.wait(), timeout=10)

    provider.all_end = True

    assert (await asyncio.wait_for(waiting, timeout=10)).status == "succeeded"


async def test_a_job_past_its_deadline_is_stopped() -> None:
    provider = _Jobs()

    state = await JobPoller(provider).wait(_job("job-1", seconds=0.0))

    assert state.status == "cancelled"
    assert provider.cancelled == ["job-1"]


async def test_a_question_without_an_answer_is_asked_again() -> None:
    provider = _Jobs(error=ProviderError(ErrorCode.PROVIDER_UNAVAILABLE))
    provider.n_errors = 2
    provider.all_end = True

    assert (await JobPoller(provider).wait(_job("job-1"))).status == "succeeded"
    assert len(provider.polled) == 3


async def test_a_question_that_is_refused_again_and_again_is_given_up() -> None:
    provider = _Jobs(error=ProviderError(ErrorCode.CONFIGURATION))
    provider.n_errors = MAX_REFUSED_POLLS

    with pytest.raises(ProviderError):
        await JobPoller(provider).wait(_job("job-1"))


async def test_jobs_are_left_when_the_worker_stops() -> None:
    provider = _Jobs()
    poller = JobPoller(provider)
    waiting = asyncio.create_task(poller.wait(_job("job-1")))
    await asyncio.sleep(0.05)

    poller.leave_all()

    with pytest.raises(JobLeftError):
        await waiting
    assert provider.cancelled == []
