"""The embedded renderer: pictures drawn from words on this machine, for trying everything without a provider.

It is no AI and says so in every picture. The same prompt, parameters, seed, size and inputs give the same
bytes on the same version of Pillow.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from PIL import Image

from generations.providers.base import (
    Capabilities,
    ErrorCode,
    ProviderConfig,
    ProviderError,
    ProviderOutput,
    ProviderRequest,
    ProviderResult,
)
from generations.providers.masks import FORMATS
from generations.providers.renderer.palette import PALETTES
from generations.providers.renderer.render import RenderOrder, render_png
from generations.providers.renderer.styles import LOOKS
from mayagen.common.spooling import Spool

DEFAULT_SIDE_PX: Final = 768
MIN_SIDE_PX: Final = 64
MAX_SIDE_PX: Final = 2048
MAX_OUTPUTS: Final = 10
MAX_DETAIL: Final = 5
MAX_SEED: Final = 2**63 - 1

EMBEDDED_PARAMETERS_SCHEMA: Final[Mapping[str, Any]] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "style": {
            "type": "string",
            "title": "Style",
            "description": "How it is drawn; auto follows the words of the prompt.",
            "enum": ["auto", *LOOKS],
            "default": "auto",
        },
        "palette": {
            "type": "string",
            "title": "Palette",
            "description": "The mood of the colours; auto leaves them to the prompt.",
            "enum": list(PALETTES),
            "default": "auto",
        },
        "detail": {
            "type": "integer",
            "title": "Detail",
            "description": "How much there is to see, from 1 to 5.",
            "minimum": 1,
            "maximum": MAX_DETAIL,
            "default": 3,
        },
        "strength": {
            "type": "number",
            "title": "Strength",
            "description": "For edits: how far the input is recoloured, from 0 to 1.",
            "minimum": 0,
            "maximum": 1,
            "default": 0.6,
        },
    },
    "additionalProperties": False,
}


class EmbeddedProvider:
    """Draws in threads, so that the event loop stays free. It takes neither credentials nor options."""

    name = "embedded"
    capabilities = Capabilities(idempotency_keys=True, masks=True, seeds=True, several_outputs=True)

    def __init__(self, config: ProviderConfig, session: aiohttp.ClientSession) -> None:
        """Take what every adapter is given; no session is needed here."""
        self._folder = config.spool_folder

    async def generate(self, request: ProviderRequest) -> ProviderResult:
        """Draw the pictures; output i is what a request with seed + i would bring first.

        Without a seed one is taken from the idempotency key; either way `metadata` names the seeds.

        Raises:
            ProviderError: With code `invalid_request`, for a size, a number or a parameter out of range.
        """
        seed = _seed(request)
        seeds = [(seed + index) % (MAX_SEED + 1) for index in range(_n_outputs(request))]
        size = await asyncio.to_thread(_size, request)
        orders = [_order(request, each, size) for each in seeds]
        try:
            outputs = [await asyncio.to_thread(self._draw, order) for order in orders]
        except (OSError, ValueError) as error:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "An input image cannot be read.") from error
        return ProviderResult(
            outputs=outputs,
            metadata={"seeds": seeds, "renderer": "MayaGen embedded renderer, not AI"},
        )

    def _draw(self, order: RenderOrder) -> ProviderOutput:
        return ProviderOutput(Spool.of(render_png(order), self._folder))


def _seed(request: ProviderRequest) -> int:
    if request.seed is not None:
        if not 0 <= request.seed <= MAX_SEED:
            raise ProviderError(ErrorCode.INVALID_REQUEST, "The seed is out of range.")
        return request.seed
    digest = hashlib.sha256(request.idempotency_key.encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:4], "big")


def _n_outputs(request: ProviderRequest) -> int:
    if not 1 <= request.n_outputs <= MAX_OUTPUTS:
        raise ProviderError(ErrorCode.INVALID_REQUEST, f"Between 1 and {MAX_OUTPUTS} images can be made.")
    return request.n_outputs


def _size(request: ProviderRequest) -> tuple[int, int]:
    """The size asked for, else the first input's (shrunk to what can be drawn), else the default."""
    width, height = request.width_px, request.height_px
    if width is not None and height is not None:
        if not (MIN_SIDE_PX <= width <= MAX_SIDE_PX and MIN_SIDE_PX <= height <= MAX_SIDE_PX):
            raise ProviderError(
                ErrorCode.INVALID_REQUEST, f"Each side must have {MIN_SIDE_PX} to {MAX_SIDE_PX} pixels."
            )
        return width, height
    if not request.references:
        return DEFAULT_SIDE_PX, DEFAULT_SIDE_PX
    try:
        with Image.open(io.BytesIO(request.references[0].content), formats=FORMATS) as picture:
            scale = min(1.0, MAX_SIDE_PX / max(picture.size))
            sides = [max(MIN_SIDE_PX, round(side * scale)) for side in picture.size]
    except (OSError, ValueError) as error:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "An input image cannot be read.") from error
    return sides[0], sides[1]


def _order(request: ProviderRequest, seed: int, size: tuple[int, int]) -> RenderOrder:
    if request.inputs and not request.references:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "A mask needs an image that it belongs to.")
    return RenderOrder(
        prompt=request.prompt,
        system_prompt=request.system_prompt,
        negative_prompt=request.negative_prompt,
        style=_choice(request, "style", ("auto", *LOOKS)),
        palette=_choice(request, "palette", PALETTES),
        detail=round(_number(request, "detail", 3, (1, MAX_DETAIL))),
        strength=_number(request, "strength", 0.6, (0, 1)),
        seed=seed,
        width_px=size[0],
        height_px=size[1],
        references=tuple(file.content for file in request.references),
        mask=request.mask.content if request.mask else None,
    )


def _choice(request: ProviderRequest, name: str, choices: tuple[str, ...]) -> str:
    value = request.parameters.get(name, "auto")
    if value not in choices:
        raise ProviderError(ErrorCode.INVALID_REQUEST, f"{name} must be one of: {', '.join(choices)}.")
    return str(value)


def _number(request: ProviderRequest, name: str, default: float, allowed: tuple[float, float]) -> float:
    value = request.parameters.get(name, default)
    low, high = allowed
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ProviderError(ErrorCode.INVALID_REQUEST, f"{name} must lie between {low} and {high}.")
    return float(value)
