"""What tests of jobs share: a model of a provider with job ids, answered by a local protocol server."""

from __future__ import annotations

from typing import Any

from generations.engine.answering import Submitted
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.transitions import apply_all
from generations.engine.work import Work
from generations.models import Generation
from prompts.models import ImageModel
from tests.generations.engine_cases import LIMITS, make_due, make_model
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


def leave_job_behind(model: ImageModel) -> tuple[Generation, Work]:
    """Return a generation and the work on it of a worker that goes no further than noting the job's id.

    The provider has made the job's pictures, and got a single order for them.
    """
    [ended] = make_due(model)
    drain(LIMITS)
    [generation] = make_due(model)
    [work] = claim_batch(worker="dead", capacity=1)
    apply_all([Submitted(work, ended.attempts.get().provider_job_id)])
    return generation, work
