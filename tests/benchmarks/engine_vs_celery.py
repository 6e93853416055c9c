"""The engine against Celery with 16 prefork processes and Redis, at the same work on the same machine.

Both order images of 64 KB from the same protocol server, whose jobs take five seconds, check, hash and store
them, make two thumbnails and the blind copy, and write to PostgreSQL; both are timed from the first order to
the last copy. Celery makes fewer, since 2,000 would take it ten minutes: what is compared is the rate. Memory
is that of the processes that do the work and of those that keep them; databases, Redis and the product's
supervisor are left out. It needs `redis-server`; Celery is installed in the system's temporary folder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tests.benchmarks.celery_load import N_PROCESSES, measure_celery
from tests.benchmarks.engine import JOBS
from tests.benchmarks.engine_load import Load, Outcome, measure
from tests.benchmarks.support import report

# Ten rounds of all processes.
CELERY_JOBS: Final = replace(JOBS, n_generations=10 * N_PROCESSES)
MIN_TIMES_FASTER: Final = 10.0
MAX_MEMORY_SHARE: Final = 0.1


def main() -> None:
    """Run the benchmark and print its figures; Celery first, while this process has not set up Django."""
    celery = measure_celery(CELERY_JOBS)
    engine = measure(JOBS)
    celery_rate, celery_mb = _report_side(f"Celery, {N_PROCESSES} prefork processes", CELERY_JOBS, celery)
    engine_rate, engine_mb = _report_side(f"the engine, {JOBS.n_workers} worker process", JOBS, engine)
    times_faster = engine_rate / celery_rate
    report(
        figure="the engine's rate by Celery's",
        value=times_faster,
        unit="times",
        target=f">= {MIN_TIMES_FASTER:.0f}",
        met=times_faster >= MIN_TIMES_FASTER,
    )
    share = engine_mb / celery_mb
    report(
        figure="the engine's memory for each generation in flight by Celery's",
        value=share,
        unit="times",
        target=f"<= {MAX_MEMORY_SHARE}",
        met=share <= MAX_MEMORY_SHARE,
    )


def _report_side(name: str, load: Load, outcome: Outcome) -> tuple[float, float]:
    """Print one side's figures; return its generations a second and its MB for each of them in flight."""
    is_complete = outcome.n_completed == load.n_generations
    rate = outcome.n_completed / outcome.until_copies_seconds
    report(
        figure=f"{name}: {load.n_generations:,} generations of {load.call_seconds:.0f} s with their copies",
        value=outcome.until_copies_seconds,
        unit="s",
        target=f"all {load.n_generations:,}",
        met=is_complete,
    )
    figure = f"{name}: until all are completed, whatever copies are still to be made"
    report(figure=figure, value=outcome.wall_seconds, unit="s", target="none", met=True)
    report(figure=f"{name}: rate", value=rate, unit="generations/s", target="none", met=True)
    figure = f"{name}: PSS at its peak"
    report(figure=figure, value=outcome.peak_pss_mb, unit="MB", target="none", met=True)
    mb_each = outcome.peak_pss_mb / outcome.max_in_flight
    report(
        figure=f"{name}: PSS by the {outcome.max_in_flight} that were in flight at most",
        value=mb_each,
        unit="MB/generation",
        target="none",
        met=True,
    )
    return rate, mb_each


if __name__ == "__main__":
    main()
