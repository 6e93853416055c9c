"""The sessions of signed-in browsers: Django's own in the database, read by a statement that is kept."""

from __future__ import annotations

from typing import Any, Final

from django.contrib.sessions.backends import db
from django.db import connection
from django.utils import timezone

from mayagen.common.statements import fetch

_READ: Final = "SELECT session_data FROM django_session WHERE session_key = %s AND expire_date > %s"


class SessionStore(db.SessionStore):
    """Every request of somebody signed in reads one; building Django's query anew takes most of that time."""

    def load(self) -> dict[str, Any]:
        """Return what the session holds; nothing, and no key, when it is unknown or has run out."""
        now = connection.ops.adapt_datetimefield_value(timezone.now())
        rows = fetch(_READ, [self.session_key, now])
        if not rows:
            self._session_key = None
            return {}
        held: dict[str, Any] = self.decode(rows[0][0])
        return held
