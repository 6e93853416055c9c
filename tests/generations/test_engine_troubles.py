"""A lost answer, a broken connection, a neighbour that stands still: nothing is lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from generations.choices import AttemptState, ErrorCode, Status
from generations.engine import storing
from generations.engine.answering import Answered
from generations.engine.claiming import claim_batch
from generations.engine.drain import drain
from generations.engine.holding import give_back_unheard
from generations.engine.recovering import close_cancelled_attempts, recover_abandoned
from generations.engine.transitions import Completed, Prepared, apply_all
from generations.engine.work import Work
from generations.image_files import store_copies
from generations.models import Attempt, Generation, OutputImage
from generations.services.recounting import list_drift
from generations.services.runs import cancel_run
from tests.accounts.factories import UserFactory
from tests.generations.engine_cases import LIMITS, let_leases_lapse, make_due, make_model
from tests.generations.factories import make_stored_files
from tests.generations.money_cases import PRICE, launch, make_paid_version
from tests.providers.openai_server import OpenAIServer, running_server


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


def _claim_one() -> Work:
    launch(UserFactory(role="admin"), make_paid_version())
    [work] = claim_batch(worker="w", capacity=1)
    return work


@pytest.mark.django_db
def test_an_answer_written_twice_is_still_this_workers() -> None:
    answered = Answered(_claim_one(), 10, PRICE, "", {})

    assert apply_all([answered]) == apply_all([answered]) == [True]
    assert Attempt.objects.get().state == AttemptState.SUCCEEDED


@pytest.mark.django_db
def test_an_answer_is_refused_once_somebody_else_has_the_generation() -> None:
    answered = Answered(_claim_one(), 10, PRICE, "", {})
    apply_all([answered])
    let_leases_lapse()
    recover_abandoned()

    assert apply_all([answered]) == [False]


@pytest.mark.django_db
def test_a_result_written_twice_keeps_its_files_and_is_booked_once() -> None:
    work = _claim_one()
    image = OutputImage(generation_id=work.generation_id, **make_stored_files(1).as_fields())
    completed = Completed(work, [image], 10, PRICE)

    assert apply_all([completed]) == apply_all([completed]) == [True]
    assert OutputImage.objects.count() == 1
    assert list_drift() == []


@pytest.mark.django_db
def test_copies_written_twice_are_still_this_workers() -> None:
    work, files = _claim_one(), make_stored_files(1)
    image = OutputImage(
        generation_id=work.generation_id, **{**files.as_fields(), "thumbnail": "", "blind": ""}
    )
    apply_all([Completed(work, [image], 10, PRICE)])
    ours, others = (Prepared(image.pk, store_copies(files.file)) for _ in range(2))

    assert apply_all([ours]) == apply_all([ours]) == [True]
    assert apply_all([others]) == [False]
    image.refresh_from_db()
    assert default_storage.exists(str(image.blind))


def _connect_beside() -> psycopg.Connection[Any]:
    values = connection.settings_dict
    return psycopg.connect(
        host=values["HOST"] or "127.0.0.1",
        port=values["PORT"] or 5432,
        user=values["USER"],
        password=values["PASSWORD"],
        dbname=values["NAME"],
    )


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("table", ["generations_generation", "generations_attempt"])
def test_what_a_frozen_worker_has_locked_holds_up_no_recovery(
    server: OpenAIServer, settings: Any, table: str
) -> None:
    make_due(make_model(server, settings), 2)
    works = claim_batch(worker="frozen", capacity=2)
    let_leases_lapse()
    locked = works[0].generation_id if table == "generations_generation" else works[0].attempt_id

    with _connect_beside() as neighbour:
        neighbour.execute(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE", [locked])  # noqa: S608 - ours
        assert recover_abandoned() == 1
        neighbour.rollback()

    assert recover_abandoned() == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_drain_outlives_its_connection_and_loses_no_call(server: OpenAIServer, settings: Any) -> None:
    server.behaviour.delay_seconds = 0.3
    make_due(make_model(server, settings, max_in_flight=4), 16)
    [[own]] = _fetch("SELECT pg_backend_pid()")
    ended = threading.Event()

    def break_connections() -> None:
        with _connect_beside() as neighbour:
            neighbour.autocommit = True
            while not ended.wait(0.25):
                neighbour.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid >= 0"
                )
                if len(server.requests) >= 12:
                    return

    breaker = threading.Thread(target=break_connections)
    breaker.start()
    try:
        drain(LIMITS)
    finally:
        ended.set()
        breaker.join()

    assert _fetch("SELECT pg_backend_pid()") != [(own,)]
    assert set(Generation.objects.values_list("status", flat=True)) == {Status.COMPLETED}
    assert len(server.requests) == 16


def _fetch(statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


@pytest.mark.django_db
def test_what_was_claimed_by_a_commit_without_an_answer_is_given_back(
    server: OpenAIServer, settings: Any
) -> None:
    make_due(make_model(server, settings), 2)
    known, unheard = claim_batch(worker="w", capacity=2)
    make_due(make_model(server, settings), 1)
    claim_batch(worker="another", capacity=1)

    assert give_back_unheard(worker="w", begun={known.attempt_id}) == 1

    queued = Generation.objects.get(status=Status.QUEUED)
    assert queued.pk == unheard.generation_id
    [again] = claim_batch(worker="next", capacity=9)
    assert (again.attempt_id, again.attempt_number) == (unheard.attempt_id, 1)


@pytest.mark.django_db
def test_what_the_storage_refuses_for_a_while_is_stored_later(
    server: OpenAIServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storing, "REFUSED_PAUSES_SECONDS", (0.3,) * 20)
    make_due(make_model(server, settings), 2)
    media = Path(settings.MEDIA_ROOT)
    # A file where the folder should be refuses everything.
    media.write_bytes(b"")

    def give_way() -> None:
        while len(server.requests) < 2:
            ended.wait(0.05)
        ended.wait(0.5)
        media.unlink()

    ended = threading.Event()
    helper = threading.Thread(target=give_way)
    helper.start()
    drain(LIMITS)
    ended.set()
    helper.join()

    assert set(Generation.objects.values_list("status", flat=True)) == {Status.COMPLETED}
    assert len(server.requests) == OutputImage.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("has_keys", [True, False])
def test_what_the_storage_refuses_for_good_is_had_again_only_where_that_is_free(
    server: OpenAIServer, settings: Any, monkeypatch: pytest.MonkeyPatch, has_keys: bool
) -> None:
    monkeypatch.setattr(storing, "REFUSED_PAUSES_SECONDS", ())
    server.behaviour.honours_keys = has_keys
    options = {"supports_idempotency_key": True} if has_keys else {}
    [generation] = make_due(make_model(server, settings, provider_options=options))
    media = Path(settings.MEDIA_ROOT)
    media.write_bytes(b"")
    drain(LIMITS)
    media.unlink()
    let_leases_lapse()
    drain(LIMITS)

    generation.refresh_from_db()
    if has_keys:
        assert generation.status == Status.COMPLETED
    else:
        assert (generation.error_code, generation.cost_usd) == (ErrorCode.OUTCOME_UNKNOWN, PRICE)
    assert server.ledger.sum_usd() == generation.cost_usd == PRICE


@pytest.mark.django_db
@pytest.mark.parametrize("refusal", ["rate_limit", "server_error", "insufficient_quota"])
def test_a_repeat_that_is_refused_says_nothing_of_the_call_that_may_have_been_carried_out(
    server: OpenAIServer, settings: Any, refusal: str
) -> None:
    server.behaviour.honours_keys = True
    model = make_model(server, settings, provider_options={"supports_idempotency_key": True})
    [generation] = make_due(model)

    # Carried out and unheard; then refused when it is asked again; then answered.
    for fault in ("reset", refusal, ""):
        server.behaviour.fault = fault
        Generation.objects.update(due_at=timezone.now())
        drain(LIMITS)

    generation.refresh_from_db()
    assert generation.status == Status.COMPLETED
    assert generation.attempts.count() == 1
    assert server.ledger.sum_usd() == PRICE


@pytest.mark.django_db
def test_a_cancelled_call_whose_worker_died_with_the_answer_is_booked(
    server: OpenAIServer, settings: Any
) -> None:
    actor = UserFactory(role="admin")
    run = launch(actor, make_paid_version())
    [work] = claim_batch(worker="dead", capacity=1)
    cancel_run(actor=actor, run=run)
    apply_all([Answered(work, 10, PRICE, "", {})])
    Generation.objects.update(lease_expires_at=timezone.now() - timedelta(hours=1))

    close_cancelled_attempts()

    generation = Generation.objects.get()
    assert (generation.reserved_usd, generation.cost_usd) == (None, PRICE)
    assert list_drift() == []


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_drain_waits_for_no_lock_for_ever(server: OpenAIServer, settings: Any) -> None:
    model = make_model(server, settings)
    make_due(model, 2)
    tries: list[logging.LogRecord] = []

    with _connect_beside() as neighbour:
        neighbour.execute("SELECT id FROM prompts_imagemodel FOR UPDATE")

        def give_way() -> None:
            while len(tries) < 2 and not ended.wait(0.05):
                pass
            neighbour.rollback()

        ended = threading.Event()
        helper = threading.Thread(target=give_way)
        helper.start()
        with _noting("generations.engine.drain", tries):
            drain(LIMITS)
        ended.set()
        helper.join()

    assert len(tries) >= 2
    assert set(Generation.objects.values_list("status", flat=True)) == {Status.COMPLETED}
    assert _fetch("SHOW lock_timeout") == [("0",)]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_answer_that_waited_for_a_recovery_is_refused(server: OpenAIServer, settings: Any) -> None:
    make_due(make_model(server, settings))
    [work] = claim_batch(worker="late", capacity=1)

    with _connect_beside() as recovery, _connect_beside() as onlooker:
        onlooker.autocommit = True
        recovery.execute("SELECT id FROM generations_attempt FOR UPDATE")
        recovery.execute("UPDATE generations_generation SET status = 'queued', fence = fence + 1")

        def commit_once_somebody_waits() -> None:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = %s"
            while onlooker.execute(waiting, [own]).fetchone() == (0,):
                ended.wait(0.02)
            recovery.commit()

        ended = threading.Event()
        [[own]] = _fetch("SELECT pg_backend_pid()")
        helper = threading.Thread(target=commit_once_somebody_waits)
        helper.start()
        written = apply_all([Answered(work, 10, PRICE, "", {})])
        helper.join()

    assert written == [False]
    assert Attempt.objects.in_flight().exists()


class _Notes(logging.Handler):
    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self._records = records

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)


@contextmanager
def _noting(name: str, records: list[logging.LogRecord]) -> Iterator[None]:
    handler, logger = _Notes(records), logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
