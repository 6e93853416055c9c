"""What tests share: a version that costs money; and for provider adapters a server and an adapter set on it.

A module that tests an adapter names its provider by `PROTOCOL`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import pytest

from generations.providers.base import ProviderConfig
from generations.providers.openai import OpenAIProvider
from mayagen.common.http_safety import create_session
from prompts.models import PromptVersion
from tests.generations import fal_cases, replicate_cases
from tests.generations.money_cases import make_paid_version
from tests.providers import fal_server, openai_server, replicate_server
from tests.providers.serving import ProtocolServer


@dataclass(frozen=True)
class _Protocol:
    """How a provider's server is run and made as good as new, and how its adapter is made."""

    run: Callable[[], AbstractContextManager[Any]]
    reset: Callable[[Any], None]
    make_provider: Callable[[Any, aiohttp.ClientSession], Any]


def _reset_openai(server: openai_server.OpenAIServer) -> None:
    server.behaviour = type(server.behaviour)()
    server.requests.clear()
    server.n_requests = server.n_downloads = server.max_in_flight = 0


def _make_openai(server: openai_server.OpenAIServer, session: aiohttp.ClientSession) -> OpenAIProvider:
    return OpenAIProvider(ProviderConfig(base_url=f"{server.url}/v1", api_key=server.api_key), session)


_PROTOCOLS: Final = {
    "fal": _Protocol(fal_server.running_server, fal_cases.reset, fal_cases.make_provider),
    "openai": _Protocol(openai_server.running_server, _reset_openai, _make_openai),
    "replicate": _Protocol(
        replicate_server.running_server,
        replicate_server.ReplicateServer.reset,
        replicate_cases.make_provider,
    ),
}


def _get_protocol(request: pytest.FixtureRequest) -> _Protocol:
    return _PROTOCOLS[request.module.PROTOCOL]


@pytest.fixture(scope="module")
def running(request: pytest.FixtureRequest) -> Iterator[ProtocolServer]:
    """Return the module's server, which runs for all of its tests."""
    with _get_protocol(request).run() as server:
        yield server


@pytest.fixture
def server(request: pytest.FixtureRequest, running: ProtocolServer) -> ProtocolServer:
    """Return the module's server, as good as new."""
    _get_protocol(request).reset(running)
    return running


@pytest.fixture
async def session(server: ProtocolServer) -> AsyncIterator[aiohttp.ClientSession]:
    """Return an HTTP session that may reach the server and nobody else."""
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        yield session


@pytest.fixture
def provider(request: pytest.FixtureRequest, server: ProtocolServer, session: aiohttp.ClientSession) -> Any:
    """Return the adapter of the module's provider, set on the server."""
    return _get_protocol(request).make_provider(server, session)


@pytest.fixture
def paid_version() -> PromptVersion:
    """Return a version whose images cost something."""
    return make_paid_version()
