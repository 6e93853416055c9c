"""Look at an installation's generations all the while, to see whether any stands still."""

from __future__ import annotations

import threading
import time
from typing import Final

import psycopg

LOOK_SECONDS: Final = 0.5
_LAPSED: Final = """
    SELECT id::text, EXTRACT(EPOCH FROM clock_timestamp() - lease_expires_at)::float
    FROM generations_generation WHERE status = 'processing' AND lease_expires_at < clock_timestamp()
    ORDER BY lease_expires_at LIMIT 1
"""
_PROGRESS: Final = """
    SELECT (SELECT count(*) FROM generations_generation WHERE status = 'queued' AND due_at <= now()),
        (SELECT count(*) FROM generations_attempt),
        (SELECT coalesce(sum(fence), 0) FROM generations_generation)
"""


class Watch(threading.Thread):
    """Notes for how long a lapsed lease was ever left alone, and due work with nothing happening at all.

    Args:
        url: Of the database, not by any proxy.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True, name="watch")
        self._url = url
        self._ended = threading.Event()
        self._progress: object = None
        self._progress_at = time.monotonic()
        self.longest_lapse_seconds = 0.0
        self.longest_lapse_of = ""
        self.longest_standstill_seconds = 0.0

    def run(self) -> None:
        """Look until told to end; a database that is away is looked for again."""
        while not self._ended.is_set():
            try:
                with psycopg.connect(self._url, autocommit=True, connect_timeout=3) as connection:
                    while not self._ended.wait(LOOK_SECONDS):
                        self._look(connection)
            except psycopg.Error:
                self._ended.wait(LOOK_SECONDS)

    def stop(self) -> None:
        """End the watch."""
        self._ended.set()
        self.join()

    def _look(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        lapsed = connection.execute(_LAPSED).fetchone()
        if lapsed is not None and float(str(lapsed[1])) > self.longest_lapse_seconds:
            self.longest_lapse_of, self.longest_lapse_seconds = str(lapsed[0]), float(str(lapsed[1]))
        progress = connection.execute(_PROGRESS).fetchone()
        now = time.monotonic()
        if progress is None or progress[0] == 0 or progress != self._progress:
            self._progress, self._progress_at = progress, now
        self.longest_standstill_seconds = max(self.longest_standstill_seconds, now - self._progress_at)
