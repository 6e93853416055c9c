"""What the tests of the fal adapter share: a request, and ways to follow one to its end."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from generations.providers.base import ProviderConfig, ProviderError, ProviderRequest, ProviderResult
from generations.providers.fal import FalProvider
from generations.providers.fal_webhooks import forget_keys
from tests.generations.provider_cases import ORDER
from tests.providers.fal_server import API_KEY, Behaviour, FalServer, running_server

MODEL = "fal-ai/flux/dev"
REQUEST = replace(ORDER, endpoint=MODEL, height_px=768)


def reset(server: FalServer) -> None:
    """Make a running server as good as new."""
    server.behaviour = Behaviour()
    server.requests.clear()
    server.n_requests = server.n_questions = server.n_downloads = server.max_in_flight = 0


@contextmanager
def running_stranger() -> Iterator[FalServer]:
    """Run a server whose public keys nobody has fetched."""
    forget_keys()
    with running_server() as server:
        yield server
    forget_keys()


def make_provider(
    server: FalServer, session: aiohttp.ClientSession, *, api_key: str = API_KEY, **options: Any
) -> FalProvider:
    config = ProviderConfig(base_url=server.url, api_key=api_key, options=options, endpoint=MODEL)
    return FalProvider(config, session)


def from_data_uri(uri: str) -> bytes:
    return base64.b64decode(uri.rpartition(",")[2])


async def make(provider: FalProvider, request: ProviderRequest = REQUEST) -> ProviderResult:
    """Order, wait and fetch, as the engine does."""
    job_id = await provider.submit(request)
    state = await provider.poll(job_id)
    while state.status in {"queued", "running"}:
        await asyncio.sleep(0.02)
        state = await provider.poll(job_id)
    return await provider.fetch(job_id)


async def refusal(provider: FalProvider, request: ProviderRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.submit(request)
    assert API_KEY not in str(caught.value)
    return caught.value
