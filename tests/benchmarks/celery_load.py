"""Celery with Redis for `engine_vs_celery`: installed apart, started, given its tasks, and watched."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.benchmarks.engine_load import Load, Outcome, protocol_server, read_counters
from tests.benchmarks.support import (
    ROOT,
    PeakMemory,
    benchmark_database,
    find_free_port,
    running,
    wait_until,
)

N_PROCESSES: Final = 16
MODULE: Final = "tests.benchmarks.celery_tasks"
# Of what both sides use they use the same version.
SHARED: Final = ("pillow", "psycopg", "psycopg-binary")
TABLE: Final = """
CREATE TABLE output (
    id uuid PRIMARY KEY, job_id text NOT NULL, width_px int NOT NULL, height_px int NOT NULL,
    size_bytes int NOT NULL, mime_type text NOT NULL, sha256 text NOT NULL, file text NOT NULL,
    thumbnail text NOT NULL, small_thumbnail text NOT NULL, blind text NOT NULL,
    duration_ms int NOT NULL, finished_at timestamptz NOT NULL DEFAULT now()
)
"""


def measure_celery(load: Load) -> Outcome:
    """Generate the load with Celery, against a protocol server and a database of its own."""
    python = install_celery()
    with ExitStack() as stack:
        server = stack.enter_context(protocol_server(load))
        url = stack.enter_context(benchmark_database())
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mayagen-bench-celery-"))
        database = stack.enter_context(psycopg.connect(url, autocommit=True))
        database.execute(TABLE)
        environment = _make_environment(server, url, folder, find_free_port())
        stack.enter_context(_run_redis(environment))
        worker = stack.enter_context(_run_worker(python, environment))
        memory = PeakMemory(worker)
        memory.start()
        command = [str(python), "-m", MODULE, str(load.n_generations)]
        began = float(subprocess.check_output(command, cwd=ROOT, env=environment, text=True))
        wait_until(
            lambda: _count_rows(database) == load.n_generations, seconds=600, what="Celery's end", every=0.05
        )
        wall_seconds = time.monotonic() - began
        return Outcome(
            wall_seconds=wall_seconds,
            until_copies_seconds=wall_seconds,
            n_completed=_count_rows(database),
            peak_pss_mb=memory.stop(),
            max_in_flight=read_counters(server["url"])["max_in_flight"],
        )


def install_celery() -> Path:
    """Return the Python of a virtual environment that has Celery; kept from one run to the next."""
    folder = Path(tempfile.gettempdir()) / f"mayagen-bench-celery-venv-{os.getuid()}"
    python = folder / "bin" / "python"
    if not (folder / "installed").exists():
        venv.create(folder, clear=True, with_pip=True)
        shared = [f"{name}=={version(name)}" for name in SHARED]
        # Celery's own transport needs `packaging` without saying so.
        wanted = ["celery[redis]", "packaging", "requests", *shared]
        subprocess.run([python, "-m", "pip", "install", "-qq", *wanted], check=True)
        (folder / "installed").touch()
    return python


def _make_environment(
    server: Mapping[str, Any], database_url: str, folder: str, redis_port: int
) -> Mapping[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MAYAGEN_DATA_DIR": folder,
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": f"redis://127.0.0.1:{redis_port}/0",
        "BENCH_REDIS_PORT": str(redis_port),
        "BENCH_PROVIDER_URL": server["url"],
        "BENCH_PROVIDER_KEY": server["api_key"],
    }


@contextmanager
def _run_redis(environment: Mapping[str, str]) -> Iterator[None]:
    port, folder = environment["BENCH_REDIS_PORT"], environment["MAYAGEN_DATA_DIR"]
    command = ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder, "--save", ""]
    with running(command, environment=environment, log="redis.log"):
        _wait_for_line(Path(folder) / "redis.log", "Ready to accept connections")
        yield


@contextmanager
def _run_worker(python: Path, environment: Mapping[str, str]) -> Iterator[int]:
    """Start the worker and give its process id once it takes tasks."""
    command = [str(python), "-m", "celery", "--app", MODULE, "worker", "--pool", "prefork"]
    command += [
        "--concurrency",
        str(N_PROCESSES),
        "--loglevel",
        "INFO",
        "--without-gossip",
        "--without-mingle",
    ]
    with running(command, environment=environment, log="worker.log") as process:
        _wait_for_line(Path(environment["MAYAGEN_DATA_DIR"]) / "worker.log", " ready.")
        yield process.pid


def _wait_for_line(log: Path, text: str) -> None:
    try:
        wait_until(
            lambda: text in log.read_text(encoding="utf-8"), seconds=60, what=f"{text!r} in {log.name}"
        )
    except TimeoutError:
        sys.stderr.write(log.read_text(encoding="utf-8")[-2_000:])
        raise


def _count_rows(database: psycopg.Connection[tuple[Any, ...]]) -> int:
    row = database.execute("SELECT count(*) FROM output").fetchone()
    return 0 if row is None else int(row[0])
