"""Keep one worker of a cluster free of drains, which last for minutes, so that no other task waits for them.

Who drains has a place: a byte of a nameless file that the cluster's processes inherit, with a record lock on
it. The kernel gives such a lock back however its process ends, and what that process has forked meanwhile
does not hold it.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from contextlib import ExitStack
from tempfile import TemporaryFile
from typing import IO, Final

from mayagen.common.process_stat import is_stopped

logger = logging.getLogger(__name__)


class DrainingPlaces:
    """The places of the cluster that this process belongs to; outside of clusters there are always more.

    A process may hold one at a time. Their file must never be opened again: whenever a process closes any
    descriptor of a file, all of that process's locks on it are gone.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._holder_ids = memoryview(b"").cast("q")

    def share(self, *, n_workers: int) -> None:
        """Make the places of the cluster that is going to be forked from this process: all workers but one.

        Where no file can be made there is no limit: to drain matters more.
        """
        try:
            self._file = TemporaryFile()  # noqa: SIM115 - kept for as long as the cluster lasts
        except OSError as error:
            _warn(error)
            return
        # Memory that all of them see: who has, or had last, each of the places.
        self._holder_ids = memoryview(mmap.mmap(-1, n_workers * self._holder_ids.itemsize)).cast("q")

    def take(self) -> ExitStack | None:
        """Take a place without waiting, or return None when all are taken; to close it gives it back."""
        place = ExitStack()
        if self._file is None:
            return place
        try:
            number = self._lock_one(self._file)
        except OSError as error:
            _warn(error)
            return place
        if number is None:
            return None
        self._holder_ids[number] = os.getpid()
        place.callback(fcntl.lockf, self._file, fcntl.LOCK_UN, 1, number)
        return place

    def _lock_one(self, file: IO[bytes]) -> int | None:
        n_workers = len(self._holder_ids)
        n_places = max(1, n_workers - 1)
        for number in range(n_workers):
            if number >= n_places:
                return None
            if _lock(file, number):
                return number
            # One that stands still must not keep the others from taking up its work.
            n_places += is_stopped(self._holder_ids[number])
        return None


PLACES: Final = DrainingPlaces()
"""Those of this process's cluster, once its command has shared them."""


def _lock(file: IO[bytes], number: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
    except (BlockingIOError, PermissionError):
        # Either may say that it is taken, as systems have it.
        return False
    return True


def _warn(error: OSError) -> None:
    logger.warning("any number of workers may drain at once: %s", error)
