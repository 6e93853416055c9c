"""Webhooks are believed only with a signature by our account's secret, fresh and over the bytes that came."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import aiohttp
import pytest
from standardwebhooks import Webhook

from generations.providers.base import ErrorCode, ProviderConfig, ProviderError, WebhookRefusedError
from generations.providers.replicate import ReplicateProvider
from generations.providers.replicate_webhooks import (
    MAX_SECRET_AGE_SECONDS,
    MAX_SKEW_SECONDS,
    MIN_SECONDS_BETWEEN_FETCHES,
    forget_secrets,
)
from tests.providers.replicate_jobs import FOREIGN_SECRET, webhook_headers
from tests.providers.replicate_server import API_KEY, SECRET, ReplicateServer, running_server

JOB_ID = "gm3qorzdhgbfurvjtvhg6dckhu"
BODY = json.dumps({"id": JOB_ID, "status": "succeeded", "input": {"prompt": "Grüße"}}).encode()
NEW_SECRET = "whsec_" + base64.b64encode(b"the secret that follows").decode()

PROTOCOL = "replicate"


@pytest.fixture
def server() -> Iterator[ReplicateServer]:
    forget_secrets()
    with running_server() as server:
        yield server
    forget_secrets()


def sign(secret: str = SECRET, body: bytes = BODY, *, at: float | None = None) -> dict[str, str]:
    """Return the headers as the scheme's own library makes them."""
    moment = datetime.fromtimestamp(time.time() if at is None else at, tz=UTC)
    return {
        "Webhook-Id": "msg_1",
        "Webhook-Timestamp": str(int(moment.timestamp())),
        "Webhook-Signature": Webhook(secret).sign("msg_1", moment, body.decode()),
    }


async def refusal(
    provider: ReplicateProvider, headers: dict[str, str], body: bytes = BODY, now: float | None = None
) -> str:
    with pytest.raises(WebhookRefusedError) as caught:
        await provider.read_webhook(headers=headers, body=body, now=time.time() if now is None else now)
    return str(caught.value)


async def test_a_webhook_signed_by_the_schemes_own_library_names_the_job_as_submit_does(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    for _ in range(3):
        news = await provider.read_webhook(headers=sign(), body=BODY, now=time.time())
        assert news.job_id == JOB_ID

    assert server.n_key_fetches == 1


async def test_one_signature_of_several_suffices_and_those_of_another_kind_do_not_disturb(
    provider: ReplicateProvider,
) -> None:
    headers = sign()
    own = headers["Webhook-Signature"]
    headers["Webhook-Signature"] = f"v2,abc v1,%%% nonsense v1a,{own[3:]} {own}"

    assert (await provider.read_webhook(headers=headers, body=BODY, now=time.time())).job_id == JOB_ID


@pytest.mark.parametrize("missing", ["Id", "Timestamp", "Signature"])
async def test_without_one_of_its_headers_it_is_refused_and_no_secret_is_fetched(
    server: ReplicateServer, provider: ReplicateProvider, missing: str
) -> None:
    headers = sign()
    del headers[f"Webhook-{missing}"]

    await refusal(provider, headers)

    assert server.n_key_fetches == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Webhook-Id", "msg_2"),
        pytest.param("Webhook-Timestamp", str(int(time.time()) - 1), id="Webhook-Timestamp-a second ago"),
        ("Webhook-Timestamp", "yesterday"),
        ("Webhook-Timestamp", "²"),
        ("Webhook-Timestamp", "9" * 400),
        ("Webhook-Signature", "v1,"),
        ("Webhook-Signature", "v1,AAAA"),
        ("Webhook-Signature", "\udcff"),
    ],
)
async def test_with_one_of_its_headers_changed_it_is_refused(
    provider: ReplicateProvider, name: str, value: str
) -> None:
    await refusal(provider, {**sign(), name: value})


