"""Liveness and readiness."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, default_storage
from django.db import connection
from django.test import Client
from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.status import Stat

from mayagen import health
from mayagen.common.storage import SyncedFileSystemStorage
from tests.generations.factories import GenerationFactory

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.mayagen.health_routes")]


@pytest.fixture(autouse=True)
def _fresh_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_probe", health._StorageProbe())


@pytest.fixture
def beating_cluster() -> Iterator[None]:
    """Let a cluster give its sign of life, as its guard does twice a second."""
    sentinel = SimpleNamespace(
        parent_pid=1,
        pid=2,
        cluster_id="probe",
        broker=get_broker(),
        tob=None,
        reincarnations=0,
        status=lambda: Conf.IDLE,
        monitor=None,
        pusher=None,
        pool=[SimpleNamespace(pid=3), SimpleNamespace(pid=4)],
        result_queue=SimpleNamespace(qsize=lambda: 0),
        task_queue=SimpleNamespace(qsize=lambda: 0),
    )
    Stat(sentinel).save()
    yield
    cache.clear()


def check(client: Client) -> tuple[int, dict[str, Any]]:
    response = client.get("/readyz")
    return response.status_code, response.json()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_come_by_plain_http_and_by_address(client: Client, settings: Any, path: str) -> None:
    settings.ALLOWED_HOSTS = ["mayagen.example"]
    settings.SECURE_SSL_REDIRECT = True

    response = client.get(path, headers={"host": "10.0.0.7:8000"})

    assert "status" in response.json()


def test_liveness_asks_nothing_but_the_process(client: Client) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("a query was made")

    with connection.execute_wrapper(refuse):
        response = client.get("/healthz")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert "no-store" in response["Cache-Control"]


def test_an_installation_with_everything_is_ready(client: Client, beating_cluster: None) -> None:
    GenerationFactory.create()

    status, answer = check(client)

    assert (status, answer["status"]) == (200, "ok")
    assert {name: part["status"] for name, part in answer["checks"].items()} == {
        "database": "ok",
        "queue": "ok",
        "storage": "ok",
    }
    assert answer["checks"]["queue"]["workers"] == 2
    assert 0 <= answer["checks"]["queue"]["oldest_due_s"] < 60


def test_without_a_cluster_it_is_not_ready(client: Client) -> None:
    status, answer = check(client)

    assert (status, answer["status"]) == (503, "not ready")
    assert answer["checks"]["queue"]["status"] == "failed"
    assert answer["checks"]["database"]["status"] == "ok"


def test_a_database_that_fails_is_told_without_its_words(client: Client, beating_cluster: None) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("could not connect to 10.0.0.7 with password hunter2")

    with connection.execute_wrapper(fail):
        response = client.get("/readyz")

    assert response.status_code == 503
    assert response.json()["checks"]["database"]["status"] == "failed"
    assert "hunter2" not in response.content.decode()


def test_the_probe_leaves_no_file_behind_and_is_not_repeated_at_once(
    client: Client, beating_cluster: None, settings: Any
) -> None:
    saved: list[str] = []

    class CountingStorage(SyncedFileSystemStorage):
        def _save(self, name: str, content: File[bytes]) -> str:
            saved.append(name)
            return super()._save(name, content)

    with _storage(CountingStorage(location=settings.MEDIA_ROOT)):
        assert [check(client)[0] for _ in range(3)] == [200, 200, 200]

    assert len(saved) == 1
    assert not [path for path in Path(settings.MEDIA_ROOT).rglob("*") if path.is_file()]


def test_a_storage_that_gives_back_other_bytes_is_not_ready(
    client: Client, beating_cluster: None, settings: Any
) -> None:
    class FlippingStorage(SyncedFileSystemStorage):
        def _save(self, name: str, content: File[bytes]) -> str:
            kept = super()._save(name, content)
            Path(self.path(kept)).write_bytes(b"other")
            return kept

    with _storage(FlippingStorage(location=settings.MEDIA_ROOT)):
        first, second = check(client), check(client)

    assert [first[0], second[0]] == [503, 503]
    assert first[1]["checks"]["storage"]["status"] == "failed"


def test_a_storage_that_cannot_be_written_is_not_ready(
    client: Client, beating_cluster: None, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")

    with _storage(FileSystemStorage(location=tmp_path / "file")):
        status, answer = check(client)

    assert status == 503
    assert str(tmp_path) not in str(answer)


def test_only_reading_is_allowed(client: Client) -> None:
    assert [client.post(path).status_code for path in ("/healthz", "/readyz")] == [405, 405]


@contextlib.contextmanager
def _storage(storage: FileSystemStorage) -> Iterator[None]:
    """Put another storage behind `default_storage` for a while."""
    proxy: Any = default_storage
    kept = proxy._wrapped
    proxy._wrapped = storage
    try:
        yield
    finally:
        proxy._wrapped = kept
