"""The product as people start it: its own processes, on a data folder, a port and a database of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 180.0
STOP_LIMIT_S = 60.0


@dataclass(frozen=True)
class Account:
    """One person's sign-in."""

    email: str
    password: str


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    body: Any


class Api:
    """A script that speaks to the API with a token, or without one."""

    def __init__(self, root: str, account: Account | None = None) -> None:
        self._root = root
        self._token = ""
        if account is not None:
            credentials = {"email": account.email, "password": account.password}
            self._token = self.post("auth/token/", credentials, expect=200)["access_token"]

    def call(self, method: str, path: str, body: object = None) -> Answer:
        """Return the answer, whatever its status."""
        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None if body is None else json.dumps(body).encode()
        address = path if path.startswith("http") else f"{self._root}/api/v1/{path}"
        request = urllib.request.Request(address, content, headers, method=method)  # noqa: S310 - our own
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - our own address
                return Answer(response.status, _read_json(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, _read_json(error.read()))

    def get(self, path: str) -> Any:
        """Return the body of a 200."""
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def post(self, path: str, body: object, *, expect: int = 201) -> Any:
        """Return the body of the expected answer."""
        answer = self.call("POST", path, body)
        assert answer.status == expect, answer
        return answer.body


def _read_json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode(errors="replace")


@dataclass
class Product:
    """A running installation with the demo in it.

    Args:
        folder: An empty folder for data and output.
        server_url: A PostgreSQL server, on which it makes and drops a database of its own; SQLite if empty.
    """

    folder: Path
    server_url: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._database_name = f"mayagen_e2e_{uuid.uuid4().hex[:12]}"
        self._database_url = ""
        if self.server_url:
            self._database_url = urlsplit(self.server_url)._replace(path=f"/{self._database_name}").geturl()

    def start(self) -> None:
        """Start it and wait until it says where it is."""
        if self.server_url:
            self._on_server(f'CREATE DATABASE "{self._database_name}"')
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAYAGEN_")}
        environment |= {
            "DATABASE_URL": self._database_url,
            "MAYAGEN_DATA_DIR": str(self.folder / "data"),
            "PORT": str(self.port),
        }
        self._output = self.folder / "output"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "manage.py", "serve", "--demo"],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_LIMIT_S
        while "MayaGen runs at" not in self._output.read_text():
            assert self._process.poll() is None, self._output.read_text()
            assert time.monotonic() < deadline, self._output.read_text()
            time.sleep(0.1)
        for account in json.loads((self.folder / "data" / "demo-accounts.json").read_text()):
            self.accounts[account["role"]] = Account(account["email"], account["password"])

    def stop(self) -> str:
        """Stop it as Ctrl-C does, drop its database, and return what it printed."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            raise
        finally:
            if self.server_url:
                self._on_server(f'DROP DATABASE IF EXISTS "{self._database_name}" WITH (FORCE)')
        printed = self._output.read_text()
        assert status == 0, printed
        return printed

    def api(self, role: str | None) -> Api:
        """Return a script signed in as the demo's person of a role, or as nobody."""
        return Api(self.url, self.accounts[role] if role else None)

    def sql(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement on the product's database, with `%s` for each value."""
        if self.server_url:
            with psycopg.connect(self._database_url, autocommit=True) as connection:
                cursor = connection.execute(statement.encode(), values)
                return cursor.fetchall() if cursor.description else []
        path = self.folder / "data" / "mayagen.sqlite3"
        plain = [value.hex if isinstance(value, uuid.UUID) else value for value in values]
        with closing(sqlite3.connect(path, timeout=30)) as file, file:
            return file.execute(statement.replace("%s", "?"), plain).fetchall()

    def _on_server(self, statement: str) -> None:
        with psycopg.connect(self.server_url, autocommit=True) as connection:
            connection.execute(statement.encode())
