"""The clock that a worker judges its own leases by."""

from __future__ import annotations

import time
from typing import Final

_SLEEPS_TOO: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def read_clock() -> float:
    """Return seconds that pass for a process that is stopped, and on Linux for a machine that sleeps."""
    return time.clock_gettime(_SLEEPS_TOO)
