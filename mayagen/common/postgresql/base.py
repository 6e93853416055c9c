"""Django's PostgreSQL backend with a health check that rarely asks the server.

Django looks for `DatabaseWrapper` in the module `base` of the package that `ENGINE` names.
"""

from __future__ import annotations

import select
import time
from typing import Any, Final

import psycopg
from django.db.backends.postgresql import base

FULL_CHECK_SECONDS: Final = 5.0


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection that is believed to be alive while nothing has come over it and it was asked lately.

    A server that ends a session sends a last message and closes the socket, which then can be read from; that
    takes no round trip to see. What it misses (a network that is gone without a word) is found by asking
    every few seconds. The question is `DISCARD PLANS`: a plan kept from when a table was empty would read the
    whole of it for as long as the connection lives, since only ANALYZE makes the server plan anew.
    """

    _asked_at = 0.0

    def get_new_connection(self, conn_params: dict[str, Any]) -> psycopg.Connection[Any]:
        """Return a new connection; it has just been talked to."""
        connection: psycopg.Connection[Any] = super().get_new_connection(conn_params)
        self._asked_at = time.monotonic()
        return connection

    def is_usable(self) -> bool:
        """Whether the next request may use the connection."""
        if self.connection is None:
            return False
        if time.monotonic() - self._asked_at < FULL_CHECK_SECONDS and self._is_quiet():
            return True
        try:
            with self.connection.cursor() as cursor:
                cursor.execute("DISCARD PLANS")
        except psycopg.Error:
            return False
        self._asked_at = time.monotonic()
        return True

    def _is_quiet(self) -> bool:
        if self.connection.closed:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN | select.POLLRDHUP)
        return not poll.poll(0)
