"""The protocol server is believed only because fal's own client is content with it.

That client has no setting for another address than an https one, so its module's constant is set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import fal_client
import fal_client.client
import httpx
import pytest

from tests.providers.fal_server import API_KEY, Behaviour, FalServer, running_server
from tests.providers.listener import Listener
from tests.providers.serving import Dice

MODEL = "fal-ai/flux/dev"
PROMPT = {"prompt": "a cat"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FalServer]:
    with running_server() as server:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{server.url}/")
        monkeypatch.setattr(fal_client.client, "BASE_DELAY", 0.01)
        yield server


@pytest.fixture
def client(server: FalServer) -> fal_client.SyncClient:
    return fal_client.SyncClient(key=API_KEY)


def test_the_official_client_subscribes_and_gets_pictures(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    server.behaviour = Behaviour(queue_seconds=0.2, delay_seconds=0.3)
    seen: list[type] = []

    result = client.subscribe(
        MODEL,
        {**PROMPT, "num_images": 2, "seed": 7},
        with_logs=True,
        interval=0.05,
        on_queue_update=lambda state: seen.append(type(state)),
    )

    assert list(dict.fromkeys(seen)) == [fal_client.Queued, fal_client.InProgress, fal_client.Completed]
    assert result["seed"] == 7
    pictures = [httpx.get(image["url"]).content for image in result["images"]]
    assert pictures == [server.picture] * 2
    assert server.requests[0].endpoint == MODEL
    assert [entry.event for entry in server.ledger.list_entries()] == ["asked", "charged", "delivered"]
    assert server.ledger.sum_usd() == 2 * server.price_usd


def test_the_official_client_finds_a_request_again_by_its_model_and_id(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    handle = client.submit(MODEL, PROMPT, priority="low", start_timeout=5, hint="warm")

    assert isinstance(client.status(MODEL, handle.request_id, with_logs=True), fal_client.Completed)
    assert client.result(MODEL, handle.request_id)["images"]
    assert handle.status_url == f"{server.url}/fal-ai/flux/requests/{handle.request_id}/status"
    assert server.requests[0].headers["X-Fal-Queue-Priority"] == "low"


def test_the_official_asynchronous_client_is_content_too(server: FalServer) -> None:
    async def run() -> Any:
        client = fal_client.AsyncClient(key=API_KEY)
        handle = await client.submit("workflows/someone/chain", PROMPT)
        return await client.result("workflows/someone/chain", handle.request_id)

    assert asyncio.run(run())["images"]


def test_the_official_client_cancels_and_hears_that_it_is_too_late(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    server.behaviour.delay_seconds = 30
    handle = client.submit(MODEL, PROMPT)

    handle.cancel()
    state = handle.status()
    with pytest.raises(fal_client.FalClientHTTPError) as late:
        handle.cancel()

    assert isinstance(state, fal_client.Completed)
    assert state.error_type == "client_cancelled"
    assert late.value.status_code == 400
    assert late.value.response.json() == {"status": "ALREADY_COMPLETED"}
    assert [entry.event for entry in server.ledger.list_entries()] == ["asked", "cancelled"]


def test_a_runner_that_does_not_listen_finishes_a_cancelled_job(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    server.behaviour = Behaviour(delay_seconds=0.3, ignores_cancel=True)
    handle = client.submit(MODEL, PROMPT)

    handle.cancel()

    assert handle.get(interval=0.05)["images"]
    assert server.ledger.sum_usd() == server.price_usd


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        ("content_policy", 422, None),
        ("model_error", 500, None),
        ("runner_lost", 503, "runner_disconnected"),
        ("runner_timeout", 504, "request_timeout"),
        ("untyped_error", 500, None),
    ],
)
def test_the_official_client_sees_a_failed_job_completed_and_its_result_refused(
    server: FalServer, client: fal_client.SyncClient, fault: str, status: int, error_type: str | None
) -> None:
    server.behaviour.fault = fault
    handle = client.submit(MODEL, PROMPT)

    state = handle.status()
    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()

    assert isinstance(state, fal_client.Completed)
    assert (state.error, state.error_type) == (f"Invalid status code: {status}", error_type)
    assert (caught.value.status_code, caught.value.error_type) == (status, error_type)
    assert server.ledger.sum_usd() == 0


@pytest.mark.parametrize(
    ("endpoint", "arguments"),
    [
        (MODEL, {}),
        (MODEL, {**PROMPT, "num_images": 9}),
        (MODEL, {**PROMPT, "image_size": "huge"}),
        ("fal-ai/flux/dev/image-to-image", PROMPT),
        ("fal-ai/nano-banana/edit", {**PROMPT, "image_urls": ["file:///etc/passwd"]}),
        ("fal-ai/flux-lora/inpainting", {**PROMPT, "image_url": "data:image/png;base64,AA=="}),
    ],
)
def test_unsound_input_is_found_by_the_model_after_the_order(
    client: fal_client.SyncClient, endpoint: str, arguments: dict[str, Any]
) -> None:
    handle = client.submit(endpoint, arguments)

    with pytest.raises(fal_client.FalClientHTTPError) as caught:
        handle.get()

    assert caught.value.status_code == 422
    assert caught.value.response.json()["detail"][0]["loc"][0] == "body"


def test_a_wrong_key_an_unknown_model_and_a_foreign_request_are_refused(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    handle = client.submit(MODEL, PROMPT)
    attempts: list[Callable[[], object]] = [
        lambda: fal_client.SyncClient(key="wrong").submit(MODEL, PROMPT),
        lambda: client.submit("fal-ai/no-such-model", PROMPT),
        lambda: client.status("fal-ai/other-model", handle.request_id),
        lambda: client.cancel(MODEL, "00000000-0000-4000-8000-000000000000"),
    ]

    statuses = []
    for attempt in attempts:
        with pytest.raises(fal_client.FalClientHTTPError) as caught:
            attempt()
        statuses.append(caught.value.status_code)

    assert statuses == [401, 404, 404, 404]


def test_the_official_client_orders_again_when_the_reply_was_lost_and_the_ledger_tells(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    server.behaviour = Behaviour(fault="dropped", first=1)

    result = client.subscribe(MODEL, PROMPT, interval=0.01)

    assert result["images"]
    assert server.ledger.sum_usd() == 2 * server.price_usd
    assert len({entry.job_id for entry in server.ledger.list_entries("charged")}) == 2


def test_the_official_client_gets_through_limits_by_its_own_repetitions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_server(FalServer(dice=Dice({"rate_limited": 0.3}, seed=3))) as server:
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"{server.url}/")
        monkeypatch.setattr(fal_client.client, "BASE_DELAY", 0.01)
        client = fal_client.SyncClient(key=API_KEY)

        for number in range(10):
            client.subscribe(MODEL, {"prompt": f"cat {number}"}, interval=0.01)

    assert len(server.ledger.list_entries("charged")) == 10
    assert len(server.ledger.list_entries("asked")) > 10


@pytest.mark.parametrize(("webhook", "n_webhooks"), [("", 1), ("twice", 2), ("early", 2), ("late", 1)])
def test_webhooks_come_as_they_are_told_to(
    server: FalServer, client: fal_client.SyncClient, webhook: str, n_webhooks: int
) -> None:
    server.behaviour = Behaviour(webhook=webhook, webhook_delay_seconds=0.1)
    with Listener() as listener:
        handle = client.submit(MODEL, PROMPT, webhook_url=listener.url)
        listener.wait_for(n_webhooks)

    assert [body["request_id"] for body in listener.contents] == [handle.request_id] * n_webhooks
    assert listener.contents[-1]["status"] == "OK"
    assert listener.contents[-1]["payload"]["images"]


def test_a_webhook_that_is_not_taken_comes_again_and_tells_of_failures_too(
    server: FalServer, client: fal_client.SyncClient
) -> None:
    server.behaviour.fault = "content_policy"
    with Listener(n_refused=2) as listener:
        client.submit(MODEL, PROMPT, webhook_url=listener.url)
        listener.wait_for(3)

    assert len(listener.contents) == 3
    assert listener.contents[0]["status"] == "ERROR"
    assert listener.contents[0]["payload"]["detail"][0]["type"] == "content_policy_violation"


def test_hundreds_of_jobs_are_in_flight_at_once(server: FalServer) -> None:
    server.behaviour.delay_seconds = 1.5

    async def order_all() -> None:
        headers = {"Authorization": f"Key {API_KEY}"}
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
            for number in range(500):
                group.create_task(order(session, number))

    async def order(session: aiohttp.ClientSession, number: int) -> None:
        async with session.post(f"{server.url}/{MODEL}", json={"prompt": f"cat {number}"}) as answer:
            assert answer.status == 200

    asyncio.run(order_all())
    n_in_flight = server.n_in_flight
    time.sleep(2)

    assert n_in_flight == server.max_in_flight == 500
    assert (server.n_in_flight, server.n_completed) == (0, 500)
