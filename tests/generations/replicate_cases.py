"""What the tests of the Replicate adapter share: a request, and ways to follow one to its end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from generations.providers.base import (
    InputFile,
    JobFailedError,
    JobState,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
)
from generations.providers.replicate import ReplicateProvider
from tests.generations.provider_cases import ORDER
from tests.providers.replicate_server import API_KEY, ReplicateServer
from tests.providers.serving import make_png

REQUEST = replace(ORDER, endpoint="acme/painter", width_px=512, height_px=512)
SMALL = InputFile("reference", make_png(side_px=64), "image/png")


def make_provider(
    server: ReplicateServer, session: aiohttp.ClientSession, **options: Any
) -> ReplicateProvider:
    return ReplicateProvider(
        ProviderConfig(base_url=server.base_url, api_key=API_KEY, options=options), session
    )


def orders(server: ReplicateServer) -> list[dict[str, Any]]:
    return [dict(request.fields) for request in server.requests if request.kind == "create"]


async def until_ended(provider: ReplicateProvider, job_id: str) -> JobState:
    async with asyncio.timeout(10):
        while True:
            state = await provider.poll(job_id)
            if state.status not in {"queued", "running"}:
                return state
            await asyncio.sleep(0.02)


async def generate(provider: ReplicateProvider, request: ProviderRequest = REQUEST) -> ProviderResult:
    job_id = await provider.submit(request)
    await until_ended(provider, job_id)
    return await provider.fetch(job_id)


async def refusal(provider: ReplicateProvider, request: ProviderRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.submit(request)
    assert API_KEY not in str(caught.value)
    return caught.value


async def failure(provider: ReplicateProvider, job_id: str) -> JobFailedError:
    with pytest.raises(JobFailedError) as caught:
        await provider.fetch(job_id)
    return caught.value
