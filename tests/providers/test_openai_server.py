"""The protocol server is believed only because the official client is content with it."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from PIL import Image

from tests.providers.openai_server import API_KEY, OpenAIServer, running_server
from tests.providers.serving import Dice, make_png


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0) as client:
        yield client


def test_the_official_client_generates(server: OpenAIServer, client: openai.OpenAI) -> None:
    reply = client.images.generate(model="gpt-image-1", prompt="a cat", n=2, size="1024x1024", quality="low")

    assert [base64.b64decode(image.b64_json or "") for image in reply.data or []] == [server.picture] * 2
    assert reply.usage is not None
    assert reply._request_id == "req_000001"
    assert server.requests[0].fields["size"] == "1024x1024"


def test_the_official_client_edits_with_one_image_and_a_mask(
    server: OpenAIServer, client: openai.OpenAI
) -> None:
    mask = io.BytesIO()
    Image.new("RGBA", (8, 8)).save(mask, "PNG")

    client.images.edit(
        model="gpt-image-1",
        prompt="a hat",
        image=("a.png", make_png(), "image/png"),
        mask=("m.png", mask.getvalue(), "image/png"),
    )

    assert [name for name, *_ in server.requests[0].files] == ["image", "mask"]


def test_the_official_client_edits_with_several_images(server: OpenAIServer, client: openai.OpenAI) -> None:
    images = [("a.png", make_png(), "image/png"), ("b.png", make_png(), "image/png")]

    client.images.edit(model="gpt-image-1", prompt="both", image=images)

    assert [name for name, *_ in server.requests[0].files] == ["image[]", "image[]"]


def test_the_official_azure_client_uses_the_deployment_paths(server: OpenAIServer) -> None:
    with openai.AzureOpenAI(
        azure_endpoint=server.url, api_version="2025-04-01-preview", api_key=API_KEY, max_retries=0
    ) as client:
        client.images.generate(model="our-deployment", prompt="a cat")
        client.images.edit(model="our-deployment", prompt="a hat", image=("a.png", make_png(), "image/png"))

    assert [request.path for request in server.requests] == [
        "/openai/deployments/our-deployment/images/generations",
        "/openai/deployments/our-deployment/images/edits",
    ]


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("moderation_blocked", openai.BadRequestError, "moderation_blocked"),
        ("rate_limit", openai.RateLimitError, "rate_limit_exceeded"),
        ("insufficient_quota", openai.RateLimitError, "insufficient_quota"),
        ("server_error", openai.InternalServerError, None),
        ("reset", openai.APIConnectionError, None),
    ],
)
def test_the_official_client_understands_the_errors(
    server: OpenAIServer, client: openai.OpenAI, fault: str, error: type[openai.APIError], code: str | None
) -> None:
    server.behaviour.fault = fault

    with pytest.raises(error) as caught:
        client.images.generate(model="gpt-image-1", prompt="a cat")

    assert caught.value.code == code


def test_a_wrong_key_and_an_unknown_parameter_are_refused(server: OpenAIServer) -> None:
    base_url = f"{server.url}/v1"
    with (
        openai.OpenAI(base_url=base_url, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.images.generate(model="gpt-image-1", prompt="a cat")
    with (
        openai.OpenAI(base_url=base_url, api_key=API_KEY, max_retries=0) as client,
        pytest.raises(openai.BadRequestError),
    ):
        client.images.generate(model="gpt-image-1", prompt="a cat", extra_body={"negative_prompt": "dogs"})


def test_it_runs_as_a_process_of_its_own_and_ends_on_a_signal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.providers", "--port", "0", "--output-bytes", "65536"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert process.stdout is not None
    address = json.loads(process.stdout.readline())
    with openai.OpenAI(base_url=address["base_url"], api_key=address["api_key"], max_retries=0) as client:
        reply = client.images.generate(model="gpt-image-1", prompt="a cat")
    with urllib.request.urlopen(f"{address['url']}/counters") as counters:  # noqa: S310
        counted = json.load(counters)
    process.send_signal(signal.SIGTERM)
    process.stdout.close()

    assert process.wait(timeout=10) == 0
    picture = base64.b64decode((reply.data or [])[0].b64_json or "")
    assert 60_000 <= len(picture) == address["output_bytes"] <= 65_536
    assert counted["n_completed"] == 1


def test_a_key_that_is_honoured_is_charged_once_and_the_same_prompt_twice(
    server: OpenAIServer, client: openai.OpenAI
) -> None:
    server.behaviour.honours_keys = True
    for _ in range(2):
        client.images.generate(
            model="gpt-image-1", prompt="a cat", n=2, extra_headers={"Idempotency-Key": "first"}
        )
        client.images.generate(model="gpt-image-1", prompt="a dog")

    assert [entry.key for entry in server.ledger.list_entries("asked")] == ["first", "a dog"] * 2
    assert [entry.key for entry in server.ledger.list_entries("charged")] == ["first", "a dog", "a dog"]
    assert server.ledger.sum_usd() == 4 * server.price_usd


@pytest.mark.parametrize(
    ("fault", "n_charged"), [("rate_limit", 0), ("server_error", 0), ("reset", 1), ("truncated_image", 1)]
)
def test_what_was_made_is_charged_whatever_the_caller_saw(
    server: OpenAIServer, client: openai.OpenAI, fault: str, n_charged: int
) -> None:
    server.behaviour.fault = fault

    with contextlib.suppress(openai.APIError):
        client.images.generate(model="gpt-image-1", prompt="a cat")

    assert len(server.ledger.list_entries("charged")) == n_charged


def test_the_official_client_gets_through_faults_by_its_own_repetitions() -> None:
    dice = Dice({"rate_limited": 0.3, "server_error": 0.15}, seed=3)
    with (
        running_server(OpenAIServer(dice=dice)) as server,
        openai.OpenAI(base_url=server.base_url, api_key=API_KEY, max_retries=20) as client,
    ):
        server.behaviour.retry_after = "0.01"
        # Side by side: after a server error it waits for seconds.
        with ThreadPoolExecutor(10) as pool:
            prompts = [f"cat {number}" for number in range(10)]
            list(pool.map(lambda prompt: client.images.generate(model="gpt-image-1", prompt=prompt), prompts))

    assert len(server.ledger.list_entries("charged")) == 10
    assert len(server.ledger.list_entries("asked")) > 10
