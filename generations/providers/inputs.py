"""What the words of many image models have in common, whose fields an image model's options may rename."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from generations.providers.base import ErrorCode, InputFile, ProviderError, ProviderRequest

_RATIOS: Final = ("21:9", "16:9", "3:2", "4:3", "5:4", "1:1", "4:5", "3:4", "2:3", "9:16", "9:21")


def compose_prompt(request: ProviderRequest) -> str:
    """Return the one text that stands for the system prompt, the prompt and the negative prompt."""
    parts = [request.system_prompt.strip(), request.prompt.strip()]
    if request.negative_prompt.strip():
        parts.append(f"Avoid: {request.negative_prompt.strip()}")
    return "\n\n".join(part for part in parts if part)


def prompt_fields(request: ProviderRequest, *, prompt_field: str, negative_field: str) -> dict[str, str]:
    """Return the prompts; where there is no field for the negative one, it is written into the other."""
    if not negative_field or not request.negative_prompt.strip():
        return {prompt_field: compose_prompt(request)}
    parts = [request.system_prompt.strip(), request.prompt.strip()]
    return {
        prompt_field: "\n\n".join(part for part in parts if part),
        negative_field: request.negative_prompt.strip(),
    }


def text_fields(
    request: ProviderRequest, *, name_of: Callable[[str], str], own: Collection[str], size: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all but the images, in the model's words; what people chose as parameters goes before our own.

    Args:
        name_of: What the model calls the field of an option such as `seed_field`; empty when it has none.
        own: Fields that no parameter may set.
        size: The fields that tell the size.

    Raises:
        ProviderError: With code `invalid_request`, when more images are wanted than the model makes.
    """
    ours = {name_of(option) for option in ("prompt_field", "count_field", "mask_field")}.union(own)
    fields = {name: value for name, value in request.parameters.items() if name not in ours}
    for name, value in size.items():
        fields.setdefault(name, value)
    seed_field = name_of("seed_field")
    if request.seed is not None and seed_field:
        fields.setdefault(seed_field, request.seed)
    prompt_field, negative_field = name_of("prompt_field"), name_of("negative_prompt_field")
    fields.update(prompt_fields(request, prompt_field=prompt_field, negative_field=negative_field))
    count_field = name_of("count_field")
    if request.n_outputs > 1 and not count_field:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "The model makes one image at a time.")
    if request.n_outputs > 1:
        fields[count_field] = request.n_outputs
    return fields


def check_images(request: ProviderRequest, *, image_field: str, is_list: bool, mask_field: str) -> None:
    """Check that the model has a field for each image of the request, and that there is one to work on.

    Raises:
        ProviderError: With code `invalid_request`, if not.
    """
    if not request.references:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "An edit needs at least one input image.")
    if not image_field:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "The model takes no input image.")
    if len(request.references) > 1 and not is_list:
        raise ProviderError(ErrorCode.INVALID_REQUEST, f"The model takes one input image ({image_field}).")
    if request.mask is not None and not mask_field:
        raise ProviderError(ErrorCode.INVALID_REQUEST, "The model takes no mask.")


def nearest_ratio(width: int, height: int) -> str:
    """Return the ratio by name that lies nearest; models that take names know no others."""

    def distance(ratio: str) -> float:
        across, down = (int(part) for part in ratio.split(":"))
        wanted, offered = width * down, height * across
        return max(wanted, offered) / min(wanted, offered)

    return min(_RATIOS, key=distance)


def to_data_uri(file: InputFile) -> str:
    """Return the file as a text that stands where an address may."""
    return f"data:{file.mime_type};base64,{base64.b64encode(file.content).decode()}"
