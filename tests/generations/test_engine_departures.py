"""No request that may cost money leaves after its worker stood still, not even one that was on its way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from generations.engine.calling import Departure, _leave, guard_departures
from generations.engine.holding import LeaseLostError
from tests.providers.openai_server import OpenAIServer, running_server


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        guard_departures(session)
        yield session


class _Worker:
    """A worker whose clock and lease the test sets."""

    def __init__(self, *, is_sure: bool = True, may_be_ours: tuple[bool, ...], confirms: bool = True) -> None:
        self._answers = list(may_be_ours)
        self._confirms = confirms
        self._is_sure = is_sure
        self.n_confirmed = 0

    def departure(self) -> Departure:
        return Departure(
            is_sure=lambda: self._is_sure,
            may_be_ours=self._look,
            confirm=self._confirm,
            note_job=lambda _: self._confirm(),
            note_end=self._confirm,
            is_called_off=lambda: False,
        )

    def _look(self) -> bool:
        self._is_sure = self._answers.pop(0)
        return self._is_sure

    async def _confirm(self) -> bool:
        self.n_confirmed += 1
        return self._confirms


async def _send(server: OpenAIServer, session: aiohttp.ClientSession, worker: _Worker) -> int:
    async def call() -> int:
        body = {"model": "m", "prompt": "a cat"}
        headers = {"Authorization": f"Bearer {server.api_key}"}
        url = f"{server.url}/v1/images/generations"
        async with session.post(url, json=body, headers=headers) as response:
            return response.status

    return await _leave(worker.departure(), call, 5)


async def test_a_call_leaves_at_once_while_the_claim_is_fresh(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    worker = _Worker(may_be_ours=(True,))

    assert await _send(server, session, worker) == 200
    assert worker.n_confirmed == 0


async def test_a_call_whose_claim_is_not_fresh_is_confirmed_first(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    worker = _Worker(is_sure=False, may_be_ours=(True,))

    assert await _send(server, session, worker) == 200
    assert worker.n_confirmed == 1


async def test_nothing_is_sent_when_somebody_else_has_the_work(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    worker = _Worker(is_sure=False, may_be_ours=(True,), confirms=False)

    with pytest.raises(LeaseLostError):
        await _send(server, session, worker)

    assert not server.requests


async def test_a_request_frozen_on_its_way_is_not_sent_before_it_is_confirmed(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    worker = _Worker(may_be_ours=(False, True))

    assert await _send(server, session, worker) == 200
    assert worker.n_confirmed == 1
    assert len(server.requests) == 1


async def test_a_request_frozen_on_its_way_is_never_sent_when_the_work_is_lost(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    worker = _Worker(may_be_ours=(False,), confirms=False)

    with pytest.raises(LeaseLostError):
        await _send(server, session, worker)

    assert not server.requests
