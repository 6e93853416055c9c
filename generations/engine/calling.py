"""Make one provider call for one piece of work, and class whatever goes wrong; no database here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import cast

import aiohttp
from django.conf import settings
from django.core.files.storage import default_storage

from generations.engine.transitions import Failure
from generations.engine.work import ModelSpec, StoredInput, Work
from generations.providers.base import (
    ERROR_FACTS,
    ErrorCode,
    InputFile,
    InputRole,
    JobProvider,
    Provider,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
)
from generations.providers.registry import UnknownProviderError, create_provider

POLL_SECONDS = (0.5, 1.0, 2.0, 3.0)
JobSubmitted = Callable[[str], Awaitable[object]]


def open_provider(model: ModelSpec, session: aiohttp.ClientSession) -> Provider | JobProvider:
    """Return the adapter for a catalogue entry.

    Raises:
        ProviderError: With code `configuration`, when the entry names no adapter or no key is set.
    """
    api_key = settings.PROVIDER_KEYS.get(model.credential_name)
    if model.credential_name and not api_key:
        message = f"The environment variable MAYAGEN_PROVIDER_KEY_{model.credential_name} is not set."
        raise ProviderError(ErrorCode.CONFIGURATION, message)
    config = ProviderConfig(base_url=model.base_url, api_key=api_key, options=model.options)
    try:
        return create_provider(model.provider, config, session)
    except UnknownProviderError as error:
        raise ProviderError(ErrorCode.CONFIGURATION, str(error)) from error


async def call_provider(
    provider: Provider | JobProvider, work: Work, *, job_submitted: JobSubmitted
) -> ProviderResult:
    """Return what the provider made.

    Args:
        job_submitted: Awaited with the provider's job id as soon as it is known, before anything else.

    Raises:
        ProviderError: Classed, whatever went wrong.
    """
    inputs = await asyncio.to_thread(_read_inputs, work.inputs) if work.inputs else []
    request = _to_request(work, inputs)
    deadline = work.model.timeout_seconds
    if not provider.capabilities.job_ids:
        # The adapter keeps the deadline itself; the second one is for an adapter that does not return.
        async with asyncio.timeout(deadline + 5):
            return await cast("Provider", provider).generate(request)
    job_provider = cast("JobProvider", provider)
    job_id = work.provider_job_id
    if not job_id:
        async with asyncio.timeout(deadline):
            job_id = await job_provider.submit(request)
        await job_submitted(job_id)
    return await _await_job(job_provider, job_id, deadline_seconds=deadline)


async def _await_job(provider: JobProvider, job_id: str, *, deadline_seconds: float) -> ProviderResult:
    deadline = time.monotonic() + deadline_seconds
    n_polls = 0
    while True:
        state = await provider.poll(job_id)
        if state.status in {"succeeded", "failed"}:
            return await provider.fetch(job_id)
        if state.status == "cancelled":
            raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The provider cancelled the job.")
        if time.monotonic() > deadline:
            await provider.cancel(job_id)
            raise ProviderError(ErrorCode.TIMEOUT, "The job did not end in time and was cancelled.")
        await asyncio.sleep(POLL_SECONDS[min(n_polls, len(POLL_SECONDS) - 1)])
        n_polls += 1


def to_failure(error: Exception) -> Failure:
    """Return how an error of a call is shown and counted."""
    if isinstance(error, ProviderError):
        return Failure(
            code=error.code.value,
            sentence=error.sentence,
            provider_code=error.provider_code or "",
            provider_message=error.message,
            is_unknown=error.code == ErrorCode.OUTCOME_UNKNOWN,
        )
    # Anything else is a fault of ours or of the adapter after the call may have left: nobody knows.
    code = ErrorCode.OUTCOME_UNKNOWN
    return Failure(
        code=code.value,
        sentence=ERROR_FACTS[code].sentence,
        provider_message=type(error).__name__,
        is_unknown=True,
    )


def _read_inputs(inputs: tuple[StoredInput, ...]) -> list[InputFile]:
    files = []
    for stored in inputs:
        with default_storage.open(stored.name) as file:
            files.append(InputFile(cast("InputRole", stored.role), file.read(), stored.mime_type))
    return files


def _to_request(work: Work, inputs: list[InputFile]) -> ProviderRequest:
    return ProviderRequest(
        endpoint=work.model.endpoint,
        kind=work.model.kind,
        prompt=work.prompt,
        system_prompt=work.system_prompt,
        negative_prompt=work.negative_prompt,
        parameters=work.parameters,
        seed=work.seed,
        n_outputs=work.n_outputs,
        width_px=work.width_px,
        height_px=work.height_px,
        inputs=inputs,
        idempotency_key=work.idempotency_key,
        timeout_seconds=work.model.timeout_seconds,
    )
