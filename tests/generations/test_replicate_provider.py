"""What the Replicate adapter orders, against a server that speaks its protocol and judges every order."""

from __future__ import annotations

import asyncio
import base64
import io
import time
from dataclasses import replace

import aiohttp
import pytest
from PIL import Image

from generations.providers.base import ErrorCode, InputFile, ProviderConfig
from generations.providers.replicate import MAX_DATA_URI_BYTES, ReplicateProvider
from mayagen.common.http_safety import create_session
from tests.generations.replicate_cases import REQUEST, SMALL, generate, make_provider, orders, refusal
from tests.providers.replicate_server import VERSION, ReplicateServer
from tests.providers.serving import make_png

PROTOCOL = "replicate"


@pytest.mark.parametrize("output_as", ["list", "object", "data_uri"])
async def test_every_shape_of_output_brings_the_bytes(
    server: ReplicateServer, provider: ReplicateProvider, output_as: str
) -> None:
    server.behaviour.output_as = output_as

    result = await generate(provider, replace(REQUEST, n_outputs=3, seed=7))

    assert [output.content for output in result.outputs] == [server.picture] * 3
    assert (result.cost_usd, result.warning) == (None, "")
    assert result.provider_request_id in server.jobs
    assert result.metadata["metrics"]["predict_time"] >= 0
    assert orders(server) == [
        {"input": {"prompt": "a cat", "width": 512, "height": 512, "seed": 7, "num_outputs": 3}}
    ]


