"""Whether this process lives, and whether the installation can do its work."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from django_q.status import Stat

from generations.engine.waiting import get_seconds_overdue
from generations.media.naming import make_probe_key

PROBE_INTERVAL_S = 10.0

_logger = logging.getLogger(__name__)


class NotReadyError(Exception):
    """A part of the installation does not work; the message is for the log and the answer."""


@never_cache
@require_safe
def healthz(_request: HttpRequest) -> JsonResponse:
    """Answer as long as this process does, whatever the state of database, queue and storage."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(_request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, task queue and storage work, else 503 with the part that does not."""
    checks = {
        name: _run(name, check)
        for name, check in (("database", _check_database), ("queue", _check_queue), ("storage", _probe.check))
    }
    is_ready = all(check["status"] == "ok" for check in checks.values())
    status = "ok" if is_ready else "not ready"
    return JsonResponse({"status": status, "checks": checks}, status=200 if is_ready else 503)


class ProbeMiddleware:
    """Answers probes before anything asks for the host or for HTTPS: they come by address, from inside."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = _PROBES.get(request.path)
        return self._get_response(request) if probe is None else probe(request)


_PROBES: Final = {"/healthz": healthz, "/readyz": readyz}


def _run(name: str, check: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    started_s = time.monotonic()
    try:
        facts = {"status": "ok", **check()}
    except NotReadyError as error:
        facts = {"status": "failed", "reason": str(error)}
    except Exception:
        # Whatever a driver or a storage raises means the same here, and its text may name hosts and keys.
        _logger.exception("The readiness check of the %s failed", name)
        facts = {"status": "failed", "reason": "It does not answer; the log says why."}
    return {**facts, "duration_ms": round((time.monotonic() - started_s) * 1000)}


def _check_database() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return {}


def _check_queue() -> dict[str, Any]:
    """Look for a cluster's heartbeat, which the shared cache keeps for three seconds."""
    clusters = Stat.get_all()
    if not clusters:
        raise NotReadyError("No django-q2 cluster has given a sign of life within three seconds.")
    return {
        "clusters": len(clusters),
        "workers": sum(len(cluster.workers) for cluster in clusters),
        # A long wait is no fault of the queue: models and providers have limits of their own.
        "oldest_due_s": round(get_seconds_overdue(), 1),
    }


class _StorageProbe:
    """Writes, reads back and deletes a small file, at most once in ten seconds for each process.

    Only one request waits for the storage at a time; others meanwhile get the last answer, so that a
    storage which hangs does not take the web server's threads one by one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checked_at_s = -PROBE_INTERVAL_S
        self._is_working = False

    def check(self) -> dict[str, Any]:
        """Return nothing more than that it works."""
        if self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        if not self._is_working:
            raise NotReadyError("The storage did not give back what was written to it.")
        return {}

    def _refresh(self) -> None:
        if time.monotonic() - self._checked_at_s < PROBE_INTERVAL_S:
            return
        is_working = False
        try:
            self._probe()
            is_working = True
        finally:
            self._is_working, self._checked_at_s = is_working, time.monotonic()

    @staticmethod
    def _probe() -> None:
        written = secrets.token_bytes(64)
        name = default_storage.save(make_probe_key(), ContentFile(written))
        try:
            with default_storage.open(name) as file:
                if file.read() != written:
                    raise NotReadyError("The storage gave back other bytes than were written to it.")
        finally:
            default_storage.delete(name)


_probe = _StorageProbe()
