"""What the adapter of a catalogue entry can do, known without calling anybody."""

from __future__ import annotations

from typing import cast

import aiohttp
from django.conf import settings

from generations.providers.base import Capabilities, ProviderConfig, ProviderError
from generations.providers.registry import UnknownProviderError, create_provider
from prompts.models import ImageModel


def get_capabilities(model: ImageModel) -> Capabilities:
    """Return what the model's adapter can do; nothing, when there is no such adapter."""
    config = ProviderConfig(
        base_url=model.base_url, api_key="-", options=model.provider_options, endpoint=model.endpoint
    )
    try:
        # An adapter calls nobody while it is made, so it needs no session yet.
        return create_provider(model.provider, config, cast(aiohttp.ClientSession, None)).capabilities
    except (UnknownProviderError, ProviderError):
        return Capabilities()


def is_harmless_to_repeat(model: ImageModel) -> bool:
    """Return whether a call whose outcome is unknown may be made again under the same idempotency key."""
    return model.repeats_unknown or model.is_free or get_capabilities(model).idempotency_keys


def is_unkeyed(model: ImageModel) -> bool:
    """Return whether the death of a worker leaves the outcome of the model's calls unknown for good."""
    return not get_capabilities(model).job_ids and not is_harmless_to_repeat(model)


def expects_webhooks(capabilities: Capabilities) -> bool:
    """Return whether the provider tells us when a job has ended."""
    return capabilities.webhooks and bool(settings.PUBLIC_URL)