async def test_one_output_may_come_as_a_text_alone(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.output_as = "string"

    assert len((await generate(provider)).outputs) == 1


@pytest.mark.parametrize(
    ("endpoint", "path", "version"),
    [
        ("acme/painter", "/v1/models/acme/painter/predictions", None),
        (f"acme/painter:{VERSION}", "/v1/predictions", f"acme/painter:{VERSION}"),
        (VERSION, "/v1/predictions", VERSION),
        ("deployments/acme/app", "/v1/deployments/acme/app/predictions", None),
    ],
)
async def test_models_versions_and_deployments_have_their_own_addresses(
    server: ReplicateServer, provider: ReplicateProvider, endpoint: str, path: str, version: str | None
) -> None:
    await provider.submit(replace(REQUEST, endpoint=endpoint))

    assert server.requests[0].path == path
    assert server.requests[0].fields.get("version") == version


@pytest.mark.parametrize("endpoint", ["", "painter", "acme/../keys", "a/b/c", "acme/painter:latest", "a/b?c"])
async def test_an_endpoint_of_another_form_is_a_configuration_error(
    server: ReplicateServer, provider: ReplicateProvider, endpoint: str
) -> None:
    error = await refusal(provider, replace(REQUEST, endpoint=endpoint))

    assert error.code == ErrorCode.CONFIGURATION
    assert server.requests == []


async def test_the_order_names_its_deadline_and_waits_only_when_told_to(
    server: ReplicateServer, session: aiohttp.ClientSession, provider: ReplicateProvider
) -> None:
    waiting = make_provider(server, session, wait_seconds=2, cancel_after_seconds=1)
    server.behaviour.delay_seconds = 0.2

    await provider.submit(REQUEST)
    job_id = await waiting.submit(REQUEST)

    plain, waited = (request.headers for request in server.requests[:2])
    assert (plain.get("Prefer"), plain["Cancel-After"]) == (None, "65s")
    assert (waited["Prefer"], waited["Cancel-After"]) == ("wait=2", "5s")
    assert (await waiting.poll(job_id)).status == "succeeded"


async def test_a_webhook_is_asked_for_once_the_prediction_has_ended(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.webhook = "none"

    await provider.submit(replace(REQUEST, webhook_url="https://ours.example/hooks/1"))

    assert orders(server)[0]["webhook"] == "https://ours.example/hooks/1"
    assert orders(server)[0]["webhook_events_filter"] == ["completed"]


async def test_options_rename_what_a_model_calls_otherwise(
    server: ReplicateServer, session: aiohttp.ClientSession
) -> None:
    provider = make_provider(
        server, session, seed_field="", count_field="", negative_prompt_field="", size_as="aspect_ratio"
    )
    sized = replace(REQUEST, width_px=1344, height_px=768)
    request = replace(sized, seed=3, negative_prompt="dogs", system_prompt="Flat.")

    await provider.submit(request)

    assert orders(server) == [{"input": {"prompt": "Flat.\n\na cat\n\nAvoid: dogs", "aspect_ratio": "16:9"}}]
    assert (provider.capabilities.seeds, provider.capabilities.several_outputs) == (False, False)
    assert (await refusal(provider, replace(request, n_outputs=2))).code == ErrorCode.INVALID_REQUEST


async def test_a_negative_prompt_has_its_own_field_and_parameters_replace_nothing_of_the_request(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    parameters = {
        "guidance": 3.5,
        "prompt": "other",
        "num_outputs": 4,
        "width": 768,
        "image": "https://x.example",
    }

    await provider.submit(replace(REQUEST, negative_prompt="dogs", parameters=parameters))

    assert orders(server)[0]["input"] == {
        "guidance": 3.5, "prompt": "a cat", "negative_prompt": "dogs", "width": 768, "height": 512
    }  # fmt: skip


async def test_small_inputs_go_inside_the_order_and_large_ones_are_uploaded_first(
    server: ReplicateServer, session: aiohttp.ClientSession
) -> None:
    large = InputFile("reference", make_png(MAX_DATA_URI_BYTES * 2), "image/png")
    assert len(large.content) > MAX_DATA_URI_BYTES
    provider = make_provider(server, session, image_field="image_input[]")

    await provider.submit(replace(REQUEST, kind="image_edit", inputs=[SMALL, large]))

    first, second = orders(server)[0]["input"]["image_input"]
    assert first.startswith("data:image/png;base64,")
    assert second.startswith(f"{server.url}/v1/files/")
    assert list(server.files.values()) == [("image/png", large.content)]


@pytest.mark.parametrize("fault", ["dropped", "server_error", "gateway_page", "html"])
async def test_a_lost_upload_may_be_repeated_and_orders_nothing(
    server: ReplicateServer, provider: ReplicateProvider, fault: str
) -> None:
    large = InputFile("reference", make_png(MAX_DATA_URI_BYTES * 2), "image/png")
    server.behaviour.fault, server.behaviour.fault_on = fault, "files"

    error = await refusal(provider, replace(REQUEST, kind="image_edit", inputs=[large]))

    assert (error.code, error.retryable) == (ErrorCode.PROVIDER_UNAVAILABLE, True)
    assert orders(server) == []


async def test_a_mask_drawn_as_transparency_arrives_in_white(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    drawn = Image.new("RGBA", (64, 64), (0, 0, 0, 255))
    drawn.paste((0, 0, 0, 0), (16, 16, 32, 32))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    inputs = [SMALL, InputFile("mask", buffer.getvalue(), "image/png")]

    await provider.submit(replace(REQUEST, kind="inpainting", inputs=inputs))

    given = orders(server)[0]["input"]
    content = base64.b64decode(given["mask"].partition(",")[2])
    with Image.open(io.BytesIO(content)) as mask:
        assert [mask.getpixel(point) for point in ((20, 20), (40, 40))] == [255, 0]
    assert given["image"].startswith("data:image/png;base64,")


async def test_inputs_that_the_model_has_no_place_for_are_refused_before_sending(
    server: ReplicateServer, session: aiohttp.ClientSession, provider: ReplicateProvider
) -> None:
    mask = InputFile("mask", SMALL.content, "image/png")
    textual = make_provider(server, session, image_field="", mask_field="")
    unmasked = make_provider(server, session, mask_field="")

    for adapter, inputs in [
        (provider, [mask]),
        (provider, [SMALL, SMALL]),
        (textual, [SMALL]),
        (unmasked, [SMALL, mask]),
    ]:
        error = await refusal(adapter, replace(REQUEST, inputs=inputs))
        assert error.code == ErrorCode.INVALID_REQUEST
    assert server.requests == []


@pytest.mark.parametrize(
    ("fault", "code", "provider_code"),
    [
        ("rate_limit", ErrorCode.RATE_LIMITED, "http_429"),
        ("no_credit", ErrorCode.QUOTA_EXHAUSTED, "http_402"),
        ("invalid_input", ErrorCode.INVALID_REQUEST, "http_422"),
        ("unknown_version", ErrorCode.CONFIGURATION, "http_422"),
        ("server_error", ErrorCode.PROVIDER_UNAVAILABLE, "http_500"),
        ("unavailable", ErrorCode.PROVIDER_UNAVAILABLE, "http_503"),
        ("redirect", ErrorCode.CONFIGURATION, "http_307"),
        ("gateway_page", ErrorCode.OUTCOME_UNKNOWN, "http_502"),
        ("reset", ErrorCode.OUTCOME_UNKNOWN, None),
        ("dropped", ErrorCode.OUTCOME_UNKNOWN, None),
        ("no_id", ErrorCode.OUTCOME_UNKNOWN, None),
        ("html", ErrorCode.OUTCOME_UNKNOWN, None),
    ],
)
async def test_each_refusal_has_its_class_and_no_order_is_repeated(
    server: ReplicateServer,
    provider: ReplicateProvider,
    fault: str,
    code: ErrorCode,
    provider_code: str | None,
) -> None:
    server.behaviour.fault = fault

    error = await refusal(provider)

    assert (error.code, error.provider_code) == (code, provider_code)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "header", "seconds"),
    [("rate_limit", "2", 2.0), ("rate_limit", "", 1.0), ("low_credit", "", 10.0)],
)
async def test_a_wait_is_read_from_the_words_where_no_header_names_it(
    server: ReplicateServer, provider: ReplicateProvider, fault: str, header: str, seconds: float
) -> None:
    server.behaviour.fault, server.behaviour.retry_after = fault, header

    assert (await refusal(provider)).retry_after_seconds == seconds


async def test_an_order_without_an_answer_in_time_has_an_unknown_outcome(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.fault = "hang"

    error = await refusal(provider, replace(REQUEST, timeout_seconds=0.4))

    assert (error.code, error.retryable) == (ErrorCode.OUTCOME_UNKNOWN, False)


async def test_a_wrong_key_an_unknown_model_and_an_inner_address_are_configuration_errors(
    server: ReplicateServer, session: aiohttp.ClientSession, provider: ReplicateProvider
) -> None:
    stranger = ReplicateProvider(ProviderConfig(base_url=server.url, api_key="r8_somebody"), session)
    async with create_session() as guarded:
        inner = make_provider(server, guarded)
        errors = [
            await refusal(stranger),
            await refusal(provider, replace(REQUEST, endpoint="nobody/nothing")),
            await refusal(inner),
        ]

    assert [error.code for error in errors] == [ErrorCode.CONFIGURATION] * 3
    assert "r8_somebody" not in str(errors[0])


async def test_five_hundred_jobs_are_in_flight_at_once(
    server: ReplicateServer, provider: ReplicateProvider
) -> None:
    server.behaviour.delay_seconds = 30
    started = time.monotonic()

    async with asyncio.TaskGroup() as group:
        for _ in range(500):
            group.create_task(provider.submit(REQUEST))

    assert server.max_in_flight >= 500
    assert time.monotonic() - started < 20