async def test_a_changed_body_a_foreign_secret_and_another_kind_of_signature_are_refused(
    provider: ReplicateProvider,
) -> None:
    headers = sign()
    other_kind = {**headers, "Webhook-Signature": headers["Webhook-Signature"].replace("v1,", "v2,")}

    await refusal(provider, headers, BODY.replace(b"succeeded", b"failed"))
    await refusal(provider, sign(FOREIGN_SECRET))
    await refusal(provider, webhook_headers([SECRET], "msg_1", BODY, manner="forged"))
    await refusal(provider, other_kind)


@pytest.mark.parametrize("seconds", [-MAX_SKEW_SECONDS - 2, MAX_SKEW_SECONDS + 2])
async def test_an_old_signature_and_one_of_the_future_are_refused(
    provider: ReplicateProvider, seconds: int
) -> None:
    now = time.time()

    assert "old" in await refusal(provider, sign(at=now + seconds), now=now)


async def test_a_new_secret_is_learnt_from_the_first_webhook_it_signs(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    now = time.time()
    await provider.read_webhook(headers=sign(), body=BODY, now=now)
    server.secrets = [NEW_SECRET]
    later = now + MIN_SECONDS_BETWEEN_FETCHES

    news = await provider.read_webhook(headers=sign(NEW_SECRET, at=later), body=BODY, now=later)

    assert news.job_id == JOB_ID
    assert server.n_key_fetches == 2
    await refusal(provider, sign(SECRET, at=later), now=later)


async def test_forged_webhooks_make_nobody_ask_for_the_secret_each_time(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    now = time.time()
    for seconds in range(50):
        await refusal(provider, sign(FOREIGN_SECRET, at=now + seconds), now=now + seconds)

    assert server.n_key_fetches == 1


async def test_a_secret_is_asked_for_again_after_a_day(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    now = time.time()
    for moment in (now, now + MAX_SECRET_AGE_SECONDS - 1, now + MAX_SECRET_AGE_SECONDS + 1):
        await provider.read_webhook(headers=sign(at=moment), body=BODY, now=moment)

    assert server.n_key_fetches == 2


async def test_two_accounts_have_a_secret_each(
    server: ReplicateServer, session: aiohttp.ClientSession, provider: ReplicateProvider
) -> None:
    await provider.read_webhook(headers=sign(), body=BODY, now=time.time())
    other = ReplicateProvider(ProviderConfig(base_url=server.url, api_key="r8_other_account"), session)

    with pytest.raises(ProviderError) as caught:
        await other.read_webhook(headers=sign(), body=BODY, now=time.time())

    assert caught.value.code == ErrorCode.CONFIGURATION
    assert API_KEY not in str(caught.value)


@pytest.mark.parametrize("fault", ["server_error", "dropped", "html", "rate_limit"])
async def test_while_the_secret_cannot_be_had_nothing_is_refused_and_nothing_believed(
    server: ReplicateServer, provider: ReplicateProvider, fault: str
) -> None:
    server.behaviour.fault, server.behaviour.fault_on = fault, "secret"

    with pytest.raises(ProviderError) as caught:
        await provider.read_webhook(headers=sign(), body=BODY, now=time.time())
    assert caught.value.retryable

    server.behaviour.fault = ""
    assert (await provider.read_webhook(headers=sign(), body=BODY, now=time.time())).job_id == JOB_ID


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"no JSON", b'{"id": 7}', b'{"id": "../files"}'])
async def test_a_signed_webhook_that_names_no_prediction_is_refused(
    provider: ReplicateProvider, body: bytes
) -> None:
    await refusal(provider, sign(body=body), body)


async def test_a_webhook_for_a_prediction_of_the_server_is_believed(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    headers = webhook_headers([NEW_SECRET, SECRET], "msg_1", BODY)

    assert (await provider.read_webhook(headers=headers, body=BODY, now=time.time())).job_id == JOB_ID
