"""End a process when the one that started it has ended, however that ended."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

SUPERVISOR_ID: Final = "MAYAGEN_SUPERVISOR_ID"
"""The variable that tells a command which process supervises it."""
POLL_S: Final = 0.5
_PARENT_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG
# Loaded here: between fork and exec nothing may be loaded, nor a lock taken that another thread held.
_prctl: Final[Any] = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def end_with(parent_id: int, number: signal.Signals) -> bool:
    """Have the kernel send this process a signal when its parent dies; return whether it can (Linux).

    Call it in the child, also between fork and exec; an exec keeps it.
    """
    if _prctl is None or _prctl(_PARENT_DEATH_SIGNAL, int(number), 0, 0, 0) != 0:
        return False
    if os.getppid() != parent_id:
        # It died before the kernel was asked.
        os.kill(os.getpid(), number)
    return True


class _Forks:
    """Kills whatever this process and its own forks fork, as soon as the parent of each is gone."""

    def __init__(self) -> None:
        self._parent_id = 0

    def note(self) -> None:
        """Run before a fork, in the parent."""
        self._parent_id = os.getpid()

    def bind(self) -> None:
        """Run after a fork, in the child."""
        if not end_with(self._parent_id, signal.SIGKILL):
            _call_after_death(self._parent_id, lambda: os.kill(os.getpid(), signal.SIGKILL))


def end_forks_with_their_parents() -> None:
    """From now on let each process that is forked from this one, at any depth, be killed with its parent."""
    forks = _Forks()
    os.register_at_fork(before=forks.note, after_in_child=forks.bind)


def end_with_supervisor(*, grace_s: float) -> None:
    """Where a supervisor started this process, end in time when that has died.

    SIGTERM comes from the kernel, or from here where it sends none; what has not ended after the grace is
    killed with all that it has started, as the supervisor would have done.
    """
    supervisor_id = int(os.environ.get(SUPERVISOR_ID) or 0)
    if supervisor_id:
        _call_after_death(supervisor_id, lambda: _end(grace_s))


def _end(grace_s: float) -> None:
    if _prctl is None:
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_s)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _call_after_death(parent_id: int, act: Callable[[], None]) -> None:
    def watch() -> None:
        while os.getppid() == parent_id:
            time.sleep(POLL_S)
        act()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
