"""How long one worker process takes for many slow calls at once, and how much memory the cluster takes.

A local protocol server answers each call, or ends each job, after five seconds. First a provider whose calls
block, then one with job ids, whose jobs are asked for.
"""

from __future__ import annotations

import subprocess
import sys

from tests.benchmarks.engine_load import Load, measure
from tests.benchmarks.support import report

CALLS = Load(server="openai", n_generations=500, n_in_flight=250, call_seconds=5)
JOBS = Load(server="fal", n_generations=2_000, n_in_flight=500, call_seconds=5)


def main() -> None:
    """Run the benchmark and print its figures; each load in a process of its own, which Django needs."""
    loads = sys.argv[1:]
    if not loads:
        for name in ("calls", "jobs"):
            subprocess.run([sys.executable, "-m", "tests.benchmarks.engine", name], check=True)
    if "calls" in loads:
        _run(CALLS, what="calls", max_wall=1.2, max_pss_mb=200.0)
    if "jobs" in loads:
        _run(JOBS, what="jobs", max_wall=1.12, max_pss_mb=220.0)


def _run(load: Load, *, what: str, max_wall: float, max_pss_mb: float) -> None:
    outcome = measure(load)
    limit = load.floor_seconds * max_wall
    is_complete = outcome.n_completed == load.n_generations
    report(
        figure=f"wall for {load.n_generations:,} {what} of {load.call_seconds:.0f} s,"
        f" {load.n_in_flight} in flight",
        value=outcome.wall_seconds,
        unit="s",
        target=f"<= {limit:.1f}",
        met=outcome.wall_seconds <= limit and is_complete,
    )
    report(
        figure=f"completed generations of {what}",
        value=outcome.n_completed,
        unit="generations",
        target=f"= {load.n_generations}",
        met=is_complete,
    )
    report(
        figure=f"most {what} in flight, as the server counts",
        value=outcome.max_in_flight,
        unit=what,
        target=f"<= {load.n_in_flight}",
        met=outcome.max_in_flight <= load.n_in_flight,
    )
    report(
        figure=f"wall until every copy of {what} is made",
        value=outcome.until_copies_seconds,
        unit="s",
        target="none",
        met=True,
    )
    report(
        figure=f"PSS of the cluster at its peak, {what}",
        value=outcome.peak_pss_mb,
        unit="MB",
        target=f"<= {max_pss_mb:.0f}",
        met=outcome.peak_pss_mb <= max_pss_mb,
    )


if __name__ == "__main__":
    main()
