"""The task queue's own command, with what its tasks need imported before it forks."""

from __future__ import annotations

import gc
import resource
from typing import Any

from django.utils.module_loading import autodiscover_modules
from django_q.management.commands import qcluster


class Command(qcluster.Command):
    """`manage.py qcluster`: django-q2's command; its processes share one copy of the tasks' modules.

    Otherwise each worker imports them at its first task, and again whenever it is replaced. What is loaded by
    then is kept out of garbage collection: its marks would copy the shared pages, and walking it all again
    would hold up hundreds of calls in flight.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        """Import the tasks and start the cluster."""
        _allow_open_files()
        autodiscover_modules("tasks")
        gc.collect()
        gc.freeze()
        super().handle(*args, **options)  # type: ignore[no-untyped-call] # django-q2 is not typed


def _allow_open_files() -> None:
    """A call in flight is a connection and an output on its way a file: the usual 1,024 are too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
