"""What tests of jobs share: a model of a provider with job ids, answered by a local protocol server."""

from __future__ import annotations

from typing import Any

from prompts.models import ImageModel
from tests.generations.engine_cases import make_model
from tests.providers.fal_server import FalServer


def make_job_model(server: FalServer, settings: Any, **fields: Any) -> ImageModel:
    """Return a catalogue entry for a server that hands out job ids."""
    values = {
        "provider": "fal",
        "endpoint": "fal-ai/flux/dev",
        "base_url": server.url,
        "provider_options": {"jwks_url": server.jwks_url},
        "timeout_seconds": 20,
        **fields,
    }
    return make_model(server, settings, **values)
