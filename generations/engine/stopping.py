"""Notice that the task cluster around this process is being stopped."""

from __future__ import annotations

import os

from django_q.conf import Conf
from django_q.status import Stat


def is_cluster_stopping() -> bool:
    """Return whether the cluster whose worker this process is has begun to stop.

    A stopping cluster waits for its workers' tasks, and tells them nothing: its status in the cache does.
    """
    sentinel = os.getppid()
    return any(stat.sentinel == sentinel and stat.status == Conf.STOPPING for stat in Stat.get_all())
