"""Webhooks are believed only with fal's signature, fresh and over the very bytes that came."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import aiohttp
import pytest

from generations.providers.base import (
    ErrorCode,
    ProviderConfig,
    ProviderError,
    WebhookRefusedError,
)
from generations.providers.fal import DEFAULT_JWKS_URL, FalProvider
from generations.providers.fal_webhooks import (
    MAX_KEY_AGE_SECONDS,
    MAX_SKEW_SECONDS,
    MIN_SECONDS_BETWEEN_FETCHES,
)
from mayagen.common.http_safety import create_session
from tests.generations.fal_cases import REQUEST, running_stranger
from tests.providers.fal_delivery import Signer
from tests.providers.fal_server import API_KEY, Behaviour, FalServer
from tests.providers.listener import Listener

REQUEST_ID = "123e4567-e89b-12d3-a456-426614174000"
BODY = json.dumps({"request_id": REQUEST_ID, "status": "OK", "payload": {"images": []}}).encode()
JOB_ID = f"fal-ai/flux/requests/{REQUEST_ID}"


@pytest.fixture
def server() -> Iterator[FalServer]:
    with running_stranger() as server:
        yield server


@pytest.fixture
async def provider(server: FalServer) -> AsyncIterator[FalProvider]:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", server.port)})) as session:
        yield make_provider(server, session)


def make_provider(server: FalServer, session: aiohttp.ClientSession) -> FalProvider:
    options = {"jwks_url": server.jwks_url}
    config = ProviderConfig(api_key=API_KEY, options=options, endpoint="fal-ai/flux/dev")
    return FalProvider(config, session)


def sign(
    signer: Signer, body: bytes = BODY, *, now: float | None = None, request_id: str = REQUEST_ID
) -> dict[str, str]:
    return signer.sign(body, request_id=request_id, seconds=now)


async def refusal(
    provider: FalProvider, headers: dict[str, str], body: bytes = BODY, now: float | None = None
) -> str:
    with pytest.raises(WebhookRefusedError) as caught:
        await provider.read_webhook(headers=headers, body=body, now=time.time() if now is None else now)
    return str(caught.value)


async def test_a_signed_webhook_names_the_job_as_submit_does(
    server: FalServer, provider: FalProvider
) -> None:
    headers = {name.lower(): value for name, value in sign(server.signer).items()}

    news = await provider.read_webhook(headers=headers, body=BODY, now=time.time())

    assert news.job_id == JOB_ID


@pytest.mark.parametrize("missing", ["Request-Id", "User-Id", "Timestamp", "Signature"])
async def test_without_one_of_its_headers_it_is_refused_and_no_key_is_fetched(
    server: FalServer, provider: FalProvider, missing: str
) -> None:
    headers = sign(server.signer)
    del headers[f"X-Fal-Webhook-{missing}"]

    await refusal(provider, headers)

    assert server.n_key_fetches == 0


@pytest.mark.parametrize("changed", ["Request-Id", "User-Id", "Timestamp", "Signature"])
async def test_with_one_of_its_headers_changed_it_is_refused(
    server: FalServer, provider: FalProvider, changed: str
) -> None:
    headers = sign(server.signer)
    name = f"X-Fal-Webhook-{changed}"
    headers[name] = headers[name][:-1] + ("1" if headers[name][-1] != "1" else "2")

    await refusal(provider, headers)


@pytest.mark.parametrize("value", ["", "zz" * 64, "00" * 63, "00" * 65, "é" * 64])
async def test_a_signature_of_no_form_is_refused_and_no_key_is_fetched(
    server: FalServer, provider: FalProvider, value: str
) -> None:
    await refusal(provider, {**sign(server.signer), "X-Fal-Webhook-Signature": value})

    assert server.n_key_fetches == 0


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "9" * 40, "٣"])
async def test_a_time_that_is_none_is_refused(server: FalServer, provider: FalProvider, value: str) -> None:
    await refusal(provider, {**sign(server.signer), "X-Fal-Webhook-Timestamp": value})


async def test_a_changed_body_and_a_strangers_signature_are_refused(
    server: FalServer, provider: FalProvider
) -> None:
    await refusal(provider, sign(server.signer), BODY.replace(b"OK", b"KO"))
    await refusal(provider, sign(Signer()))


@pytest.mark.parametrize("skew", [-MAX_SKEW_SECONDS - 5, MAX_SKEW_SECONDS + 5])
async def test_an_old_signature_and_one_of_the_future_are_refused(
    server: FalServer, provider: FalProvider, skew: float
) -> None:
    now = time.time()

    assert "too old" in await refusal(provider, sign(server.signer, now=now + skew), now=now)


@pytest.mark.parametrize("skew", [-MAX_SKEW_SECONDS + 5, MAX_SKEW_SECONDS - 5])
async def test_within_five_minutes_clocks_may_differ(
    server: FalServer, provider: FalProvider, skew: float
) -> None:
    now = time.time()

    news = await provider.read_webhook(headers=sign(server.signer, now=now + skew), body=BODY, now=now)

    assert news.job_id == JOB_ID


async def test_the_keys_are_fetched_once_a_day(server: FalServer, provider: FalProvider) -> None:
    start = time.time()

    for now in (start, start + 10, start + MAX_KEY_AGE_SECONDS - 1, start + MAX_KEY_AGE_SECONDS):
        await provider.read_webhook(headers=sign(server.signer, now=now), body=BODY, now=now)

    assert server.n_key_fetches == 2


async def test_a_new_key_is_fetched_when_it_is_first_met(server: FalServer, provider: FalProvider) -> None:
    start = time.time()
    await provider.read_webhook(headers=sign(server.signer, now=start), body=BODY, now=start)
    old_headers = sign(server.signer, now=start)
    server.signer.rotate()
    later = start + MIN_SECONDS_BETWEEN_FETCHES

    news = await provider.read_webhook(headers=sign(server.signer, now=later), body=BODY, now=later)
    await refusal(provider, old_headers, now=later)

    assert news.job_id == JOB_ID
    assert server.n_key_fetches == 2


async def test_forged_signatures_do_not_make_us_fetch_each_time(
    server: FalServer, provider: FalProvider
) -> None:
    stranger = Signer()
    for _ in range(20):
        await refusal(provider, sign(stranger))

    assert server.n_key_fetches == 1


async def test_keys_that_cannot_be_fetched_are_no_refusal(server: FalServer) -> None:
    async with create_session() as session:
        provider = make_provider(server, session)
        with pytest.raises(ProviderError) as caught:
            await provider.read_webhook(headers=sign(server.signer), body=BODY, now=time.time())

    assert caught.value.code == ErrorCode.PROVIDER_UNAVAILABLE


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{", b"[]", b"{}", b'{"request_id": "../admin"}', b"[" * 9999]
)
async def test_a_signed_body_that_names_no_request_is_refused(
    server: FalServer, provider: FalProvider, body: bytes
) -> None:
    assert "names no request" in await refusal(provider, sign(server.signer, body), body)


async def test_the_keys_are_fals_own_or_those_of_the_host_that_stands_for_it(
    server: FalServer, provider: FalProvider
) -> None:
    session = provider._session

    own = FalProvider(ProviderConfig(), session)
    other = FalProvider(ProviderConfig(base_url=f"{server.url}/queue"), session)

    assert (own._jwks_url, other._jwks_url) == (DEFAULT_JWKS_URL, server.jwks_url)


@pytest.mark.parametrize(
    ("webhook", "n_webhooks", "is_believed"),
    [
        ("", 1, True),
        ("twice", 2, True),
        ("early", 2, True),
        ("late", 1, True),
        ("forged", 1, False),
        ("altered", 1, False),
        ("old", 1, False),
        ("unsigned", 1, False),
    ],
)
async def test_what_the_server_sends_is_believed_or_not(
    server: FalServer, provider: FalProvider, webhook: str, n_webhooks: int, is_believed: bool
) -> None:
    server.behaviour = Behaviour(webhook=webhook, webhook_delay_seconds=0.1)
    ordering = FalProvider(ProviderConfig(base_url=server.url, api_key=API_KEY), provider._session)
    with Listener() as listener:
        job_id = await ordering.submit(replace(REQUEST, webhook_url=listener.url))
        await asyncio.to_thread(listener.wait_for, n_webhooks)

    assert len(listener.heard) == n_webhooks
    for heard in listener.heard:
        if is_believed:
            news = await provider.read_webhook(headers=heard.headers, body=heard.body, now=time.time())
            assert news.job_id == job_id
        else:
            await refusal(provider, heard.headers, heard.body)
