"""Many at once, each on a database connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connections

ResultT = TypeVar("ResultT")


def run_at_once(n_threads: int, call: Callable[[int], ResultT]) -> list[ResultT]:
    """Call with 0 … n-1 in as many threads that set off together; return the results in that order."""
    start = Barrier(n_threads)

    def run(index: int) -> ResultT:
        start.wait(timeout=30)
        try:
            return call(index)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(run, range(n_threads)))
