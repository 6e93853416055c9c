"""What every benchmark needs: a database of its own, the product's processes, and one JSON line a figure."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
MEMORY = "/dev/shm"  # noqa: S108 - a folder with a name of its own is made in it


def report(*, figure: str, value: float, unit: str, target: str, met: bool) -> None:
    """Print one measured figure as a line of JSON."""
    line = {"figure": figure, "value": round(value, 3), "unit": unit, "target": target, "met": met}
    print(json.dumps(line), flush=True)


@contextmanager
def benchmark_installation(*, data_in: str = "", **settings: str) -> Iterator[Mapping[str, str]]:
    """Give an environment with a migrated PostgreSQL database and a data folder, both gone afterwards.

    This process is set up for the same installation, so Django's models can be imported and used inside.

    Args:
        data_in: Where the data folder is made; among other temporary files if that is empty or no folder.
        settings: Further environment variables, such as `MAYAGEN_QUEUE_WORKERS`.
    """
    place = data_in if data_in and Path(data_in).is_dir() else None
    with (
        benchmark_database() as url,
        tempfile.TemporaryDirectory(prefix="mayagen-bench-", dir=place) as folder,
    ):
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "mayagen.settings",
            "MAYAGEN_DATA_DIR": folder,
            "PYTHONPATH": str(ROOT),
            **settings,
        }
        for command in (["migrate", "--verbosity", "0"], ["createcachetable"]):
            subprocess.run([sys.executable, "manage.py", *command], cwd=ROOT, env=environment, check=True)
        os.environ.update(environment)
        import django

        django.setup()
        try:
            yield environment
        finally:
            _close_connections()


@contextmanager
def benchmark_database() -> Iterator[str]:
    """Give the address of an empty PostgreSQL database, gone afterwards, even after SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    server = os.environ.get("BENCH_DATABASE_URL", DEFAULT_SERVER)
    name = f"mayagen_bench_{secrets.token_hex(4)}"
    _execute(server, f'CREATE DATABASE "{name}"')
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _execute(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


def _close_connections() -> None:
    from django.conf import settings
    from django.db import connections

    if settings.configured:
        connections.close_all()


@contextmanager
def running(
    command: Sequence[str], *, environment: Mapping[str, str], log: str
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a session of its own, and stop it with all that it started; its output is kept."""
    path = Path(environment["MAYAGEN_DATA_DIR"]) / log
    with path.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdout=file,
            stderr=file,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def find_free_port() -> int:
    """Return a port of the loopback address that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def wait_until(is_true: Callable[[], bool], *, seconds: float, what: str, every: float = 0.1) -> None:
    """Return as soon as it is true.

    Raises:
        TimeoutError: It did not become true in time.
    """
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {seconds:.0f} s")
        time.sleep(every)


def wait_for_web(port: int) -> None:
    """Return as soon as the web server on this port is well."""
    wait_until(lambda: _is_well(port), seconds=60, what="the start of the web server")


def _is_well(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def get_pss_mb(pid: int) -> float:
    """Return the proportional set size of a process and all it started, in MB (10^6 bytes)."""
    total = 0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total / 1e6


class PeakMemory(threading.Thread):
    """Watches the proportional set size of process trees; `peak_mb` is the most that was seen at once."""

    def __init__(self, *pids: int, every: float = 0.5) -> None:
        super().__init__(daemon=True)
        self.peak_mb = 0.0
        self._pids = pids
        self._every = every
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every):
            self.peak_mb = max(self.peak_mb, sum(map(get_pss_mb, self._pids)))

    def stop(self) -> float:
        """End the watch and return the peak."""
        self._ended.set()
        self.join()
        return self.peak_mb


def copy_row(row: Any, **changes: Any) -> Any:
    """Return an unsaved row like that one, with an id of its own."""
    from mayagen.common.ids import uuid7

    fields = {each.attname: getattr(row, each.attname) for each in row._meta.concrete_fields}
    copied = type(row)(**{**fields, "id": uuid7()})
    for name, value in changes.items():
        setattr(copied, name, value)
    return copied
