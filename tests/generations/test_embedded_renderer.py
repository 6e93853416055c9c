"""The embedded renderer: the same order gives the same bytes, different words give different pictures."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from generations.media.validation import decode_image
from generations.providers.base import ErrorCode, InputFile, ProviderConfig, ProviderError, ProviderRequest
from generations.providers.embedded import EMBEDDED_PARAMETERS_SCHEMA, EmbeddedProvider
from generations.providers.renderer.styles import LOOKS
from mayagen.common.http_safety import create_session
from tests.generations.provider_cases import ORDER, png

REQUEST = replace(
    ORDER,
    endpoint="embedded",
    prompt="a red cat in a green field",
    seed=7,
    width_px=256,
    height_px=256,
    timeout_seconds=10,
)


@pytest.fixture
async def provider() -> AsyncIterator[EmbeddedProvider]:
    async with create_session() as session:
        yield EmbeddedProvider(ProviderConfig(), session)


async def render(provider: EmbeddedProvider, request: ProviderRequest) -> bytes:
    return (await provider.generate(request)).outputs[0].content


def opened(content: bytes) -> Image.Image:
    return decode_image(content).image


def difference(first: bytes, second: bytes) -> float:
    """The mean difference of two pictures of one size, in levels of 255."""
    return sum(ImageStat.Stat(ImageChops.difference(opened(first), opened(second))).mean) / 3


@pytest.mark.parametrize("style", ["auto", *LOOKS])
async def test_the_same_order_gives_the_same_bytes(provider: EmbeddedProvider, style: str) -> None:
    request = replace(REQUEST, parameters={"style": style}, prompt="three boats in fog, rain and snow")

    first = await render(provider, request)

    assert first == await render(provider, replace(request, idempotency_key="two"))
    assert opened(first).size == (256, 256)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "a red cat in a green field."},
        {"prompt": "a blue cat in a green field"},
        {"negative_prompt": "cat"},
        {"system_prompt": "Paint everything as watercolour."},
        {"seed": 8},
        {"parameters": {"style": "pixel"}},
        {"parameters": {"detail": 5}},
        {"parameters": {"palette": "mono"}},
    ],
)
async def test_whatever_changes_changes_the_picture_visibly(
    provider: EmbeddedProvider, change: Mapping[str, Any]
) -> None:
    plain, changed = await render(provider, REQUEST), await render(provider, replace(REQUEST, **change))

    assert difference(plain, changed) > 4


async def test_different_prompts_are_told_apart_at_thumbnail_size(provider: EmbeddedProvider) -> None:
    prompts = [
        "a cat", "a dog", "two dogs", "a sailboat at night", "a city in the rain", "an apple on a table",
        "a rocket in space", "an abandoned lighthouse", "a zorblax", "a quux", "", "🦄", "ein Hund", "猫",
    ]  # fmt: skip
    pictures = [
        opened(await render(provider, replace(REQUEST, prompt=prompt))).resize((24, 24)) for prompt in prompts
    ]

    for first, second in combinations(pictures, 2):
        assert sum(ImageStat.Stat(ImageChops.difference(first, second)).mean) / 3 > 6


async def test_colour_words_and_negative_words_are_followed(provider: EmbeddedProvider) -> None:
    request = replace(REQUEST, prompt="a red heart in space")
    red_picture = await render(provider, request)
    blue_picture = await render(provider, replace(request, prompt="a blue heart in space"))
    red, blue = ImageStat.Stat(opened(red_picture)).mean, ImageStat.Stat(opened(blue_picture)).mean

    assert red[0] > blue[0]
    assert blue[2] > red[2]
    without = replace(request, negative_prompt="heart")
    assert difference(red_picture, await render(provider, without)) > 4


async def test_output_i_is_what_seed_plus_i_brings_first(provider: EmbeddedProvider) -> None:
    result = await provider.generate(replace(REQUEST, n_outputs=3))

    assert result.metadata["seeds"] == [7, 8, 9]
    assert result.outputs[2].content == await render(provider, replace(REQUEST, seed=9))


async def test_without_a_seed_the_key_of_the_attempt_decides_and_the_seed_is_told(
    provider: EmbeddedProvider,
) -> None:
    unseeded = replace(REQUEST, seed=None)

    first = await provider.generate(unseeded)
    other = await provider.generate(replace(unseeded, idempotency_key="two"))

    assert first.outputs[0].content != other.outputs[0].content
    seeded = replace(REQUEST, seed=first.metadata["seeds"][0])
    assert first.outputs[0].content == await render(provider, seeded)


@pytest.mark.parametrize("size", [(64, 64), (640, 384), (384, 640), (2048, 64)])
async def test_the_size_asked_for_is_the_size_made(provider: EmbeddedProvider, size: tuple[int, int]) -> None:
    content = await render(provider, replace(REQUEST, width_px=size[0], height_px=size[1]))

    assert opened(content).size == size


async def test_an_edit_keeps_the_input_recognisable_and_its_size(provider: EmbeddedProvider) -> None:
    source = await render(provider, replace(REQUEST, width_px=320, height_px=200))
    edit = replace(
        REQUEST,
        kind="image_edit",
        prompt="at night, with snow",
        width_px=None,
        height_px=None,
        inputs=[InputFile("reference", source, "image/png")],
        parameters={"strength": 0.4},
    )

    edited = await render(provider, edit)
    other = await render(provider, replace(edit, prompt="make it orange, at sunset"))
    unrelated = await render(provider, replace(REQUEST, width_px=320, height_px=200, seed=99))

    assert opened(edited).size == (320, 200)
    assert difference(edited, source) > 4
    assert difference(other, source) < difference(unrelated, source)
    assert difference(edited, other) > 4


@pytest.mark.parametrize("mask_mode", ["white on black", "transparent"])
async def test_an_edit_with_a_mask_changes_nothing_outside_it(
    provider: EmbeddedProvider, mask_mode: str
) -> None:
    source = await render(provider, REQUEST)
    mask = Image.new("L", (256, 256), 0)
    mask.paste(255, (40, 60, 140, 160))
    if mask_mode == "transparent":
        transparent = Image.new("RGBA", (256, 256), "black")
        transparent.putalpha(mask.point([255 - level for level in range(256)]))
        mask = transparent
    inputs = [InputFile("reference", source, "image/png"), InputFile("mask", png(mask), "image/png")]

    edited = await render(provider, replace(REQUEST, kind="inpainting", prompt="a blue bird", inputs=inputs))

    changed = ImageChops.difference(opened(edited), opened(source)).crop((0, 0, 256, 236)).getbbox()
    assert changed is not None
    left, upper, right, lower = changed
    assert left >= 40
    assert upper >= 60
    assert right <= 140
    assert lower <= 160


@pytest.mark.parametrize(
    "change",
    [
        {"n_outputs": 0},
        {"n_outputs": 11},
        {"seed": -1},
        {"width_px": 63},
        {"height_px": 4096},
        {"parameters": {"style": "photo"}},
        {"parameters": {"palette": ["warm"]}},
        {"parameters": {"detail": 9}},
        {"parameters": {"detail": True}},
        {"parameters": {"strength": "much"}},
        {"inputs": [InputFile("reference", b"not an image", "image/png")]},
        {"inputs": [InputFile("mask", b"", "image/png")]},
    ],
)
async def test_what_cannot_be_drawn_is_an_invalid_request(
    provider: EmbeddedProvider, change: Mapping[str, Any]
) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.generate(replace(REQUEST, **change))

    assert caught.value.code == ErrorCode.INVALID_REQUEST
    assert not caught.value.retryable


def test_the_schema_accepts_its_own_defaults_and_refuses_what_it_does_not_know() -> None:
    validator = jsonschema_rs.validator_for(dict(EMBEDDED_PARAMETERS_SCHEMA))
    defaults = {name: field["default"] for name, field in EMBEDDED_PARAMETERS_SCHEMA["properties"].items()}

    assert validator.is_valid(defaults)
    assert validator.is_valid({})
    assert not validator.is_valid({"steps": 30})
    assert not validator.is_valid({"detail": 6})


async def test_every_picture_says_that_it_is_no_ai(provider: EmbeddedProvider) -> None:
    content = await render(provider, replace(REQUEST, width_px=512, height_px=512))

    with Image.open(io.BytesIO(content)) as picture:
        assert picture.info["Software"] == "MayaGen embedded renderer - not AI"
        strip = picture.convert("L").crop((256, 496, 512, 512))
    assert strip.getextrema()[1] > 200  # type: ignore[operator]
    assert strip.getextrema()[0] < 130  # type: ignore[operator]


async def test_the_event_loop_stays_free_while_it_draws(provider: EmbeddedProvider) -> None:
    longest = 0.0
    drawing = asyncio.create_task(
        provider.generate(replace(REQUEST, width_px=1024, height_px=1024, n_outputs=4))
    )
    while not drawing.done():
        started = time.process_time()
        await asyncio.sleep(0.001)
        longest = max(longest, time.process_time() - started)

    assert len((await drawing).outputs) == 4
    assert longest < 0.25


@settings(max_examples=60, deadline=None)
@given(prompt=st.text(max_size=300), negative=st.text(max_size=60), seed=st.integers(0, 2**63 - 1))
def test_any_text_gives_a_picture(prompt: str, negative: str, seed: int) -> None:
    small = replace(REQUEST, width_px=64, height_px=64)

    async def draw() -> bytes:
        async with create_session() as session:
            provider = EmbeddedProvider(ProviderConfig(), session)
            return await render(provider, replace(small, prompt=prompt, negative_prompt=negative, seed=seed))

    assert opened(asyncio.run(draw())).size == (64, 64)
