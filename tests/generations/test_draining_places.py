"""Real processes: in a cluster all workers but one may drain, and what is due is generated all the same."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from accounts.models import User
from generations.choices import ImportState, Status
from generations.engine.draining_places import DrainingPlaces
from generations.models import DatasetImport, Generation, OutputImage
from generations.waking import wake_engine
from prompts.models import ImageModel
from tests.generations.engine_cases import make_due, make_model
from tests.generations.engine_processes import running_queue, wait_until
from tests.generations.factories import make_png
from tests.generations.import_cases import upload
from tests.providers.openai_server import OpenAIServer, running_server

FORKING = get_context("fork")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def places() -> DrainingPlaces:
    """Those of a cluster of two workers, so one."""
    return share(2)


def share(n_workers: int) -> DrainingPlaces:
    places = DrainingPlaces()
    places.share(n_workers=n_workers)
    return places


class Worker:
    """A process of the cluster that is forked from the test's."""

    def __init__(self, places: DrainingPlaces) -> None:
        self._ours, theirs = FORKING.Pipe()
        self._process = FORKING.Process(target=_work, args=(places, theirs))
        self._process.start()
        self.pid = self._process.pid or 0

    def ask(self, what: str) -> Any:
        """Have it do something, and return what it says."""
        self._ours.send(what)
        assert self._ours.poll(10), what
        return self._ours.recv()

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _work(places: DrainingPlaces, channel: Connection) -> None:
    place = None
    while True:
        match channel.recv():
            case "take":
                place = places.take()
                channel.send(place is not None)
            case "give back":
                assert place is not None
                place.close()
                channel.send(True)
            case "fork":
                child_id = os.fork()
                if child_id == 0:
                    time.sleep(60)
                    os._exit(0)
                channel.send(child_id)


@contextmanager
def working(places: DrainingPlaces, n: int = 1) -> Iterator[list[Worker]]:
    workers = [Worker(places) for _ in range(n)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()


@pytest.mark.parametrize(("n_workers", "n_places"), [(1, 1), (2, 1), (3, 2), (4, 3)])
def test_all_workers_but_one_may_drain(n_workers: int, n_places: int) -> None:
    with working(share(n_workers), n_workers) as workers:
        assert sum(worker.ask("take") for worker in workers) == n_places


def test_a_place_that_is_given_back_is_taken_by_the_next(places: DrainingPlaces) -> None:
    with working(places, 2) as [holder, other]:
        assert holder.ask("take")
        assert not other.ask("take")

        holder.ask("give back")

        assert other.ask("take")
        assert not holder.ask("take")


def test_two_clusters_share_no_places(places: DrainingPlaces) -> None:
    with working(places) as [one], working(share(2)) as [another]:
        assert one.ask("take")
        assert another.ask("take")


def test_a_killed_worker_leaves_its_place(places: DrainingPlaces) -> None:
    with working(places, 2) as [holder, other]:
        assert holder.ask("take")
        holder.kill()

        assert other.ask("take")


def test_what_a_worker_has_forked_does_not_keep_its_place(places: DrainingPlaces) -> None:
    with working(places, 2) as [holder, other]:
        assert holder.ask("take")
        child_id = holder.ask("fork")
        try:
            holder.kill()

            assert other.ask("take")
            os.kill(child_id, 0)
        finally:
            os.kill(child_id, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frozen_worker_keeps_nobody_from_draining(places: DrainingPlaces) -> None:
    with working(places, 3) as [holder, second, third]:
        assert holder.ask("take")
        os.kill(holder.pid, signal.SIGSTOP)
        wait_until(lambda: " T " in Path(f"/proc/{holder.pid}/stat").read_text(), "it stands still")

        assert second.ask("take")
        assert not third.ask("take")

        os.kill(holder.pid, signal.SIGCONT)
        second.ask("give back")
        assert holder.ask("give back")
        assert third.ask("take")
        assert not second.ask("take")


def test_without_a_file_for_its_places_a_cluster_drains_without_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    with working(share(2), 2) as workers:
        assert all(worker.ask("take") for worker in workers)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_other_tasks_are_done_while_drains_last_long(
    server: OpenAIServer, settings: Any, tmp_path: Path, admin: User
) -> None:
    server.behaviour.delay_seconds = 4.0
    make_due(make_model(server, settings, max_in_flight=1, timeout_seconds=30), 4)
    for _ in range(4):
        wake_engine()

    with running_queue(tmp_path, api_key=server.api_key, n_workers=2):
        wait_until(lambda: server.requests, "the first call")
        dataset_import = upload(admin)
        wait_until(
            lambda: DatasetImport.objects.get(pk=dataset_import.pk).state == ImportState.CHECKED,
            "the import",
        )
        assert Generation.objects.filter(status=Status.QUEUED).exists()
        wait_until(lambda: Generation.objects.filter(status=Status.COMPLETED).count() == 4, "the generations")
    assert server.max_in_flight == 1


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_what_is_queued_while_a_drain_ends_is_soon_taken_up(settings: Any, tmp_path: Path) -> None:
    # Its copies take a while, which is when the drain claims nothing any more.
    picture = make_png(width=8000, height=5000)
    with running_server(OpenAIServer(picture=picture)) as server:
        model = make_model(server, settings, timeout_seconds=30)
        with running_queue(tmp_path, api_key=server.api_key, n_workers=2):
            waits = []
            for n in range(8):
                waits.append(_measure_wait(model))
                # At several moments of the drain's end.
                time.sleep(0.2 * n)
    # The first one waits for the cluster to start; without a message, any other would wait for 15 s.
    assert max(waits[1:]) < 10, waits


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_what_is_queued_while_many_copies_are_made_does_not_wait_for_them(
    settings: Any, tmp_path: Path
) -> None:
    with running_server(OpenAIServer(picture=make_png(width=8000, height=5000))) as server:
        model = make_model(server, settings, timeout_seconds=30)
        make_due(model, 30)
        wake_engine()
        with running_queue(tmp_path, api_key=server.api_key, n_workers=2):
            completed = Generation.objects.filter(status=Status.COMPLETED)
            wait_until(lambda: completed.count() == 30, "the first generations")
            # By then the drain looks for nothing more.
            time.sleep(1.0)
            assert _measure_wait(model) < 10
            assert OutputImage.objects.unprepared().exists()


def _measure_wait(model: ImageModel) -> float:
    began = time.monotonic()
    [generation] = make_due(model)
    wake_engine()
    completed = Generation.objects.filter(pk=generation.pk, status=Status.COMPLETED)
    wait_until(completed.exists, "the generation")
    return time.monotonic() - began
