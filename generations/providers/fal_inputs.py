"""A request in the words of fal's image models, whose field names an image model's options may change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from generations.providers.base import ErrorCode, InputFile, ProviderError, ProviderRequest
from generations.providers.inputs import check_images, nearest_ratio, text_fields, to_data_uri
from generations.providers.masks import to_white_png

_FIELDS: Final[Mapping[str, str]] = {
    "prompt_field": "prompt",
    "negative_prompt_field": "",
    "seed_field": "seed",
    "count_field": "num_images",
    "size_field": "image_size",
    "mask_field": "mask_url",
}


def field_name(options: Mapping[str, Any], option: str) -> str:
    """Return what the model calls this field; empty when it has none."""
    return str(options.get(option, _FIELDS[option]) or "")


async def write_body(request: ProviderRequest, options: Mapping[str, Any]) -> bytes:
    """Return the JSON of an order, with input images and mask inside it as data URIs.

    Raises:
        ProviderError: With code `invalid_request`, for inputs that the model has no field for.
    """
    fields = _text_fields(request, options)
    if not request.inputs:
        return json.dumps(fields).encode()
    image_field = str(options.get("image_field") or _usual_image_field(request))
    mask_field = field_name(options, "mask_field")
    # A field whose name is a plural takes a list, as `image_urls` does.
    is_list = image_field.endswith("s")
    check_images(request, image_field=image_field, is_list=is_list, mask_field=mask_field)

    def encode() -> bytes:
        images = [to_data_uri(file) for file in request.references]
        fields[image_field] = images if is_list else images[0]
        if request.mask is not None:
            fields[mask_field] = to_data_uri(
                InputFile("mask", to_white_png(request.mask.content), "image/png")
            )
        return json.dumps(fields).encode()

    return await asyncio.to_thread(encode)


def _text_fields(request: ProviderRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    # Inline outputs would be kept nowhere at the provider: what is lost on the way would be lost for good.
    own = {"sync_mode", "image_url", "image_urls", str(options.get("image_field") or "")}
    name_of = partial(field_name, options)
    return text_fields(request, name_of=name_of, own=own, size=_size_fields(request, options))


def _size_fields(request: ProviderRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    width, height = request.width_px, request.height_px
    if not width or not height:
        return {}
    name = field_name(options, "size_field")
    match options.get("size_as", "pixels"):
        case "pixels":
            return {name: {"width": width, "height": height}} if name else {}
        case "aspect_ratio":
            return {"aspect_ratio": nearest_ratio(width, height)}
        case "width_height":
            return {"width": width, "height": height}
        case "nothing":
            return {}
    raise ProviderError(
        ErrorCode.CONFIGURATION, "size_as must be pixels, aspect_ratio, width_height or nothing."
    )


def _usual_image_field(request: ProviderRequest) -> str:
    return "image_url" if len(request.references) == 1 else "image_urls"
