"""The task queue's own command, with what its tasks need imported before it forks."""

from __future__ import annotations

import asyncio
import gc
import resource
from typing import Any, Final

import uvloop
from django.conf import settings
from django.utils.module_loading import autodiscover_modules
from django_q.management.commands import qcluster

from generations.engine.draining_places import PLACES
from mayagen.parent_watch import end_forks_with_their_parents, end_with_supervisor
from mayagen.supervisor import STOP_GRACE_S

N_NEW_OBJECTS: Final = 20_000
"""So many more objects than before have garbage looked for. By Python's own 700 it is looked for a thousand
times while 500 jobs begin, and each time most of what is looked at is still in use."""


class Command(qcluster.Command):
    """`manage.py qcluster`: django-q2's command; its processes share one copy of the tasks' modules.

    Otherwise each worker imports them at its first task, and again whenever it is replaced. What is loaded by
    then is kept out of garbage collection: its marks would copy the shared pages, and walking it all again
    would hold up hundreds of calls in flight.

    A worker without its sentinel does nothing useful any more, and a sentinel without its cluster never
    stops: each is killed with its parent, and others take up its work.
    """

    def handle(self, *args: Any, **options: Any) -> None:
        """Import the tasks and start the cluster."""
        _allow_open_files()
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        end_forks_with_their_parents()
        PLACES.share(n_workers=settings.Q_CLUSTER["workers"])
        autodiscover_modules("tasks")
        gc.collect()
        gc.freeze()
        gc.set_threshold(N_NEW_OBJECTS)
        super().handle(*args, **options)  # type: ignore[no-untyped-call] # django-q2 is not typed
        # Once the cluster has forked: a fork of several threads is none that Python likes.
        end_with_supervisor(grace_s=STOP_GRACE_S)


def _allow_open_files() -> None:
    """A call in flight is a connection and an output on its way a file: the usual 1,024 are too few."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
