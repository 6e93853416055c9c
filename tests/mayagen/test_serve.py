"""`manage.py serve` starts everything from nothing, stops it cleanly, and starts again on the same data."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 300.0


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One start of `manage.py serve` in its own data folder; what it prints goes to a file."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.folder, self.port = folder, port
        self.output = folder.parent / f"output-{time.monotonic_ns()}"
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MAYAGEN_", "DATABASE_URL"))
        }
        environment.update(MAYAGEN_DATA_DIR=str(folder), PORT=str(port), MAYAGEN_QUEUE_WORKERS="1")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", *options],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def read_output(self) -> str:
        return self.output.read_text()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_LIMIT_S
        while "MayaGen runs at" not in self.read_output():
            assert self.process.poll() is None, self.read_output()
            assert time.monotonic() < deadline, self.read_output()
            time.sleep(0.1)

    def get(self, path: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", path, headers={"Accept-Encoding": "br", "Connection": "close"})
        response = connection.getresponse()
        response.text = response.read().decode("utf-8", errors="replace")  # type: ignore[attr-defined]
        connection.close()
        return response

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def list_processes(self) -> list[int]:
        """Return the ids of all processes, of any session, that work on this data folder."""
        marker = f"MAYAGEN_DATA_DIR={self.folder}".encode()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if marker in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*options: str, port: int | None = None) -> Server:
        started.append(Server(tmp_path / "var", port or find_free_port(), *options))
        return started[-1]

    yield start
    for server in started:
        for process_id in server.list_processes():
            os.kill(process_id, signal.SIGKILL)
        server.process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="looks for left processes in /proc")
def test_a_fresh_folder_becomes_a_demo_that_stops_and_starts_again(serve: Callable[..., Server]) -> None:
    first = serve("--demo")
    first.wait_until_ready()

    health = first.get("/healthz")
    assert health.status == 200
    assert health.headers["Server"] == "MayaGen"

    sign_in = first.get("/accounts/login/")
    assert sign_in.status == 200
    style = re.search(r'href="(/static/[^"]+\.[0-9a-f]{12}\.css)"', sign_in.text)  # type: ignore[attr-defined]
    assert style
    sheet = first.get(style[1])
    assert sheet.headers["Cache-Control"] == "max-age=315360000, public, immutable"
    assert sheet.headers["Content-Encoding"] == "br"

    accounts_file = first.folder / "demo-accounts.json"
    assert stat.S_IMODE(accounts_file.stat().st_mode) == 0o600
    accounts = json.loads(accounts_file.read_text())
    assert {account["role"] for account in accounts} == {"admin", "evaluator", "viewer"}
    for account in accounts:
        assert account["email"] in first.read_output()
        assert account["password"] in first.read_output()

    assert first.stop(signal.SIGINT) == 0
    assert first.list_processes() == []

    second = serve("--demo", port=first.port)
    second.wait_until_ready()
    assert json.loads(accounts_file.read_text()) == accounts
    assert accounts[0]["password"] in second.read_output()
    assert second.stop(signal.SIGTERM) == 0
    assert second.list_processes() == []


def test_a_taken_port_is_said_before_anything_is_changed(serve: Callable[..., Server]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        server = serve("--demo", port=port)

        assert server.process.wait(timeout=60) == 1
    assert f"Cannot listen on 127.0.0.1 port {port}" in server.read_output()
    assert "Traceback" not in server.read_output()


def test_the_demo_is_refused_in_production(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "serve", "--only", "preparation", "--demo"],
        cwd=ROOT,
        env={
            **os.environ,
            "MAYAGEN_DATA_DIR": str(tmp_path / "var"),
            "MAYAGEN_PRODUCTION": "1",
            "MAYAGEN_SECRET_KEY": "s" * 60,
            "MAYAGEN_JWT_KEY": "j" * 60,
            "DATABASE_URL": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert result.returncode == 1
    assert "not in production" in result.stderr
