"""What becomes of a job at fal, against a server that fails in every way that is to be survived."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest

from generations.providers.base import (
    ErrorCode,
    JobFailedError,
    JobState,
    ProviderConfig,
    ProviderError,
)
from generations.providers.fal import MAX_JOB_ID_CHARS, FalProvider
from tests.generations.fal_cases import (
    REQUEST,
    make,
    make_provider,
)
from tests.providers.fal_server import API_KEY, Behaviour, FalServer

PROTOCOL = "fal"


async def test_a_job_is_ordered_asked_for_and_fetched(server: FalServer, provider: FalProvider) -> None:
    server.behaviour = Behaviour(queue_seconds=0.2, delay_seconds=0.2)

    job_id = await provider.submit(replace(REQUEST, n_outputs=3, seed=7))
    states = [await provider.poll(job_id)]
    while states[-1].status != "succeeded":
        await asyncio.sleep(0.02)
        states.append(await provider.poll(job_id))
    result = await provider.fetch(job_id)

    assert list(dict.fromkeys(states)) == [JobState("queued"), JobState("running"), JobState("succeeded")]
    assert [output.content for output in result.outputs] == [server.picture] * 3
    assert job_id == f"fal-ai/flux/requests/{result.provider_request_id}"
    assert (result.cost_usd, result.warning) == (None, "")
    assert result.metadata["seed"] == 7
    assert result.metadata["billable_units"] == "3"


@pytest.mark.parametrize(
    ("fault", "code", "provider_code"),
    [
        ("content_policy", ErrorCode.REFUSED, "content_policy_violation"),
        ("no_media", ErrorCode.BAD_OUTPUT, "no_media_generated"),
        ("model_error", ErrorCode.PROVIDER_UNAVAILABLE, "internal_server_error"),
        ("hopeless", ErrorCode.INVALID_REQUEST, "internal_server_error"),
        ("model_timeout", ErrorCode.PROVIDER_UNAVAILABLE, "generation_timeout"),
        ("runner_lost", ErrorCode.PROVIDER_UNAVAILABLE, "runner_disconnected"),
        ("runner_timeout", ErrorCode.PROVIDER_UNAVAILABLE, "request_timeout"),
        ("never_begun", ErrorCode.TIMEOUT, "startup_timeout"),
    ],
)
async def test_a_failed_job_ends_completed_and_its_result_says_why(
    server: FalServer,
    provider: FalProvider,
    fault: str,
    code: ErrorCode,
    provider_code: str,
) -> None:
    for tells_errors, status in ((True, "failed"), (False, "succeeded")):
        server.behaviour = Behaviour(fault=fault, tells_errors=tells_errors)
        job_id = await provider.submit(REQUEST)
        await asyncio.sleep(0.02)

        state = await provider.poll(job_id)
        with pytest.raises(JobFailedError) as caught:
            await provider.fetch(job_id)

        assert state.status == status
        assert (caught.value.code, caught.value.provider_code) == (code, provider_code)


async def test_unsound_input_is_explained_with_its_place(provider: FalProvider) -> None:
    with pytest.raises(JobFailedError) as caught:
        await make(provider, replace(REQUEST, n_outputs=9))

    assert (caught.value.code, caught.value.provider_code) == (ErrorCode.INVALID_REQUEST, "less_than_equal")
    assert caught.value.message == "num_images: Must be at most 4"


@pytest.mark.parametrize(("tells_errors", "is_final"), [(True, True), (False, False)])
async def test_an_untyped_error_is_the_jobs_only_if_its_status_says_so(
    server: FalServer, provider: FalProvider, tells_errors: bool, is_final: bool
) -> None:
    server.behaviour = Behaviour(fault="untyped_error", tells_errors=tells_errors)

    with pytest.raises(ProviderError) as caught:
        await make(provider)

    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert isinstance(caught.value, JobFailedError) is is_final


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("question_unavailable", ErrorCode.PROVIDER_UNAVAILABLE),
        ("question_error", ErrorCode.PROVIDER_UNAVAILABLE),
        ("question_limited", ErrorCode.RATE_LIMITED),
        ("question_dropped", ErrorCode.PROVIDER_UNAVAILABLE),
        ("question_locked", ErrorCode.CONFIGURATION),
        ("unknown_status", ErrorCode.PROVIDER_UNAVAILABLE),
    ],
)
async def test_a_question_without_an_answer_says_nothing_of_the_job(
    server: FalServer, provider: FalProvider, fault: str, code: ErrorCode
) -> None:
    job_id = await provider.submit(REQUEST)
    server.behaviour = Behaviour(fault=fault)

    for question in (provider.poll, provider.fetch):
        if (fault, question) == ("unknown_status", provider.fetch):
            continue
        with pytest.raises(ProviderError) as caught:
            await question(job_id)
        assert caught.value.code == code
        assert not isinstance(caught.value, JobFailedError)

    server.behaviour = Behaviour()
    assert len((await provider.fetch(job_id)).outputs) == 1
    assert server.n_requests == 1


async def test_a_job_that_fal_does_not_know_is_for_a_person_to_judge(provider: FalProvider) -> None:
    job_id = "fal-ai/flux/requests/00000000-0000-4000-8000-000000000000"

    for question in (provider.poll, provider.fetch):
        with pytest.raises(JobFailedError) as caught:
            await question(job_id)
        assert caught.value.code == ErrorCode.OUTCOME_UNKNOWN


@pytest.mark.parametrize("job_id", ["", "x", "../admin", "fal-ai/flux/requests/a?b=c", "a/" + "b" * 300])
async def test_an_id_that_is_none_of_fals_is_not_asked_for(
    server: FalServer, provider: FalProvider, job_id: str
) -> None:
    with pytest.raises(JobFailedError):
        await provider.poll(job_id)

    assert server.n_questions == 0


async def test_a_result_asked_for_too_early_is_only_not_there_yet(
    server: FalServer, provider: FalProvider
) -> None:
    server.behaviour.delay_seconds = 5
    job_id = await provider.submit(REQUEST)

    with pytest.raises(ProviderError) as caught:
        await provider.fetch(job_id)

    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert not isinstance(caught.value, JobFailedError)
    await provider.cancel(job_id)


async def test_another_worker_resumes_a_job_by_its_id_alone(
    server: FalServer, provider: FalProvider, session: aiohttp.ClientSession
) -> None:
    job_id = await provider.submit(replace(REQUEST, endpoint="workflows/someone/chain/step"))
    config = ProviderConfig(base_url=server.url, api_key=API_KEY, endpoint="fal-ai/quite-another-model")

    result = await FalProvider(config, session).fetch(job_id)

    assert len(result.outputs) == 1
    assert job_id.startswith("workflows/someone/chain/requests/")
    assert len(job_id) <= MAX_JOB_ID_CHARS


@pytest.mark.parametrize("forgets", [False, True])
async def test_cancel_stops_a_job_once_and_for_all(
    server: FalServer, provider: FalProvider, forgets: bool
) -> None:
    server.behaviour = Behaviour(delay_seconds=30, forgets_cancelled=forgets)
    job_id = await provider.submit(REQUEST)

    await provider.cancel(job_id)
    await provider.cancel(job_id)

    assert (await provider.poll(job_id)).status == "cancelled"
    with pytest.raises(JobFailedError):
        await provider.fetch(job_id)


async def test_cancel_of_an_ended_job_changes_nothing(server: FalServer, provider: FalProvider) -> None:
    job_id = await provider.submit(REQUEST)
    await asyncio.sleep(0.02)

    await provider.cancel(job_id)

    assert len((await provider.fetch(job_id)).outputs) == 1


async def test_a_cancel_that_is_not_answered_says_so(server: FalServer, provider: FalProvider) -> None:
    job_id = await provider.submit(REQUEST)
    server.behaviour.fault = "question_unavailable"

    with pytest.raises(ProviderError) as caught:
        await provider.cancel(job_id)

    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize("fault", ["single_image", "inline"])
async def test_results_of_other_shapes_bring_their_pictures(
    server: FalServer, provider: FalProvider, fault: str
) -> None:
    server.behaviour.fault = fault

    assert [output.content for output in (await make(provider)).outputs] == [server.picture]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("no_images", ErrorCode.BAD_OUTPUT),
        ("not_base64", ErrorCode.BAD_OUTPUT),
        ("all_flagged", ErrorCode.REFUSED),
        ("file_missing", ErrorCode.BAD_OUTPUT),
        ("file_elsewhere", ErrorCode.BAD_OUTPUT),
    ],
)
async def test_a_result_without_pictures_is_a_failed_job(
    server: FalServer, provider: FalProvider, fault: str, code: ErrorCode
) -> None:
    server.behaviour.fault = fault

    with pytest.raises(JobFailedError) as caught:
        await make(provider)

    assert caught.value.code == code


async def test_a_file_that_is_not_to_be_had_for_now_is_asked_for_again(
    server: FalServer, provider: FalProvider
) -> None:
    server.behaviour.fault = "file_unavailable"
    job_id = await provider.submit(REQUEST)
    await asyncio.sleep(0.02)

    with pytest.raises(ProviderError) as caught:
        await provider.fetch(job_id)
    server.jobs[job_id.rpartition("/")[2]].fault = ""

    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE
    assert not isinstance(caught.value, JobFailedError)
    assert len((await provider.fetch(job_id)).outputs) == 1


async def test_flagged_pictures_are_left_out_unless_they_are_wanted(
    server: FalServer, provider: FalProvider, session: aiohttp.ClientSession
) -> None:
    server.behaviour.fault = "one_flagged"
    request = replace(REQUEST, n_outputs=2)

    result = await make(provider, request)
    kept = await make(make_provider(server, session, keeps_flagged=True), request)

    assert (len(result.outputs), len(kept.outputs)) == (1, 2)
    assert result.warning == "The safety checker flagged 1 of the images, which were left out."


async def test_foreign_values_become_what_every_database_can_store(
    server: FalServer, provider: FalProvider
) -> None:
    server.behaviour.fault = "foreign_values"

    metadata = (await make(provider)).metadata

    assert (metadata["prompt"], metadata["timings"]) == ("a b ", {"inference": None, "all": None})
