"""The web server's worker: gunicorn's threads, with connections shared out evenly among processes."""

from __future__ import annotations

import time
from typing import Any, Final

from gunicorn.workers.gthread import ThreadWorker

PAUSE_SECONDS: Final = 0.0005
LONGEST_PAUSE_SECONDS: Final = 0.005


class FairThreadWorker(ThreadWorker):
    """A worker that lets those with fewer connections take a new one first.

    All workers wake for a new connection, and one of them, with nothing to do, may take every one of a row
    before the others are awake. Browsers keep their connections, so all their requests would then run under
    one interpreter's lock while the other processes idle.
    """

    def accept(self, listener: Any) -> None:
        """Take a waiting connection, unless another worker was faster."""
        if self.nr_conns:
            time.sleep(min(self.nr_conns * PAUSE_SECONDS, LONGEST_PAUSE_SECONDS))
        super().accept(listener)  # type: ignore[no-untyped-call] # gunicorn is not typed
