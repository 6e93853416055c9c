"""What one claim asks of the database, and what it hands on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from generations.engine.claiming import claim_batch
from generations.models import Attempt
from tests.generations.engine_cases import make_due, make_model
from tests.generations.factories import InputImageFactory
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def test_a_claim_takes_as_many_statements_for_one_as_for_many(server: OpenAIServer, settings: Any) -> None:
    make_due(make_model(server, settings), 20)

    with CaptureQueriesContext(connection) as for_one:
        assert len(claim_batch(worker="w", capacity=1)) == 1
    with CaptureQueriesContext(connection) as for_many:
        assert len(claim_batch(worker="w", capacity=12)) == 12

    assert len(for_many) == len(for_one)


def test_a_claim_hands_on_the_inputs_and_the_attempt_that_it_has_committed(
    server: OpenAIServer, settings: Any
) -> None:
    first, second = make_due(make_model(server, settings), 2)
    images = [InputImageFactory(generation=second, position=position) for position in (1, 0)]

    works = {work.generation_id: work for work in claim_batch(worker="w", capacity=5)}

    assert works[first.pk].inputs == ()
    assert [each.name for each in works[second.pk].inputs] == [str(image.file) for image in images[::-1]]
    for work in works.values():
        attempt = Attempt.objects.get(generation=work.generation_id)
        assert (attempt.pk, attempt.number) == (work.attempt_id, work.attempt_number) == (attempt.pk, 1)
        assert (attempt.fence, attempt.worker) == (work.fence, "w")
        assert attempt.idempotency_key == work.idempotency_key
