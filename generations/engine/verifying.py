"""Ask a provider's adapter whether a webhook is the provider's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import cast

from asgiref.sync import async_to_sync

from generations.engine.calling import open_provider, open_session
from generations.engine.claiming import to_model_spec
from generations.engine.work import ModelSpec
from generations.providers.base import WebhookNews, WebhookProvider, WebhookRefusedError
from prompts.models import ImageModel


def verify_webhook(model: ImageModel, *, headers: Mapping[str, str], body: bytes) -> WebhookNews:
    """Return what a webhook for a call of this model tells.

    Raises:
        WebhookRefusedError: It is not the provider's, is too old, or the provider sends none.
        ProviderError: What it must be verified with could not be fetched.
    """
    return async_to_sync(_verify)(to_model_spec(model), headers, body)


async def _verify(model: ModelSpec, headers: Mapping[str, str], body: bytes) -> WebhookNews:
    async with open_session(model) as session:
        adapter = open_provider(model, session)
        if not adapter.capabilities.webhooks:
            raise WebhookRefusedError("The provider sends no webhooks.")
        return await cast("WebhookProvider", adapter).read_webhook(
            headers=headers, body=body, now=time.time()
        )
