"""The engine's jobs again, by four worker processes in two clusters: as fast, and no limit exceeded.

Of the two workers of each cluster one may drain at a time.
"""

from __future__ import annotations

from tests.benchmarks.engine_load import Load, measure
from tests.benchmarks.support import report

LOAD = Load(server="fal", n_generations=2_000, n_in_flight=500, call_seconds=5, n_clusters=2, n_workers=2)
MAX_WALL = 1.12


def main() -> None:
    """Run the benchmark and print its figures."""
    outcome = measure(LOAD)
    limit = LOAD.floor_seconds * MAX_WALL
    is_complete = outcome.n_completed == LOAD.n_generations
    report(
        figure=f"wall for {LOAD.n_generations:,} jobs of {LOAD.call_seconds:.0f} s, {LOAD.n_in_flight} in"
        f" flight, {LOAD.n_clusters} clusters of {LOAD.n_workers} workers",
        value=outcome.wall_seconds,
        unit="s",
        target=f"<= {limit:.1f}",
        met=outcome.wall_seconds <= limit and is_complete,
    )
    report(
        figure="most jobs in flight, as the server counts",
        value=outcome.max_in_flight,
        unit="jobs",
        target=f"<= {LOAD.n_in_flight}",
        met=outcome.max_in_flight <= LOAD.n_in_flight,
    )
    report(
        figure="PSS of both clusters at their peak",
        value=outcome.peak_pss_mb,
        unit="MB",
        target="none",
        met=True,
    )


if __name__ == "__main__":
    main()
