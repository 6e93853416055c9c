"""Drains in processes of their own, to be stopped, killed and counted; `python -m` runs one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60


@contextmanager
def running_drain(data_dir: Path, *, api_key: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run one drain on the tests' own PostgreSQL database, with this folder for its media."""
    with _running(["-m", "tests.generations.engine_processes"], data_dir, api_key) as process:
        yield process


@contextmanager
def running_queue(data_dir: Path, *, api_key: str, n_workers: int = 1) -> Iterator[subprocess.Popen[bytes]]:
    """Run the task queue as an installation does."""
    with _running(["manage.py", "serve", "--only", "queue"], data_dir, api_key, n_workers) as process:
        yield process


@contextmanager
def _running(
    arguments: list[str], data_dir: Path, api_key: str, n_workers: int = 1
) -> Iterator[subprocess.Popen[bytes]]:
    from django.conf import settings

    environment = {
        **os.environ,
        "DATABASE_URL": _get_database_url(),
        "DJANGO_SETTINGS_MODULE": "mayagen.settings",
        "MAYAGEN_DATA_DIR": str(data_dir),
        "MAYAGEN_PROVIDER_KEY_TEST": api_key,
        "MAYAGEN_QUEUE_WORKERS": str(n_workers),
        "MAYAGEN_SECRET_KEY": settings.SECRET_KEY,
    }
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(is_true: Callable[[], Any], what: str) -> None:
    """Return as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def _get_database_url() -> str:
    from django.db import connection

    settings = connection.settings_dict
    password = f":{quote(settings['PASSWORD'])}" if settings["PASSWORD"] else ""
    host = f"{settings['HOST'] or '127.0.0.1'}:{settings['PORT'] or 5432}"
    return f"postgres://{settings['USER']}{password}@{host}/{settings['NAME']}"


def main() -> None:
    """Drain until nothing is due."""
    import django

    django.setup()
    from generations.engine.drain import drain
    from tests.generations.engine_cases import LIMITS

    drain(LIMITS)


if __name__ == "__main__":
    main()
