"""Orders of the fal adapter, against a server that fails in every way that is to be survived."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from PIL import Image

from generations.providers.base import (
    ErrorCode,
    InputFile,
    JobFailedError,
    ProviderConfig,
    ProviderError,
)
from generations.providers.fal import FalProvider
from generations.providers.registry import create_provider
from mayagen.common.http_safety import create_session
from tests.generations.fal_cases import (
    MODEL,
    REQUEST,
    from_data_uri,
    make,
    make_provider,
    refusal,
)
from tests.generations.provider_cases import png
from tests.providers.fal_server import API_KEY, Behaviour, FalServer

PROTOCOL = "fal"


async def test_the_order_says_what_fal_models_commonly_take(server: FalServer, provider: FalProvider) -> None:
    parameters = {"guidance_scale": 3.5, "prompt": "other", "num_images": 9, "sync_mode": True}
    request = replace(
        REQUEST, system_prompt="Flat colours.", negative_prompt="text", seed=7, parameters=parameters
    )

    await provider.submit(replace(request, webhook_url="https://mayagen.example/hooks/a?b=c&d=é"))

    seen = server.requests[0]
    assert seen.endpoint == MODEL
    assert seen.arguments == {
        "guidance_scale": 3.5,
        "prompt": "Flat colours.\n\na cat\n\nAvoid: text",
        "seed": 7,
        "image_size": {"width": 1024, "height": 768},
    }
    assert seen.webhook_url == "https://mayagen.example/hooks/a?b=c&d=é"
    assert seen.headers["Authorization"] == f"Key {API_KEY}"
    assert seen.headers["X-Fal-Request-Timeout"] == "5.0"


@pytest.mark.parametrize(
    ("size_as", "fields"),
    [
        ("aspect_ratio", {"aspect_ratio": "4:3"}),
        ("width_height", {"width": 1024, "height": 768}),
        ("nothing", {}),
    ],
)
async def test_sizes_are_said_as_the_model_takes_them(
    server: FalServer, session: aiohttp.ClientSession, size_as: str, fields: dict[str, Any]
) -> None:
    await make_provider(server, session, size_as=size_as).submit(REQUEST)

    assert server.requests[0].arguments == {"prompt": "a cat", **fields}


async def test_options_name_the_fields_of_an_unusual_model(
    server: FalServer, session: aiohttp.ClientSession
) -> None:
    provider = make_provider(
        server,
        session,
        negative_prompt_field="negative_prompt",
        seed_field="",
        count_field="batch_size",
        size_field="size",
        prompt_field="text",
    )

    await provider.submit(replace(REQUEST, negative_prompt="dogs", seed=7, n_outputs=2))

    assert server.requests[0].arguments == {
        "text": "a cat",
        "negative_prompt": "dogs",
        "batch_size": 2,
        "size": {"width": 1024, "height": 768},
    }
    assert not provider.capabilities.seeds


async def test_inputs_go_as_data_uris_one_as_a_text_and_several_as_a_list(
    server: FalServer, provider: FalProvider, session: aiohttp.ClientSession
) -> None:
    reference = InputFile("reference", png(), "image/png")
    edit = replace(REQUEST, kind="image_edit", inputs=[reference])

    await provider.submit(edit)
    await provider.submit(replace(edit, inputs=[reference, reference]))
    await make_provider(server, session, image_field="image_urls").submit(edit)

    one, several, listed = (request.arguments for request in server.requests)
    assert one["image_url"].startswith("data:image/png;base64,")
    assert from_data_uri(one["image_url"]) == reference.content
    assert [from_data_uri(uri) for uri in several["image_urls"]] == [reference.content] * 2
    assert [from_data_uri(uri) for uri in listed["image_urls"]] == [reference.content]


async def test_a_mask_drawn_in_transparency_arrives_white_where_it_repaints(
    server: FalServer, provider: FalProvider
) -> None:
    drawn = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    drawn.paste((0, 0, 0, 0), (16, 16, 32, 32))
    inputs = [InputFile("reference", png(), "image/png"), InputFile("mask", png(drawn), "image/png")]
    request = replace(REQUEST, endpoint="fal-ai/flux-lora/inpainting", kind="inpainting", inputs=inputs)

    result = await make(provider, request)

    assert result.outputs[0].content == server.picture
    with Image.open(io.BytesIO(from_data_uri(server.requests[0].arguments["mask_url"]))) as mask:
        assert mask.mode == "L"
        assert [mask.getpixel(point) for point in ((20, 20), (40, 40))] == [255, 0]


@pytest.mark.parametrize(
    ("options", "inputs", "n_outputs"),
    [
        ({}, [InputFile("mask", png(), "image/png")], 1),
        ({"image_field": "image_url"}, [InputFile("reference", png(), "image/png")] * 2, 1),
        ({"count_field": ""}, [], 2),
        ({"mask_field": ""}, [InputFile(role, png(), "image/png") for role in ("reference", "mask")], 1),
    ],
)
async def test_what_the_model_has_no_field_for_is_refused_before_sending(
    server: FalServer,
    session: aiohttp.ClientSession,
    options: dict[str, Any],
    inputs: list[InputFile],
    n_outputs: int,
) -> None:
    provider = make_provider(server, session, **options)

    error = await refusal(provider, replace(REQUEST, inputs=inputs, n_outputs=n_outputs))

    assert error.code == ErrorCode.INVALID_REQUEST
    assert server.n_requests == 0


@pytest.mark.parametrize(
    "endpoint", ["flux", "fal-ai/../admin", "/fal-ai/flux", "fal-ai/flux?x=1", "a/" * 120]
)
async def test_an_id_that_is_no_models_is_refused_before_sending(
    server: FalServer, provider: FalProvider, endpoint: str
) -> None:
    assert (await refusal(provider, replace(REQUEST, endpoint=endpoint))).code == ErrorCode.CONFIGURATION
    assert server.n_requests == 0


@pytest.mark.parametrize(
    ("fault", "code", "provider_code"),
    [
        ("rate_limited", ErrorCode.RATE_LIMITED, "http_429"),
        ("server_error", ErrorCode.PROVIDER_UNAVAILABLE, "http_500"),
        ("unavailable", ErrorCode.PROVIDER_UNAVAILABLE, "http_503"),
        ("account_locked", ErrorCode.QUOTA_EXHAUSTED, "http_403"),
        ("forbidden", ErrorCode.CONFIGURATION, "http_403"),
        ("order_refused", ErrorCode.INVALID_REQUEST, "bad_request"),
        ("redirect", ErrorCode.CONFIGURATION, "http_307"),
        ("bad_gateway", ErrorCode.OUTCOME_UNKNOWN, "http_502"),
        ("gateway_timeout", ErrorCode.OUTCOME_UNKNOWN, "http_504"),
        ("dropped", ErrorCode.OUTCOME_UNKNOWN, None),
        ("dropped_early", ErrorCode.OUTCOME_UNKNOWN, None),
        ("no_request_id", ErrorCode.OUTCOME_UNKNOWN, None),
        ("reply_not_json", ErrorCode.OUTCOME_UNKNOWN, None),
        ("endless_reply", ErrorCode.OUTCOME_UNKNOWN, None),
    ],
)
async def test_each_failure_of_an_order_has_its_class_and_no_order_is_repeated(
    server: FalServer, provider: FalProvider, fault: str, code: ErrorCode, provider_code: str | None
) -> None:
    server.behaviour.fault = fault

    error = await refusal(provider)

    assert (error.code, error.provider_code) == (code, provider_code)
    assert not isinstance(error, JobFailedError)
    assert server.n_requests == 1


async def test_an_order_that_nobody_answers_is_of_unknown_outcome(
    server: FalServer, provider: FalProvider
) -> None:
    server.behaviour.fault = "hang"

    error = await refusal(provider, replace(REQUEST, timeout_seconds=0.4))

    assert (error.code, error.retryable) == (ErrorCode.OUTCOME_UNKNOWN, False)
    assert server.n_requests == 1


async def test_the_wait_that_fal_asks_for_is_read(server: FalServer, provider: FalProvider) -> None:
    server.behaviour = Behaviour(fault="rate_limited", retry_after="7")

    assert (await refusal(provider)).retry_after_seconds == 7.0


async def test_a_refused_connection_may_be_repeated() -> None:
    async with create_session(allowed_endpoints=frozenset({("127.0.0.1", 1)})) as session:
        provider = FalProvider(ProviderConfig(base_url="http://127.0.0.1:1", api_key=API_KEY), session)

        error = await refusal(provider)

    assert (error.code, error.retryable) == (ErrorCode.PROVIDER_UNAVAILABLE, True)


async def test_an_inner_address_that_nobody_allowed_is_a_configuration_error(server: FalServer) -> None:
    async with create_session() as session:
        error = await refusal(make_provider(server, session))

    assert error.code == ErrorCode.CONFIGURATION
    assert server.n_requests == 0


async def test_a_wrong_key_and_an_unknown_model_are_configuration_errors(
    server: FalServer, session: aiohttp.ClientSession, provider: FalProvider
) -> None:
    wrong = make_provider(server, session, api_key="an-unusual-secret-format")

    errors = [
        await refusal(wrong),
        await refusal(provider, replace(REQUEST, endpoint="fal-ai/no-such-model")),
    ]

    assert [error.code for error in errors] == [ErrorCode.CONFIGURATION] * 2
    assert "an-unusual-secret-format" not in str(errors)


async def test_hundreds_of_jobs_are_in_flight_at_once(server: FalServer, provider: FalProvider) -> None:
    server.behaviour.delay_seconds = 1.0

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(provider.submit(REQUEST)) for _ in range(200)]
    n_in_flight = server.max_in_flight
    await asyncio.sleep(1.1)
    states = [(await provider.poll(task.result())).status for task in tasks[:5]]

    assert n_in_flight > 150
    assert states == ["succeeded"] * 5


async def test_the_registry_makes_it_and_refuses_addresses_that_are_none(
    session: aiohttp.ClientSession,
) -> None:
    assert isinstance(create_provider("fal", ProviderConfig(), session), FalProvider)
    for config in (
        ProviderConfig(base_url="file:///etc/passwd"),
        ProviderConfig(options={"jwks_url": "gopher://x"}),
    ):
        with pytest.raises(ProviderError) as caught:
            create_provider("fal", config, session)
        assert caught.value.code == ErrorCode.CONFIGURATION
