"""The database connection of the thread that the engine's statements run in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from generations.engine.holding import LEASE

LOCK_WAIT_SECONDS: Final = LEASE.total_seconds() / 12
IDLE_SECONDS: Final = LEASE.total_seconds() / 3
_SETTINGS: Final = {
    "lock_timeout": LOCK_WAIT_SECONDS,
    "idle_in_transaction_session_timeout": IDLE_SECONDS,
}


@contextmanager
def impatient_connection() -> Iterator[None]:
    """Let nobody wait long for a worker that stands still within a transaction, for as long as this lasts.

    The statements of a drain run one after the other: one that waited for a lock for ever would keep it from
    beating its leases. So it gives up after a while and is tried again; and the transaction of a worker that
    stands still is ended by the server, which lets go of the ledger and of the models that it had locked.
    """
    connection_created.connect(_limit_new, dispatch_uid=_limit_new.__qualname__)
    try:
        _limit(connection)
        yield
    finally:
        connection_created.disconnect(dispatch_uid=_limit_new.__qualname__)
        with suppress(DatabaseError):
            _close_broken()
            _limit(connection, is_over=True)


async def renew_connection() -> None:
    """Let go of the connection if it is broken, so that the next statement opens another."""
    # The event loop's thread has a connection of its own: which one is meant must be asked over there.
    await sync_to_async(_close_broken)()


def _close_broken() -> None:
    # Whose transaction this is has to notice by itself.
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()


def _limit_new(connection: BaseDatabaseWrapper, **_: Any) -> None:
    _limit(connection)


def _limit(connection: Any, *, is_over: bool = False) -> None:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for name, seconds in _SETTINGS.items():
            cursor.execute(f"SET {name} TO {'DEFAULT' if is_over else int(seconds * 1000)}")
