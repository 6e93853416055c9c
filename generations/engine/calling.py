"""Make one provider call for one piece of work, and class whatever goes wrong; no database here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar, cast
from urllib.parse import urlsplit

import aiohttp
from django.conf import settings
from django.core.files.storage import default_storage

from generations.engine.clock import read_clock
from generations.engine.holding import LeaseLostError
from generations.engine.polling import GRACE_SECONDS, Job, JobLeftError, JobPoller
from generations.engine.transitions import Failure
from generations.engine.work import ModelSpec, StoredInput, Work
from generations.providers.base import (
    ERROR_FACTS,
    ErrorCode,
    InputFile,
    InputRole,
    JobFailedError,
    JobProvider,
    Provider,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
)
from generations.providers.registry import UnknownProviderError, create_provider
from mayagen.common.http_safety import create_session

FETCH_PAUSES_SECONDS: Final = (1.0, 2.0, 4.0, 8.0)
Result = TypeVar("Result")


def open_provider(model: ModelSpec, session: aiohttp.ClientSession) -> Provider | JobProvider:
    """Return the adapter for a catalogue entry.

    Raises:
        ProviderError: With code `configuration`, when the entry names no adapter or its key is not to be had.
    """
    if model.key_fault:
        raise ProviderError(ErrorCode.CONFIGURATION, model.key_fault)
    config = ProviderConfig(
        base_url=model.base_url,
        api_key=model.api_key,
        options=model.options,
        endpoint=model.endpoint,
        spool_folder=settings.SPOOL_ROOT,
    )
    try:
        return create_provider(model.provider, config, session)
    except UnknownProviderError as error:
        raise ProviderError(ErrorCode.CONFIGURATION, str(error)) from error


def open_session(model: ModelSpec) -> aiohttp.ClientSession:
    """Return a client that reaches public addresses, and host and port that the entry itself names."""
    parts = urlsplit(model.base_url)
    default_port = 443 if parts.scheme == "https" else 80
    endpoint = (parts.hostname or "", parts.port or default_port)
    return create_session(allowed_endpoints=frozenset({endpoint}) if parts.hostname else frozenset())


class StoodStillError(Exception):
    """The process stood still between the last look at its lease and the moment the request was to leave."""


class JobCancelledError(Exception):
    """The provider stopped the job as a person had asked it to; `is_charged` if it had begun by then."""

    def __init__(self, *, is_charged: bool) -> None:
        self.is_charged = is_charged
        super().__init__()


@dataclass(frozen=True, slots=True)
class Departure:
    """What a call needs on its way out.

    Args:
        is_sure: Whether the database said only just now that the generation is ours.
        may_be_ours: Whether that was recently enough for the lease to hold; asked as the request leaves.
        confirm: Asks the database; false when the generation is somebody else's.
        note_job: Awaited with the provider's job id as soon as it is known, before anything else.
        note_end: Awaited when the job has ended, until its result may be fetched.
        is_called_off: Whether a person has cancelled the generation since.
    """

    is_sure: Callable[[], bool]
    may_be_ours: Callable[[], bool]
    confirm: Callable[[], Awaitable[bool]]
    note_job: Callable[[str], Awaitable[object]]
    note_end: Callable[[], Awaitable[object]]
    is_called_off: Callable[[], bool]
    webhook_url: str = ""


def guard_departures(session: aiohttp.ClientSession) -> None:
    """Let no request that may cost money leave this session after its worker stood still.

    The check is made when the connection stands and the request's first byte is about to be written. So it
    also catches a process that was frozen after it was sure, while it resolved a name or shook hands.
    """
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_check_departure)
    trace.freeze()
    session.trace_configs.append(trace)


_departing: ContextVar[Departure | None] = ContextVar("_departing", default=None)


async def _check_departure(
    _session: aiohttp.ClientSession, _context: object, request: aiohttp.TraceRequestHeadersSentParams
) -> None:
    departure = _departing.get()
    if departure is not None and request.method != "GET" and not departure.may_be_ours():
        raise StoodStillError


async def call_provider(
    provider: Provider | JobProvider, work: Work, departure: Departure, poller: JobPoller | None
) -> ProviderResult:
    """Return what the provider made.

    Args:
        poller: Waits for jobs, where the provider has them.

    Raises:
        LeaseLostError: Nothing was sent, since the generation is somebody else's by now.
        JobLeftError: The job is known and under way, and is to be asked for later.
        JobCancelledError: A person cancelled the generation, and the provider stopped the job.
        ProviderError: Classed, whatever else went wrong.
    """
    inputs = await asyncio.to_thread(_read_inputs, work.inputs) if work.inputs else []
    request = _to_request(work, inputs, departure.webhook_url)
    deadline = work.model.timeout_seconds
    if poller is None:
        # The adapter keeps the deadline itself; the second one is for an adapter that does not return.
        return await _leave(departure, lambda: cast("Provider", provider).generate(request), deadline + 5)
    job_provider = cast("JobProvider", provider)
    job = await _get_job(job_provider, request, work, departure)
    state = await poller.wait(job)
    if state.status == "cancelled":
        if job.is_overdue:
            message = "The job did not end in time and was cancelled."
            raise ProviderError(ErrorCode.TIMEOUT, message, is_charged=state.is_charged)
        if job.is_called_off:
            raise JobCancelledError(is_charged=state.is_charged)
        raise ProviderError(ErrorCode.PROVIDER_UNAVAILABLE, "The provider cancelled the job.")
    await departure.note_end()
    return await _fetch(job_provider, job.job_id)


async def _get_job(provider: JobProvider, request: ProviderRequest, work: Work, departure: Departure) -> Job:
    """Return the job to wait for: the one that an earlier worker ordered, or one ordered now."""
    patience = work.model.timeout_seconds
    job_id, began = work.provider_job_id, read_clock() - work.attempt_age_seconds
    if not job_id:
        job_id = await _leave(departure, lambda: provider.submit(request), patience + 5)
        began = read_clock()
        await departure.note_job(job_id)
    return Job(
        job_id=job_id,
        attempt_id=work.attempt_id,
        deadline=read_clock() + max(GRACE_SECONDS, patience - work.attempt_age_seconds),
        began=began,
        expects_webhook=bool(departure.webhook_url),
        is_called_off=departure.is_called_off(),
        is_resumed=bool(work.provider_job_id),
    )


async def _leave(departure: Departure, call: Callable[[], Awaitable[Result]], seconds: float) -> Result:
    """Make the call that may cost money, once it is sure that it is ours to make."""
    while True:
        if not departure.is_sure() and not await departure.confirm():
            raise LeaseLostError
        token = _departing.set(departure)
        try:
            async with asyncio.timeout(seconds):
                return await call()
        except StoodStillError:
            continue
        finally:
            _departing.reset(token)


async def _fetch(provider: JobProvider, job_id: str) -> ProviderResult:
    """Return the result; one that cannot be reached just now is asked for again, since it is paid for."""
    for pause in (*FETCH_PAUSES_SECONDS, None):
        try:
            return await provider.fetch(job_id)
        except ProviderError as error:
            if isinstance(error, JobFailedError) or not error.retryable:
                raise
            if pause is None:
                raise JobLeftError(GRACE_SECONDS) from error
            await asyncio.sleep(max(pause, error.retry_after_seconds or 0.0))
    raise AssertionError("unreachable")


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


def _to_request(work: Work, inputs: list[InputFile], webhook_url: str) -> ProviderRequest:
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
        webhook_url=webhook_url,
    )
