"""How the web server shares its connections out."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from mayagen.gunicorn import requests_per_connection
from tests.mayagen.test_serve import ROOT, START_LIMIT_S, find_free_port

N_CONNECTIONS = 12


@dataclass(frozen=True)
class WebServer:
    """A running server of two processes."""

    port: int
    pid: int

    def answers(self) -> bool:
        try:
            return _ask(self.connect()).status == 200
        except OSError:
            return False

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def list_workers(self) -> list[psutil.Process]:
        return list(psutil.Process(self.pid).children())

    def count_connections(self) -> list[int]:
        """Return how many established connections each process holds, the fewest first."""
        return sorted(
            sum(
                each.status == psutil.CONN_ESTABLISHED and each.laddr.port == self.port
                for each in worker.net_connections("tcp")
            )
            for worker in self.list_workers()
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    port = find_free_port()
    environment = {**os.environ, "MAYAGEN_DATA_DIR": str(tmp_path), "MAYAGEN_WEB_WORKERS": "2"}
    command = [sys.executable, "-m", "gunicorn", "--config", "python:mayagen.gunicorn"]
    process = subprocess.Popen(
        [*command, "--bind", f"127.0.0.1:{port}", "mayagen.wsgi:application"], cwd=ROOT, env=environment
    )
    server = WebServer(port, process.pid)
    deadline = time.monotonic() + START_LIMIT_S
    while len(server.list_workers()) < 2 or not server.answers():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield server
    process.terminate()
    process.wait(timeout=30)


def _ask(connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    return response


def test_kept_connections_are_shared_out_among_the_processes(server: WebServer) -> None:
    """Connections end now and then, so even what began on one process alone spreads."""
    connections = [server.connect() for _ in range(N_CONNECTIONS)]
    for _ in range(2 * requests_per_connection + 1):
        for connection in connections:
            assert _ask(connection).status == 200

    counts = server.count_connections()

    assert sum(counts) == N_CONNECTIONS
    assert counts[0] > 0


def test_a_connection_ends_after_its_share_of_requests_and_says_so(server: WebServer) -> None:
    connection = server.connect()

    closes = [_ask(connection).getheader("Connection") for _ in range(requests_per_connection)]

    assert "close" not in closes[:-1]
    assert closes[-1] == "close"
