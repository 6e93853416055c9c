"""A server on the loopback address that speaks as much of S3's protocol as to list, look and delete.

Source: Amazon S3 API Reference: ListObjects, HeadObject, DeleteObject.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

BUCKET = "mayagen-media"
KEYS_PER_PAGE = 3


class S3Server(ThreadingHTTPServer):
    """Holds objects by key, each as the time of its last change; lists three at once."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, datetime] = {}
        self.undeletable: set[str] = set()

    @property
    def storage(self) -> dict[str, Any]:
        """The setting of a storage that talks to it."""
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": BUCKET,
                "endpoint_url": f"http://127.0.0.1:{self.server_address[1]}",
                "region_name": "eu-west-1",
                "access_key": "key",
                "secret_key": "secret",
                "addressing_style": "path",
                "file_overwrite": False,
            },
        }


@contextmanager
def running_s3_server() -> Iterator[S3Server]:
    """Give a server without objects."""
    with S3Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        self._send(200, self._list(query.get("prefix", [""])[0], query.get("marker", [""])[0]))

    def do_HEAD(self) -> None:
        stored_at = self.server.objects.get(self._key)
        if stored_at is None:
            self._send(404)
        else:
            self._send(200, last_modified=format_datetime(stored_at, usegmt=True))

    def do_DELETE(self) -> None:
        if self._key in self.server.undeletable:
            self._send(403)
            return
        self.server.objects.pop(self._key, None)
        self._send(204)

    @property
    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _list(self, prefix: str, marker: str) -> str:
        entries: dict[str, str] = {}
        for key in sorted(self.server.objects):
            if not key.startswith(prefix):
                continue
            folder, slash, _ = key.removeprefix(prefix).partition("/")
            if slash:
                name = f"{prefix}{folder}/"
                entries[name] = f"<CommonPrefixes><Prefix>{quote(name)}</Prefix></CommonPrefixes>"
            else:
                entries[key] = f"<Contents><Key>{escape(quote(key))}</Key><Size>1</Size></Contents>"
        names = [name for name in entries if name > marker]
        is_truncated = len(names) > KEYS_PER_PAGE
        shown = names[:KEYS_PER_PAGE]
        following = f"<NextMarker>{quote(shown[-1])}</NextMarker>" if is_truncated else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Delimiter>/</Delimiter><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(is_truncated).lower()}</IsTruncated>{following}"
            f"{''.join(entries[name] for name in shown)}</ListBucketResult>"
        )

    def _send(self, status: int, body: str = "", *, last_modified: str = "") -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        if content:
            self.send_header("Content-Type", "application/xml")
        if last_modified:
            self.send_header("Last-Modified", last_modified)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the overridden one's name
        """Say nothing."""
