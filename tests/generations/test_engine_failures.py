"""What goes wrong is classed once, repeated only where that is harmless, and always told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.drain import drain
from generations.models import Attempt, Generation
from tests.generations.engine_cases import LIMITS, make_due, make_model
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = pytest.mark.django_db


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("moderation_blocked", ErrorCode.REFUSED),
        ("insufficient_quota", ErrorCode.QUOTA_EXHAUSTED),
        ("truncated_image", ErrorCode.BAD_OUTPUT),
        ("html", ErrorCode.BAD_OUTPUT),
        ("reset_mid_body", ErrorCode.OUTCOME_UNKNOWN),
    ],
)
def test_what_may_not_be_repeated_fails_at_once(
    server: OpenAIServer, settings: Any, fault: str, code: str
) -> None:
    server.behaviour.fault = fault
    [generation] = make_due(make_model(server, settings, timeout_seconds=2))

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, code)
    assert generation.error_message
    assert generation.finished_at is not None
    assert generation.attempts.count() == 1
    assert not generation.outputs.exists()


@pytest.mark.parametrize("fault", ["rate_limit", "server_error"])
def test_a_passing_fault_is_repeated_later(server: OpenAIServer, settings: Any, fault: str) -> None:
    server.behaviour.fault = fault
    [generation] = make_due(make_model(server, settings))

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.QUEUED
    assert generation.due_at > timezone.now() or server.behaviour.fault == "server_error"
    assert {attempt.state for attempt in generation.attempts.all()} == {AttemptState.FAILED}


def test_a_repeated_call_that_succeeds_leaves_no_error(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "server_error"
    server.behaviour.first = 1
    [generation] = make_due(make_model(server, settings))
    drain(LIMITS)
    Generation.objects.update(due_at=timezone.now())

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.COMPLETED, "")
    assert list(generation.attempts.order_by("number").values_list("number", "state")) == [
        (1, AttemptState.FAILED),
        (2, AttemptState.SUCCEEDED),
    ]


def test_attempts_end_at_the_models_limit(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "server_error"
    [generation] = make_due(make_model(server, settings, max_attempts=2))

    for _ in range(2):
        Generation.objects.update(due_at=timezone.now())
        drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.PROVIDER_UNAVAILABLE)
    assert generation.attempts.count() == 2


def test_a_lost_answer_is_not_asked_for_again(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "reset_mid_body"
    [generation] = make_due(make_model(server, settings))

    drain(LIMITS)
    drain(LIMITS)

    assert Attempt.objects.get(generation=generation).state == AttemptState.UNKNOWN
    assert len(server.requests) == 1


def test_a_model_may_say_that_lost_answers_are_asked_for_again(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "reset_mid_body"
    [generation] = make_due(make_model(server, settings, repeats_unknown=True))

    drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.QUEUED


def test_a_missing_key_is_told_by_its_name(server: OpenAIServer, settings: Any) -> None:
    [generation] = make_due(make_model(server, settings, credential_name="ABSENT"))

    drain(LIMITS)

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.CONFIGURATION)
    assert "MAYAGEN_PROVIDER_KEY_ABSENT" in generation.provider_message
    assert not server.requests


def test_the_key_is_in_no_row(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.fault = "moderation_blocked"
    [generation] = make_due(make_model(server, settings))

    drain(LIMITS)

    generation.refresh_from_db()
    attempt = generation.attempts.get()
    texts = [generation.provider_message, attempt.provider_message, str(attempt.provider_metadata)]
    assert server.api_key not in "".join(texts)
