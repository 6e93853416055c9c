"""Wake the engine; the only place of this app that puts a message on the task queue."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django_q.tasks import async_task

DRAIN_TASK: Final = "generations.tasks.drain"


def wake_engine() -> None:
    """Ask for a drain once the current transaction is committed.

    The message carries no argument and no truth: a lost or doubled one is harmless, since the sweep looks
    for due rows by itself.
    """
    transaction.on_commit(_send)


def _send() -> None:
    async_task(DRAIN_TASK)
