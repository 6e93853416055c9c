"""What the engine's tests share: due generations of a model that a local protocol server answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from generations.engine.drain import DrainLimits
from generations.models import Generation
from prompts.models import ImageModel
from tests.generations.factories import GenerationFactory
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory
from tests.providers.serving import ProtocolServer

LIMITS = DrainLimits(linger_seconds=0.0, watch_seconds=0.1, tick_seconds=0.05)


def make_model(server: ProtocolServer, settings: Any, **fields: Any) -> ImageModel:
    """Return a catalogue entry for the server, its key in the settings as the environment would put it."""
    settings.PROVIDER_KEYS = {"TEST": server.api_key}
    values = {
        "provider": "openai",
        "endpoint": "test-model",
        "base_url": f"{server.url}/v1",
        "credential_name": "TEST",
        "parameters_schema": {},
        "default_parameters": {},
        "is_free": False,
        "price_usd": "0.04",
        "max_in_flight": 50,
        "timeout_seconds": 5,
        **fields,
    }
    model: ImageModel = ImageModelFactory(**values)
    return model


def make_due(model: ImageModel, n: int = 1, **fields: Any) -> list[Generation]:
    """Return queued generations of one version of that model."""
    version = PromptVersionFactory(image_model=model, parameters={})
    return list(GenerationFactory.create_batch(n, prompt_version=version, image_model=model, **fields))


def let_leases_lapse() -> None:
    """Leave no lease of any worker standing."""
    Generation.objects.filter(lease_expires_at__isnull=False).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )
