"""A request in the words of Replicate's models, whose field names an image model's options may change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from generations.providers.base import ErrorCode, InputFile, ProviderError, ProviderRequest
from generations.providers.inputs import check_images, nearest_ratio, text_fields
from generations.providers.masks import to_white_png

_FIELDS: Final[Mapping[str, str]] = {
    "prompt_field": "prompt",
    "negative_prompt_field": "negative_prompt",
    "seed_field": "seed",
    "count_field": "num_outputs",
    "image_field": "image",
    "mask_field": "mask",
}

PlaceFile = Callable[[InputFile], Awaitable[str]]


def field_name(options: Mapping[str, Any], option: str) -> str:
    """Return what the model calls this field; empty when it has none."""
    return str(options.get(option, _FIELDS[option]) or "")


async def write_input(
    request: ProviderRequest, options: Mapping[str, Any], *, place_file: PlaceFile
) -> dict[str, Any]:
    """Return the `input` of a prediction.

    Args:
        place_file: Returns the address, or data URI, that stands for a file.

    Raises:
        ProviderError: With code `invalid_request`, for what the model has no field for.
    """
    fields = _text_fields(request, options)
    if not request.inputs:
        return fields
    image_field, is_list = _image_field(options)
    mask_field = field_name(options, "mask_field")
    check_images(request, image_field=image_field, is_list=is_list, mask_field=mask_field)
    images = [await place_file(file) for file in request.references]
    fields[image_field] = images if is_list else images[0]
    if request.mask is not None:
        content = await asyncio.to_thread(to_white_png, request.mask.content)
        fields[mask_field] = await place_file(InputFile("mask", content, "image/png"))
    return fields


def _image_field(options: Mapping[str, Any]) -> tuple[str, bool]:
    """The field's name, and whether it takes a list: a plural does, and whatever is written as `name[]`."""
    name = field_name(options, "image_field")
    return name.removesuffix("[]"), name.endswith(("[]", "s"))


def _text_fields(request: ProviderRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    own, name_of = {_image_field(options)[0]}, partial(field_name, options)
    return text_fields(request, name_of=name_of, own=own, size=_size_fields(request, options))


def _size_fields(request: ProviderRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    width, height = request.width_px, request.height_px
    if not width or not height:
        return {}
    match options.get("size_as", "width_height"):
        case "width_height":
            return {"width": width, "height": height}
        case "aspect_ratio":
            return {"aspect_ratio": nearest_ratio(width, height)}
        case "nothing":
            return {}
    raise ProviderError(ErrorCode.CONFIGURATION, "size_as must be width_height, aspect_ratio or nothing.")
