"""Real processes: one that was frozen past its lease neither submits nor writes, and limits hold for all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine.driving import SURE_SECONDS
from generations.engine.recovering import recover_abandoned
from generations.models import Attempt, Generation, OutputImage
from generations.waking import wake_engine
from tests.generations.engine_cases import let_leases_lapse, make_due, make_model
from tests.generations.engine_processes import running_drain, running_queue, wait_until
from tests.generations.factories import InputImageFactory
from tests.providers.openai_server import OpenAIServer, running_server

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: " T " in Path(f"/proc/{process.pid}/stat").read_text(), "the process stands still")


def _hold_inputs(generation: Generation) -> tuple[str, bytes]:
    """Put a pipe in the place of the input image: who reads it waits, after its claim and before its call."""
    path = default_storage.path(str(InputImageFactory(generation=generation).file))
    content = Path(path).read_bytes()
    Path(path).unlink()
    os.mkfifo(path)
    return path, content


@pytest.mark.parametrize("is_taken_up", [True, False])
def test_a_process_frozen_before_its_call_does_not_submit(
    server: OpenAIServer, settings: Any, tmp_path: Path, is_taken_up: bool
) -> None:
    [generation] = make_due(make_model(server, settings, kind="image_edit", max_inputs=2))
    pipe, content = _hold_inputs(generation)

    with running_drain(tmp_path, api_key=server.api_key) as process:
        wait_until(Attempt.objects.exists, "the claim")
        _stop(process)
        claimed_fence = Generation.objects.get().fence
        let_leases_lapse()
        if is_taken_up:
            recover_abandoned()
        time.sleep(SURE_SECONDS + 0.2)
        # Whatever it would do now comes too late, so nothing of it may be due again while we look.
        Generation.objects.filter(status=Status.QUEUED).update(due_at=timezone.now() + timedelta(hours=1))
        process.send_signal(signal.SIGCONT)
        Path(pipe).write_bytes(content)
        if is_taken_up:
            wait_until(lambda: process.poll() is not None, "the end of the drain")
        else:
            # It may be claimed again within the moment that it is queued.
            wait_until(
                lambda: Generation.objects.filter(fence__gt=claimed_fence).exists(),
                "the lease was given back",
            )

    generation.refresh_from_db()
    if is_taken_up:
        assert not server.requests
        assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.OUTCOME_UNKNOWN)
    else:
        assert Attempt.objects.get().number == 1


def test_a_process_frozen_in_its_call_writes_nothing_afterwards(
    server: OpenAIServer, settings: Any, tmp_path: Path
) -> None:
    server.behaviour.delay_seconds = 0.5
    [generation] = make_due(make_model(server, settings))

    with running_drain(tmp_path, api_key=server.api_key) as process:
        wait_until(lambda: server.requests, "the call")
        _stop(process)
        let_leases_lapse()
        recover_abandoned()
        process.send_signal(signal.SIGCONT)
        wait_until(lambda: process.poll() is not None, "the end of the drain")

    generation.refresh_from_db()
    assert (generation.status, generation.error_code) == (Status.FAILED, ErrorCode.OUTCOME_UNKNOWN)
    assert generation.attempts.get().state == AttemptState.UNKNOWN
    assert not generation.outputs.exists()
    assert len(server.requests) == 1


def test_several_processes_never_exceed_a_models_places(
    server: OpenAIServer, settings: Any, tmp_path: Path
) -> None:
    server.behaviour.delay_seconds = 0.2
    make_due(make_model(server, settings, max_in_flight=6), 48)

    with ExitStack() as stack:
        processes = [stack.enter_context(running_drain(tmp_path, api_key=server.api_key)) for _ in range(3)]
        wait_until(lambda: all(process.poll() is not None for process in processes), "the end of the drains")

    assert Generation.objects.filter(status=Status.COMPLETED).count() == 48
    assert server.max_in_flight <= 6
    assert len(server.requests) == 48
    assert Attempt.objects.values("worker").distinct().count() > 1


def test_a_killed_process_is_followed_by_one_that_takes_up_its_work(
    server: OpenAIServer, settings: Any, tmp_path: Path
) -> None:
    server.behaviour.delay_seconds = 0.5
    make_due(make_model(server, settings, repeats_unknown=True, max_in_flight=4), 8)
    with running_drain(tmp_path, api_key=server.api_key) as process:
        wait_until(lambda: len(server.requests) == 4, "four calls")
        process.kill()
        process.wait()
    let_leases_lapse()

    with running_drain(tmp_path, api_key=server.api_key) as process:
        wait_until(lambda: process.poll() is not None, "the end of the drain")

    assert Generation.objects.filter(status=Status.COMPLETED).count() == 8
    assert Attempt.objects.count() == 8


def test_a_stopping_cluster_waits_for_its_calls_and_leaves_nothing_unknown(
    server: OpenAIServer, settings: Any, tmp_path: Path
) -> None:
    server.behaviour.delay_seconds = 3.0
    make_due(make_model(server, settings, max_in_flight=4, timeout_seconds=30), 40)
    wake_engine()

    with running_queue(tmp_path, api_key=server.api_key) as process:
        wait_until(lambda: len(server.requests) >= 4, "the first calls")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "the end of the cluster")

    statuses = set(Generation.objects.values_list("status", flat=True))
    assert statuses == {Status.COMPLETED, Status.QUEUED}
    assert Generation.objects.filter(status=Status.COMPLETED).count() == len(server.requests)
    assert not Attempt.objects.in_flight().exists()


def test_a_stopping_cluster_leaves_the_copies_that_are_still_to_be_made(
    server: OpenAIServer, settings: Any, tmp_path: Path
) -> None:
    make_due(make_model(server, settings, repeats_unknown=True, max_in_flight=300), 300)
    wake_engine()

    with running_queue(tmp_path, api_key=server.api_key) as process:
        wait_until(lambda: Generation.objects.filter(status=Status.COMPLETED).count() > 100, "many images")
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: process.poll() is not None, "the end of the cluster")

    assert not Attempt.objects.in_flight().exists()
    assert OutputImage.objects.unprepared().exists()
