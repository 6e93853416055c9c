"""What a generation costs the engine while 100,000 are queued, against while about 1,000 are.

The provider answers at once with a tiny picture, and copies are left out: what is left is the engine, its
claims, its transitions, its files. These lie in memory, since each is synced: on a disk that PostgreSQL uses
too, a file pays for what the server writes back of the 100,000 rows. Counted is the processor time of the
task cluster and of PostgreSQL for as many generations; the server has to be on this machine, and nothing else
should use it meanwhile.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Final

import psutil

from tests.benchmarks.engine_load import (
    KEY_NAME,
    Load,
    count_completed,
    prepare_run,
    protocol_server,
    start_clusters,
)
from tests.benchmarks.support import MEMORY, benchmark_installation, report

LOAD: Final = Load(
    server="openai", n_generations=1_000, n_in_flight=500, call_seconds=0, side_px=64, output_bytes=0
)
FEW: Final = 1_000
MANY: Final = 100_000
N_WARM_UP: Final = 500
N_MEASURED: Final = 3_000
N_ROUNDS: Final = 2
MAX_RATIO: Final = 1.2
MAX_SECONDS: Final = 300.0


@dataclass(frozen=True)
class Cost:
    """What one generation took, in milliseconds of the processor and of the clock."""

    cluster_ms: float
    database_ms: float
    wall_ms: float

    @property
    def own_ms(self) -> float:
        """All of the processor's time."""
        return self.cluster_ms + self.database_ms


def main() -> None:
    """Run the benchmark and print its figures; each round in a process of its own, which Django needs."""
    if len(sys.argv) > 1:
        print(json.dumps(asdict(measure_cost(int(sys.argv[1])))))
        return
    costs: dict[int, list[Cost]] = {FEW: [], MANY: []}
    for _ in range(N_ROUNDS):
        for n_queued, seen in costs.items():
            command = [sys.executable, "-m", "tests.benchmarks.engine_backlog", str(n_queued)]
            seen.append(Cost(**json.loads(subprocess.check_output(command, text=True))))
    few, many = (_report_costs(n_queued, seen) for n_queued, seen in costs.items())
    report(
        figure=f"the engine's own cost with {MANY:,} queued by that with {FEW:,}",
        value=many / few,
        unit="times",
        target=f"<= {MAX_RATIO}",
        met=many / few <= MAX_RATIO,
    )


def _report_costs(n_queued: int, seen: list[Cost]) -> float:
    """Print what generations cost with so many queued; return the milliseconds of the processor for one."""
    for name, ms in (
        ("processor time of cluster and PostgreSQL", mean(cost.own_ms for cost in seen)),
        ("of which PostgreSQL's", mean(cost.database_ms for cost in seen)),
        ("time from one to the next", mean(cost.wall_ms for cost in seen)),
    ):
        figure = f"{n_queued:,} queued: {name}, mean of {len(seen)} × {N_MEASURED:,} generations"
        report(figure=figure, value=ms, unit="ms/generation", target="none", met=True)
    return mean(cost.own_ms for cost in seen)


def measure_cost(n_queued: int) -> Cost:
    """Return what generations cost while about so many are queued, in an installation of its own."""
    with protocol_server(LOAD) as server:
        settings = {
            "MAYAGEN_QUEUE_WORKERS": "1",
            "MAYAGEN_UNKEYED_IN_FLIGHT": str(LOAD.n_in_flight),
            f"MAYAGEN_PROVIDER_KEY_{KEY_NAME}": str(server["api_key"]),
        }
        with benchmark_installation(data_in=MEMORY, **settings) as environment:
            make_run = prepare_run(LOAD, server)
            make_run(repeats=n_queued // LOAD.n_generations)
            _tidy()
            with start_clusters(LOAD, environment) as [cluster]:
                try:
                    return _watch(make_run, cluster, n_queued)
                finally:
                    _kill(cluster)


def _watch(make_run: Callable[..., None], cluster: int, n_queued: int) -> Cost:
    n_made = n_queued

    def wait_for(n_wanted: int) -> int:
        nonlocal n_made
        deadline = time.monotonic() + MAX_SECONDS
        while (n_completed := count_completed()) < n_wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{n_completed} were completed within {MAX_SECONDS:.0f} s")
            # Half as many are in flight. A queue that runs dry would end the drain, and copies would be made.
            if n_made - n_completed < 2 * n_queued and n_queued == FEW:
                make_run()
                n_made += LOAD.n_generations
            time.sleep(0.05)
        return n_completed

    clock = Clock(cluster)
    n_before = wait_for(N_WARM_UP)
    before = clock.read()
    n = wait_for(n_before + N_MEASURED) - n_before
    after = clock.read()
    cluster_s, database_s, wall_s = (end - start for start, end in zip(before, after, strict=True))
    return Cost(cluster_ms=1e3 * cluster_s / n, database_ms=1e3 * database_s / n, wall_ms=1e3 * wall_s / n)


def _kill(cluster: int) -> None:
    """End the cluster at once: it would make all copies before it went."""
    for process in [psutil.Process(cluster), *psutil.Process(cluster).children(recursive=True)]:
        process.kill()


class Clock:
    """Reads the processor time of a task cluster and of PostgreSQL, and the clock, in seconds."""

    def __init__(self, cluster: int) -> None:
        from django.db import connection

        connection.ensure_connection()
        self._cluster = psutil.Process(cluster)
        self._backend = psutil.Process(connection.connection.info.backend_pid)
        server = self._backend.parent()
        if server is None:
            raise RuntimeError("PostgreSQL has to run on this machine.")
        self._server = server

    def read(self) -> tuple[float, float, float]:
        """Return all three; without the copies, and without what this process asks of the database."""
        tree = [self._cluster, *self._cluster.children(recursive=True)]
        cluster_s = sum(map(_read_own, tree)) - sum(map(_read_copying, tree))
        database_s = sum(map(_read_own, self._server.children())) - _read_own(self._backend)
        # Those that have ended, such as the workers of a parallel plan.
        ended = self._server.cpu_times()
        return cluster_s, database_s + ended.children_user + ended.children_system, time.monotonic()


def _read_own(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _read_copying(process: psutil.Process) -> float:
    """Return the time of the threads that make copies, which are those that yield to all others."""
    usual = os.getpriority(os.PRIO_PROCESS, process.pid)
    seconds = [
        thread.user_time + thread.system_time
        for thread in process.threads()
        if os.getpriority(os.PRIO_PROCESS, thread.id) > usual
    ]
    return float(sum(seconds))


def _tidy() -> None:
    """Do what the server does by itself a minute after so many rows have come."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
        cursor.execute("CHECKPOINT")


if __name__ == "__main__":
    main()
