"""An address of ours for a protocol server's webhooks, which keeps them as they came."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Heard:
    """One webhook."""

    headers: dict[str, str]
    body: bytes


class Listener:
    """Takes webhooks in a thread of its own, after it has refused the first `n_refused` of them."""

    def __init__(self, *, n_refused: int = 0) -> None:
        self.heard: list[Heard] = []
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                listener.heard.append(Heard(dict(self.headers.items()), body))
                self.send_response(503 if len(listener.heard) <= n_refused else 204)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks/one"

    @property
    def contents(self) -> list[dict[str, Any]]:
        """The bodies as JSON, in the order in which they came."""
        return [json.loads(heard.body) for heard in self.heard]

    def wait_for(self, n_webhooks: int) -> None:
        """Return once so many have come, or five seconds have passed."""
        deadline = time.monotonic() + 5
        while len(self.heard) < n_webhooks and time.monotonic() < deadline:
            time.sleep(0.01)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *arguments: object) -> None:
        self._server.shutdown()
        self._server.server_close()
