"""Wake the engine; the only place of this app that puts anything on the task queue."""

from __future__ import annotations

from typing import Final

from django.db import transaction
from django_q.models import Schedule
from django_q.tasks import async_task

DRAIN_TASK: Final = "generations.tasks.drain"
IMPORT_TASK: Final = "generations.tasks.import_datasets"
SWEEP_TASK: Final = "generations.tasks.sweep"
COLLECT_TASK: Final = "generations.tasks.collect_orphaned_files"


def wake_engine() -> None:
    """Ask for a drain once the current transaction is committed.

    The message carries no argument and no truth: a lost or doubled one is harmless, since the sweep looks
    for due rows by itself.
    """
    transaction.on_commit(_send)


def wake_importer() -> None:
    """Ask, once the current transaction is committed, for somebody to work on uploaded datasets."""
    transaction.on_commit(_send_import)


def schedule_sweep() -> None:
    """Make the schedule that runs the sweep each minute, unless it is there."""
    Schedule.objects.get_or_create(
        name="Sweep generations",
        defaults={"func": SWEEP_TASK, "schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": -1},
    )


def schedule_collection() -> None:
    """Make the schedule that looks for orphaned files each day, unless it is there."""
    Schedule.objects.get_or_create(
        name="Collect orphaned files",
        defaults={"func": COLLECT_TASK, "schedule_type": Schedule.DAILY, "repeats": -1},
    )


def _send() -> None:
    async_task(DRAIN_TASK)


def _send_import() -> None:
    async_task(IMPORT_TASK)
