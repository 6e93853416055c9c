"""What the engine's tests share: due generations of a model that a local protocol server answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import OperationalError, connections
from django.utils import timezone

from accounts.models import User
from generations.choices import AttemptState
from generations.engine.drain import DrainLimits, drain
from generations.models import Attempt, Generation
from generations.services.runs import cancel_generation
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


def drain_while_cancelling(
    generation: Generation, actor: User, *, is_time: Callable[[], bool] = lambda: True
) -> None:
    """Drain, and have the generation cancelled once its job is submitted and it is time."""
    cancelling = _when(
        lambda: Attempt.objects.filter(state=AttemptState.SUBMITTED).exists() and is_time(),
        lambda: cancel_generation(actor=actor, generation=generation),
    )
    drain(LIMITS)
    cancelling.join()


def _when(is_time: Callable[[], bool], act: Callable[[], object]) -> threading.Thread:
    """Do it as soon as it is time; the tests' SQLite refuses who comes while another writes."""

    def has_done() -> bool:
        try:
            return is_time() and bool(act() or True)
        except OperationalError:
            return False

    def run() -> None:
        while not has_done():
            time.sleep(0.02)
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
