"""The OpenAI adapter against a server that speaks its protocol and fails in every way to be survived."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import aiohttp
import pytest
from PIL import Image

from generations.media.errors import MediaTruncatedError
from generations.media.validation import decode_image
from generations.providers.base import (
    ErrorCode,
    InputFile,
    ProviderConfig,
    ProviderError,
    ProviderRequest,
    ProviderResult,
)
from generations.providers.openai import OpenAIProvider
from generations.providers.registry import PROVIDERS, UnknownProviderError, create_provider
from mayagen.common.http_safety import create_session
from prompts.choices import Provider
from tests.generations.provider_cases import ORDER, png
from tests.providers.openai_server import API_KEY, OpenAIServer
from tests.providers.serving import make_png

REQUEST = replace(ORDER, endpoint="gpt-image-1")

PROTOCOL = "openai"


async def failure(provider: OpenAIProvider, request: ProviderRequest = REQUEST) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await provider.generate(request)
    assert API_KEY not in str(caught.value)
    assert len(caught.value.message) <= 500
    return caught.value


@pytest.mark.parametrize("reply_with", ["b64_json", "url"])
async def test_both_kinds_of_reply_bring_the_bytes(
    server: OpenAIServer, provider: OpenAIProvider, reply_with: str
) -> None:
    server.behaviour.reply_with = reply_with

    result = await provider.generate(replace(REQUEST, n_outputs=3, parameters={"quality": "low"}))

    assert [output.content for output in result.outputs] == [server.picture] * 3
    assert result.provider_request_id == "req_000001"
    assert result.cost_usd is None
    assert result.warning == ""
    assert result.metadata["usage"]["output_tokens"] == 3 * 272
    assert server.requests[0].fields == {
        "model": "gpt-image-1", "prompt": "a cat", "n": 3, "size": "1024x1024", "quality": "low"
    }  # fmt: skip


async def test_system_and_negative_prompt_become_part_of_the_one_prompt(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    await provider.generate(replace(REQUEST, system_prompt="Flat colours.", negative_prompt="text, dogs"))

    assert server.requests[0].fields["prompt"] == "Flat colours.\n\na cat\n\nAvoid: text, dogs"


async def test_parameters_pass_through_but_never_replace_what_the_request_says(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    parameters = {"background": "transparent", "size": "auto", "model": "dearer", "n": 9, "prompt": "other"}

    await provider.generate(replace(REQUEST, parameters=parameters))

    assert server.requests[0].fields == {
        "model": "gpt-image-1", "prompt": "a cat", "n": 1, "size": "auto", "background": "transparent"
    }  # fmt: skip


async def test_a_seed_is_sent_only_where_the_server_is_said_to_take_it(
    server: OpenAIServer, session: aiohttp.ClientSession, provider: OpenAIProvider
) -> None:
    local = OpenAIProvider(
        ProviderConfig(base_url=f"{server.url}/v1", api_key=API_KEY, options={"supports_seed": True}), session
    )

    await provider.generate(replace(REQUEST, seed=7))
    await local.generate(replace(REQUEST, seed=7))

    assert [request.fields.get("seed") for request in server.requests] == [None, 7]
    assert (provider.capabilities.seeds, local.capabilities.seeds) == (False, True)


async def test_an_idempotency_key_is_sent_only_where_the_server_is_said_to_honour_it(
    server: OpenAIServer, session: aiohttp.ClientSession, provider: OpenAIProvider
) -> None:
    options = {"supports_idempotency_key": True}
    gateway = OpenAIProvider(
        ProviderConfig(base_url=f"{server.url}/v1", api_key=API_KEY, options=options), session
    )

    await provider.generate(REQUEST)
    await gateway.generate(REQUEST)

    assert [request.headers.get("Idempotency-Key") for request in server.requests] == [None, "one"]
    assert (provider.capabilities.idempotency_keys, gateway.capabilities.idempotency_keys) == (False, True)


async def test_one_input_goes_as_image_and_several_as_a_list(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    reference = InputFile("reference", make_png(), "image/png")

    await provider.generate(replace(REQUEST, kind="image_edit", inputs=[reference]))
    await provider.generate(replace(REQUEST, kind="image_edit", inputs=[reference, reference]))

    assert [[name for name, *_ in request.files] for request in server.requests] == [
        ["image"],
        ["image[]", "image[]"],
    ]
    assert server.requests[0].files[0][1:] == ("image-1.png", "image/png", reference.content)
    assert server.requests[0].fields == {
        "model": "gpt-image-1",
        "prompt": "a cat",
        "n": "1",
        "size": "1024x1024",
    }


async def test_a_mask_drawn_in_white_arrives_as_transparency(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    drawn = Image.new("L", (64, 64), 0)
    drawn.paste(255, (16, 16, 32, 32))
    inputs = [InputFile("reference", png(), "image/png"), InputFile("mask", png(drawn), "image/png")]

    await provider.generate(replace(REQUEST, kind="inpainting", inputs=inputs))

    name, _, mime_type, content = server.requests[0].files[1]
    with Image.open(io.BytesIO(content)) as mask:
        assert (name, mime_type, mask.mode) == ("mask", "image/png", "RGBA")
        alpha = mask.getchannel("A")
        assert [alpha.getpixel(point) for point in ((20, 20), (40, 40))] == [0, 255]


async def test_azure_is_spoken_to_under_its_deployment_with_its_own_header(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    config = ProviderConfig(
        base_url=server.url, api_key=API_KEY, options={"api_version": "2025-04-01-preview"}
    )
    provider = create_provider("azure_openai", config, session)
    assert isinstance(provider, OpenAIProvider)

    await provider.generate(REQUEST)
    await provider.generate(replace(REQUEST, inputs=[InputFile("reference", png(), "image/png")]))

    generation, edit = server.requests
    assert generation.path == "/openai/deployments/gpt-image-1/images/generations"
    assert edit.path == "/openai/deployments/gpt-image-1/images/edits"
    assert generation.query["api-version"] == "2025-04-01-preview"
    assert generation.headers["api-key"] == API_KEY
    assert "Authorization" not in generation.headers


@pytest.mark.parametrize(
    ("fault", "code", "provider_code"),
    [
        ("moderation_blocked", ErrorCode.REFUSED, "moderation_blocked"),
        ("content_policy_violation", ErrorCode.REFUSED, "content_policy_violation"),
        ("rate_limit", ErrorCode.RATE_LIMITED, "rate_limit_exceeded"),
        ("insufficient_quota", ErrorCode.QUOTA_EXHAUSTED, "insufficient_quota"),
        ("resource_blocked", ErrorCode.PROVIDER_UNAVAILABLE, "Forbidden"),
        ("server_error", ErrorCode.PROVIDER_UNAVAILABLE, "server_error"),
        ("gateway_page", ErrorCode.PROVIDER_UNAVAILABLE, "http_502"),
        ("gateway_timeout", ErrorCode.OUTCOME_UNKNOWN, "http_504"),
        ("redirect", ErrorCode.CONFIGURATION, "http_307"),
        ("reset", ErrorCode.OUTCOME_UNKNOWN, None),
        ("reset_mid_body", ErrorCode.OUTCOME_UNKNOWN, None),
        ("not_base64", ErrorCode.BAD_OUTPUT, None),
        ("no_data", ErrorCode.BAD_OUTPUT, None),
        ("html", ErrorCode.BAD_OUTPUT, None),
    ],
)
async def test_each_failure_has_its_class_and_is_never_repeated_inside(
    server: OpenAIServer, provider: OpenAIProvider, fault: str, code: ErrorCode, provider_code: str | None
) -> None:
    server.behaviour.fault = fault

    error = await failure(provider)

    assert (error.code, error.provider_code) == (code, provider_code)
    assert server.n_requests == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("-1", None), ("nan", None), ("soon", None), ("9" * 12, 86_400.0)],
)
async def test_the_wait_that_the_provider_asks_for_is_read_with_care(
    server: OpenAIServer, provider: OpenAIProvider, header: str, seconds: float | None
) -> None:
    server.behaviour.fault, server.behaviour.retry_after = "rate_limit", header

    assert (await failure(provider)).retry_after_seconds == seconds


async def test_a_date_to_wait_for_is_understood(server: OpenAIServer, provider: OpenAIProvider) -> None:
    server.behaviour.fault, server.behaviour.retry_after = "rate_limit", "Fri, 01 Jan 2100 00:00:00 GMT"

    assert (await failure(provider)).retry_after_seconds == 86_400.0


async def test_a_timeout_after_sending_is_an_unknown_outcome(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.fault = "hang"

    error = await failure(provider, replace(REQUEST, timeout_seconds=0.4))

    assert (error.code, error.retryable) == (ErrorCode.OUTCOME_UNKNOWN, False)


async def test_a_refused_connection_may_be_repeated(server: OpenAIServer) -> None:
    allowed = frozenset({("127.0.0.1", 1)})
    async with create_session(allowed_endpoints=allowed) as session:
        provider = OpenAIProvider(ProviderConfig(base_url="http://127.0.0.1:1/v1", api_key=API_KEY), session)

        error = await failure(provider)

    assert (error.code, error.retryable) == (ErrorCode.PROVIDER_UNAVAILABLE, True)


async def test_an_inner_address_that_nobody_allowed_is_a_configuration_error(server: OpenAIServer) -> None:
    async with create_session() as session:
        provider = OpenAIProvider(ProviderConfig(base_url=f"{server.url}/v1", api_key=API_KEY), session)

        error = await failure(provider)

    assert (error.code, error.retryable) == (ErrorCode.CONFIGURATION, False)
    assert server.n_requests == 0


async def test_a_wrong_key_is_a_configuration_error_that_does_not_repeat_the_key(
    server: OpenAIServer, session: aiohttp.ClientSession
) -> None:
    secret = "an-unusual-secret-format"
    provider = OpenAIProvider(ProviderConfig(base_url=f"{server.url}/v1", api_key=secret), session)

    error = await failure(provider)

    assert (error.code, error.provider_code) == (ErrorCode.CONFIGURATION, "invalid_api_key")
    assert secret not in error.message
    assert secret not in repr(ProviderConfig(api_key=secret))


async def test_fewer_pictures_than_asked_for_are_a_result_with_a_warning(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.n_delivered = 1

    result = await provider.generate(replace(REQUEST, n_outputs=2))

    assert len(result.outputs) == 1
    assert result.warning == "The provider delivered 1 of 2 images."


async def test_a_picture_that_redirects_inward_is_not_followed(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.reply_with = "url"
    server.behaviour.file_redirect = "http://169.254.169.254/latest/meta-data"

    error = await failure(provider)

    assert error.code == ErrorCode.BAD_OUTPUT
    assert "redirect_refused" in error.message


async def test_foreign_values_become_what_every_database_can_store(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.fault = "foreign_values"

    result = await provider.generate(REQUEST)

    assert result.metadata == {"usage": {"a": None, "b": None}, "revised_prompts": ["a b "]}


async def test_a_truncated_picture_is_handed_on_and_fails_to_decode(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.fault = "truncated_image"

    result = await provider.generate(REQUEST)

    with pytest.raises(MediaTruncatedError):
        decode_image(result.outputs[0].content)


async def test_an_edit_without_an_image_and_a_streamed_reply_are_refused_before_sending(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    mask_only = replace(REQUEST, kind="inpainting", inputs=[InputFile("mask", png(), "image/png")])
    streamed = replace(REQUEST, parameters={"stream": True})

    assert (await failure(provider, mask_only)).code == ErrorCode.INVALID_REQUEST
    assert (await failure(provider, streamed)).code == ErrorCode.INVALID_REQUEST
    assert server.n_requests == 0


async def test_hundreds_of_calls_are_in_flight_at_once(
    server: OpenAIServer, provider: OpenAIProvider
) -> None:
    server.behaviour.delay_seconds = 0.8

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(provider.generate(REQUEST)) for _ in range(200)]

    results: list[ProviderResult] = [task.result() for task in tasks]
    assert all(len(result.outputs) == 1 for result in results)
    assert server.max_in_flight > 150


async def test_the_registry_knows_its_providers_and_no_other(session: aiohttp.ClientSession) -> None:
    assert set(PROVIDERS) == set(Provider.values)
    with pytest.raises(UnknownProviderError):
        create_provider("imaginary", ProviderConfig(), session)
    with pytest.raises(ProviderError) as caught:
        create_provider("openai", ProviderConfig(base_url="file:///etc/passwd"), session)
    assert caught.value.code == ErrorCode.CONFIGURATION
