"""Due generations become images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.storage import default_storage

from generations.choices import AttemptState, Priority, Status
from generations.engine.drain import drain
from generations.models import Attempt, Generation
from tests.generations.engine_cases import LIMITS, make_due, make_model
from tests.generations.factories import InputImageFactory
from tests.generations.import_cases import watch_storage
from tests.prompts.factories import ImageModelFactory
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def test_a_due_generation_completes_with_its_image_on_disk(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings))

    tally = drain(LIMITS)

    generation.refresh_from_db()
    output = generation.outputs.get()
    assert tally.n_completed == 1
    assert generation.status == Status.COMPLETED
    assert generation.finished_at is not None
    assert generation.duration_ms is not None
    assert generation.cost_usd == Decimal("0.04")
    assert default_storage.size(str(output.file)) == output.size_bytes
    assert (output.width_px, output.height_px, output.mime_type) == (512, 512, "image/png")
    assert len(output.sha256) == 64


def test_the_copies_of_an_output_are_made_in_the_same_drain(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings))

    drain(LIMITS)

    output = generation.outputs.get()
    for copy in (output.thumbnail, output.small_thumbnail, output.blind):
        assert default_storage.exists(str(copy))


def test_each_call_has_an_attempt_with_its_own_idempotency_key(server: OpenAIServer, settings: Any) -> None:
    generations = make_due(make_model(server, settings), 3)

    drain(LIMITS)

    attempts = Attempt.objects.filter(generation__in=generations)
    assert {attempt.state for attempt in attempts} == {AttemptState.SUCCEEDED}
    assert {attempt.idempotency_key for attempt in attempts} == {f"{row.id}-1" for row in generations}
    assert all(attempt.answered_at for attempt in attempts)


def test_many_calls_are_in_flight_at_once_but_no_more_than_the_model_allows(
    server: OpenAIServer, settings: Any
) -> None:
    server.behaviour.delay_seconds = 0.2
    make_due(make_model(server, settings, max_in_flight=7), 21)

    tally = drain(LIMITS)

    assert tally.n_completed == 21
    assert server.max_in_flight == 7


def test_a_slow_storage_holds_the_calls_back(server: OpenAIServer, settings: Any) -> None:
    ahead: list[int] = []

    def store_slowly(name: str) -> None:
        if name.startswith("outputs/"):
            ahead.append(server.n_requests - len(ahead))
            time.sleep(0.15)

    watch_storage(settings, store_slowly)
    make_due(make_model(server, settings), 24)

    tally = drain(replace(LIMITS, max_in_flight=4, max_unstored=4))

    assert tally.n_completed == 24
    assert max(ahead) <= 4 + 4


def test_several_outputs_keep_their_order_and_cost_their_number(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings, max_outputs=3), n_outputs=3)

    drain(LIMITS)

    generation.refresh_from_db()
    assert [output.position for output in generation.outputs.order_by("position")] == [0, 1, 2]
    assert generation.cost_usd == Decimal("0.12")


def test_fewer_outputs_than_asked_for_complete_with_a_warning(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.n_delivered = 1
    [generation] = make_due(make_model(server, settings, max_outputs=2), n_outputs=2)

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.COMPLETED
    assert generation.warning


def test_an_edit_sends_its_input_images(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings, kind="image_edit", max_inputs=2))
    InputImageFactory(generation=generation)

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.COMPLETED
    assert [seen.path for seen in server.requests] == ["/v1/images/edits"]


def test_the_embedded_renderer_gives_the_same_bytes_for_the_same_seed() -> None:
    model = ImageModelFactory(parameters_schema={}, default_parameters={})
    first, second = make_due(model, 2, seed=7, width_px=128, height_px=128)

    drain(LIMITS)

    assert first.outputs.get().sha256 == second.outputs.get().sha256


def test_higher_priority_goes_first(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings, max_in_flight=1)
    low, high = make_due(model, priority=Priority.LOW), make_due(model, priority=Priority.HIGH)

    drain(LIMITS)

    first_started = Generation.objects.order_by("started_at").values_list("id", flat=True)
    assert list(first_started) == [high[0].id, low[0].id]


def test_a_model_with_a_rate_is_not_asked_faster(server: OpenAIServer, settings: Any) -> None:
    make_due(make_model(server, settings, rate_per_minute=120), 5)

    tally = drain(LIMITS)

    started = list(Attempt.objects.order_by("started_at").values_list("started_at", flat=True))
    assert tally.n_completed == 5
    # A burst of two, then one each half second.
    assert (started[-1] - started[0]).total_seconds() > 1.2


def test_a_drain_with_nothing_due_does_nothing() -> None:
    assert drain(LIMITS).n_claimed == 0
