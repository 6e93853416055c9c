"""See from outside whether a django-q2 cluster still does its work."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import close_old_connections
from django_q.status import Stat

from generations.services.rousing import rouse_engine
from mayagen.common.process_stat import read_cpu_ticks

logger = logging.getLogger(__name__)

# A cluster beats twice a second; starting on a slow machine takes its time.
HEARTBEAT_LIMIT_S: Final = float(settings.LEASE_SECONDS)
# Whoever works uses some CPU every second, if only to look for more: idle workers beside waiting tasks are
# deaf. What their dead neighbour held is to be taken up within two leases, a new start included.
DEAF_LIMIT_S: Final = 0.5 * HEARTBEAT_LIMIT_S


@dataclass(frozen=True)
class Beat:
    """What a cluster's heartbeat tells: tasks waiting in its memory, its workers, the CPU they have used."""

    n_waiting: int
    worker_ids: tuple[int, ...]
    cpu_ticks: int

    def shows_work_since(self, earlier: Beat) -> bool:
        """Return whether anything was done meanwhile, or nothing is to do; that more waits is no work."""
        is_other = (self.worker_ids, self.cpu_ticks) != (earlier.worker_ids, earlier.cpu_ticks)
        return is_other or self.n_waiting == 0 or self.n_waiting < earlier.n_waiting


class ClusterWatch:
    """Finds the two faults after which a cluster looks alive and works no more, and rouses an idle one.

    Its guard may hang, which ends its heartbeat; and a worker that is killed while it waits takes the lock of
    the task queue with it, so that the others never get another task.

    Source: django-q2 issue 23; `django_q/worker.py`, `django_q/cluster.py` (Sentinel.guard).
    """

    def __init__(self) -> None:
        self._cluster_id = 0
        self._last_beat_at_s = 0.0
        self._last_progress_at_s = 0.0
        self._last: Beat | None = None

    def find_fault(self, cluster_id: int) -> str | None:
        """Return a sentence when the cluster with that process id has to be started again, else None.

        A wake-up that was lost is replaced on the way: the sweep would come within a minute or two.
        """
        now_s = time.monotonic()
        self.follow(cluster_id, now_s=now_s)
        try:
            beat = _read_beat(cluster_id)
            rouse_engine()
        except Exception:
            # Whatever a database or a broker raises: nothing can be said of the cluster while it does not
            # answer, and this process must outlive that.
            logger.exception("could not look at the task queue")
            self._last_beat_at_s = now_s
            return None
        return self.judge(beat, now_s=now_s)

    def follow(self, cluster_id: int, *, now_s: float) -> None:
        """Forget what was seen of another cluster; one that has just started owes nothing yet."""
        if cluster_id != self._cluster_id:
            self._cluster_id, self._last = cluster_id, None
            self._last_beat_at_s = self._last_progress_at_s = now_s

    def judge(self, beat: Beat | None, *, now_s: float) -> str | None:
        """Return the fault that this beat, or its absence, shows together with those before it."""
        if beat is not None:
            self._last_beat_at_s = now_s
        if beat is None or self._last is None or beat.shows_work_since(self._last):
            self._last_progress_at_s = now_s
        self._last = beat
        if now_s - self._last_beat_at_s > HEARTBEAT_LIMIT_S:
            return f"it has had no heartbeat for {HEARTBEAT_LIMIT_S:.0f} s."
        if now_s - self._last_progress_at_s > DEAF_LIMIT_S:
            return f"tasks have waited for {DEAF_LIMIT_S:.0f} s while its workers sleep."
        return None


def _read_beat(cluster_id: int) -> Beat | None:
    close_old_connections()
    here = socket.gethostname()
    for status in Stat.get_all():
        if status.pid == cluster_id and status.host == here:
            workers = tuple(status.workers)
            return Beat(status.task_q_size, workers, _count_cpu_ticks(workers))
    return None


def _count_cpu_ticks(process_ids: Sequence[int]) -> int:
    """Return the CPU time used so far; where the kernel does not tell, a number that always grows."""
    if not Path("/proc/self/stat").exists():
        return time.monotonic_ns()
    return sum(map(read_cpu_ticks, process_ids))
