"""What becomes of a prediction, against a server that fails in every way that is to be survived."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from generations.providers import replicate
from generations.providers.base import (
    ErrorCode,
    JobFailedError,
    JobState,
    ProviderError,
    ProviderResult,
)
from generations.providers.replicate import ReplicateProvider
from mayagen.common.http_safety import create_session
from tests.generations.replicate_cases import (
    REQUEST,
    failure,
    generate,
    make_provider,
    orders,
    until_ended,
)
from tests.providers.replicate_server import ReplicateServer
from tests.providers.serving import Dice

PROTOCOL = "replicate"


@pytest.mark.parametrize(
    ("message", "code", "provider_code"),
    [
        ("NSFW content detected. Try running it again.", ErrorCode.REFUSED, "failed"),
        ("The input or output was flagged as sensitive. (E005)", ErrorCode.REFUSED, "E005"),
        ("E1001: the model ran out of memory", ErrorCode.INVALID_REQUEST, "E1001"),
        ("Timeout starting prediction (E6716)", ErrorCode.TIMEOUT, "E6716"),
        ("Input validation error: bad url", ErrorCode.INVALID_REQUEST, "failed"),
        ("Prediction interrupted; please retry (code: PA)", ErrorCode.PROVIDER_UNAVAILABLE, "failed"),
        ("CUDA error: device-side assert", ErrorCode.BAD_OUTPUT, "failed"),
        (None, ErrorCode.BAD_OUTPUT, "failed"),
    ],
)
async def test_a_failed_prediction_is_classed_by_its_words(
    server: ReplicateServer,
    provider: ReplicateProvider,
    message: str | None,
    code: ErrorCode,
    provider_code: str,
) -> None:
    server.behaviour.outcome, server.behaviour.error = "failed", message
    job_id = await provider.submit(REQUEST)

    assert (await until_ended(provider, job_id)).status == "failed"
    error = await failure(provider, job_id)

    assert (error.code, error.provider_code) == (code, provider_code)


async def test_an_aborted_prediction_was_not_begun_in_time_and_may_be_ordered_again(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.outcome = "aborted"
    job_id = await provider.submit(REQUEST)

    assert (await until_ended(provider, job_id)).status == "failed"
    error = await failure(provider, job_id)

    assert (error.code, error.provider_code, error.retryable) == (ErrorCode.TIMEOUT, "aborted", True)


async def test_a_prediction_that_ran_into_its_deadline_is_charged_and_not_ordered_again(
    server: ReplicateServer, session: aiohttp.ClientSession
) -> None:
    provider = make_provider(server, session, cancel_after_seconds=5)
    server.behaviour.delay_seconds = 20
    job_id = await provider.submit(REQUEST)
    job = server.jobs[job_id]
    assert job.deadline is not None
    job.status, job.completed_at = "canceled", job.deadline

    assert (await provider.poll(job_id)).status == "failed"
    assert (await failure(provider, job_id)).code == ErrorCode.BAD_OUTPUT


async def test_a_running_prediction_tells_its_progress_and_has_no_result_yet(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.delay_seconds = 2
    job_id = await provider.submit(REQUEST)

    assert await provider.poll(job_id) == JobState("queued")
    await asyncio.sleep(0.6)
    assert await provider.poll(job_id) == JobState("running", progress=0.5)
    with pytest.raises(ProviderError) as caught:
        await provider.fetch(job_id)
    assert not isinstance(caught.value, JobFailedError)
    assert caught.value.retryable


async def test_a_cancelled_prediction_stays_cancelled_however_often_it_is_asked_for(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.delay_seconds = 30
    job_id = await provider.submit(REQUEST)

    await provider.cancel(job_id)
    await provider.cancel(job_id)
    await provider.cancel("unknown0000")

    assert (await provider.poll(job_id)).status == "cancelled"
    assert (await failure(provider, job_id)).provider_code == "canceled"


@pytest.mark.parametrize("fault", ["rate_limit", "server_error", "gateway_page", "dropped", "html"])
async def test_a_question_without_an_answer_says_nothing_about_the_job(
    server: ReplicateServer, provider: ReplicateProvider, fault: str
) -> None:
    job_id = await provider.submit(REQUEST)
    server.behaviour.fault, server.behaviour.fault_on = fault, "get"

    for question in (provider.poll, provider.fetch):
        with pytest.raises(ProviderError) as caught:
            await question(job_id)
        assert not isinstance(caught.value, JobFailedError)
        assert caught.value.retryable
    server.behaviour.fault = ""
    assert len((await provider.fetch(job_id)).outputs) == 1


async def test_a_prediction_too_long_to_be_read_is_a_bad_output(
    server: ReplicateServer, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await provider.submit(REQUEST)
    monkeypatch.setattr(replicate, "MAX_REPLY_BYTES", 100)

    assert (await failure(provider, job_id)).code == ErrorCode.BAD_OUTPUT


@pytest.mark.parametrize("job_id", ["unknown0000", "../files", "", "a" * 201])
async def test_a_prediction_that_nobody_knows_may_have_been_made(
    provider: ReplicateProvider, job_id: str
) -> None:
    with pytest.raises(JobFailedError) as caught:
        await provider.poll(job_id)

    assert caught.value.code == ErrorCode.OUTCOME_UNKNOWN


async def test_another_process_resumes_a_prediction_by_its_id(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    job_id = await provider.submit(REQUEST)
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        successor = make_provider(server, session)
        await until_ended(successor, job_id)

        assert len((await successor.fetch(job_id)).outputs) == 1
    assert len(orders(server)) == 1


async def test_pictures_that_are_gone_are_a_bad_output_that_says_so(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    job_id = await provider.submit(REQUEST)
    await until_ended(provider, job_id)
    for attribute, value in (("file_status", 404), ("file_status", 410), ("expire_after_seconds", 0.0)):
        setattr(server.behaviour, attribute, value)

        error = await failure(provider, job_id)

        assert (error.code, error.provider_code) == (ErrorCode.BAD_OUTPUT, "output_expired")
        assert "one hour" in error.message
        server.behaviour.file_status = 200


async def test_a_picture_that_cannot_be_fetched_for_now_leaves_the_job_to_be_asked_again(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    job_id = await provider.submit(REQUEST)
    await until_ended(provider, job_id)
    server.behaviour.file_status = 503

    with pytest.raises(ProviderError) as caught:
        await provider.fetch(job_id)

    assert not isinstance(caught.value, JobFailedError)
    assert caught.value.retryable


async def test_fewer_pictures_are_a_result_with_a_warning_and_none_are_a_bad_output(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.n_delivered = 1
    result = await generate(provider, replace(REQUEST, n_outputs=2))
    assert result.warning == "The provider delivered 1 of 2 images."

    server.behaviour.n_delivered = 0
    job_id = await provider.submit(REQUEST)
    await until_ended(provider, job_id)
    assert (await failure(provider, job_id)).code == ErrorCode.BAD_OUTPUT


async def test_many_jobs_are_asked_for_in_few_requests_and_unknown_ones_are_left_out(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(provider.submit(REQUEST)) for _ in range(150)]
    job_ids = [task.result() for task in tasks]
    await until_ended(provider, job_ids[-1])

    states = await provider.poll_many([*job_ids, "unknown0000"])

    assert set(states) == set(job_ids)
    assert {state.status for state in states.values()} <= {"queued", "running", "succeeded"}
    assert sum(request.kind == "list" for request in server.requests) <= 5


async def test_the_key_goes_nowhere_else_whatever_the_next_page_is_said_to_be(
    server: ReplicateServer, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(101):
        await provider.submit(REQUEST)
    monkeypatch.setattr(ReplicateServer, "url", "http://192.0.2.1")

    await provider.poll_many(["unknown0000"])

    assert sum(request.kind == "list" for request in server.requests) >= 2


async def test_among_all_faults_every_order_is_charged_once_and_every_picture_comes(
    server: ReplicateServer, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {"rate_limited": 0.1, "server_error": 0.1, "hang": 0.05, "dropped": 0.05, "truncated": 0.05}
    monkeypatch.setattr(server, "dice", Dice(rates, seed=11))
    server.behaviour.delay_seconds, server.behaviour.retry_after = 0.3, "0.01"
    prompts = [f"storm {number}" for number in range(150)]

    job_ids = await asyncio.gather(*(order_until_taken(provider, prompt) for prompt in prompts))
    known = [job_id for job_id in job_ids if job_id]
    results = await asyncio.gather(*(fetch_until_answered(provider, job_id) for job_id in known))

    assert 120 < len(known) < 145
    assert [len(result.outputs) for result in results] == [1] * len(known)
    charged = [entry.key for entry in server.ledger.list_entries("charged") if entry.key in set(prompts)]
    assert sorted(charged) == sorted(prompts)


async def order_until_taken(provider: ReplicateProvider, prompt: str) -> str:
    """Return the job's id; empty for an order of which nobody knows whether it was taken."""
    while True:
        try:
            return await provider.submit(replace(REQUEST, prompt=prompt, timeout_seconds=1.5))
        except ProviderError as error:
            if error.code == ErrorCode.OUTCOME_UNKNOWN:
                return ""
            if not error.retryable:
                raise
            await asyncio.sleep(error.retry_after_seconds or 0.01)


async def fetch_until_answered(provider: ReplicateProvider, job_id: str) -> ProviderResult:
    """Return the result, however often the question has to be put."""
    while True:
        try:
            async with asyncio.timeout(1):
                return await provider.fetch(job_id)
        except JobFailedError:
            raise
        except (ProviderError, TimeoutError):
            await asyncio.sleep(0.05)
