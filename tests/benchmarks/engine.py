"""How long one worker process takes for many slow calls at once, and how much memory the cluster takes.

A local server that speaks the images API answers each call after five seconds.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psutil

from tests.benchmarks.support import PeakMemory, benchmark_installation, report, running, wait_until
from tests.providers.openai_server import API_KEY

N_GENERATIONS = 500
N_IN_FLIGHT = 250
CALL_SECONDS = 5
OUTPUT_BYTES = 65_536
FLOOR_SECONDS = N_GENERATIONS / N_IN_FLIGHT * CALL_SECONDS
MAX_WALL = 1.2
MAX_PSS_MB = 200.0


def main() -> None:
    """Run the benchmark and print its figures."""
    with (
        benchmark_installation(
            MAYAGEN_QUEUE_WORKERS="1", MAYAGEN_PROVIDER_KEY_BENCHMARK=API_KEY
        ) as environment,
        images_server(environment) as address,
        running(
            [sys.executable, "manage.py", "serve", "--only", "queue"],
            environment=environment,
            log="queue.log",
        ) as supervisor,
    ):
        make_run, count_left = _prepare(address)
        wait_until(_is_cluster_ready, seconds=30, what="the start of the cluster")
        memory = PeakMemory(_find_cluster(supervisor.pid))
        memory.start()
        started = time.monotonic()
        make_run()
        wait_until(lambda: count_left() == 0, seconds=120, what="the end of the run", every=0.02)
        wall = time.monotonic() - started
        wait_until(lambda: _count_unprepared() == 0, seconds=60, what="the copies", every=0.05)
        until_copies = time.monotonic() - started
        peak = memory.stop()
        n_completed = _count_completed()
    limit = FLOOR_SECONDS * MAX_WALL
    report(
        figure=f"wall for {N_GENERATIONS} generations of {CALL_SECONDS} s, {N_IN_FLIGHT} in flight",
        value=wall,
        unit="s",
        target=f"<= {limit:.0f}",
        met=wall <= limit and n_completed == N_GENERATIONS,
    )
    report(
        figure="completed generations",
        value=n_completed,
        unit="generations",
        target=f"= {N_GENERATIONS}",
        met=n_completed == N_GENERATIONS,
    )
    report(figure="wall until every copy is made", value=until_copies, unit="s", target="none", met=True)
    report(
        figure="PSS of the cluster at its peak",
        value=peak,
        unit="MB",
        target=f"<= {MAX_PSS_MB:.0f}",
        met=peak <= MAX_PSS_MB,
    )


@contextmanager
def images_server(environment: Mapping[str, str]) -> Iterator[str]:
    """Start the protocol server as a process of its own and give its address."""
    command = [
        *(sys.executable, "-m", "tests.providers", "--port", "0"),
        *("--delay", str(CALL_SECONDS), "--output-bytes", str(OUTPUT_BYTES)),
    ]
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield str(json.loads(process.stdout.readline())["base_url"])
    finally:
        process.terminate()
        process.wait()


def _prepare(address: str):  # type: ignore[no-untyped-def]  # noqa: ANN202
    from generations.choices import FINAL_STATUSES
    from generations.models import Generation
    from generations.services.runs import create_run
    from tests.accounts.factories import UserFactory
    from tests.generations.factories import DatasetItemFactory, DatasetVersionFactory
    from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

    actor = UserFactory(role="admin")
    model = ImageModelFactory(
        provider="openai",
        endpoint="benchmark",
        base_url=address,
        credential_name="BENCHMARK",
        parameters_schema={},
        default_parameters={},
        max_in_flight=N_IN_FLIGHT,
    )
    version = PromptVersionFactory(user_prompt="{subject}", image_model=model, parameters={})
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(N_GENERATIONS, dataset_version=dataset_version)

    def make_run() -> None:
        create_run(actor=actor, name="Benchmark", prompt_versions=[version], dataset_version=dataset_version)

    def count_left() -> int:
        return Generation.objects.exclude(status__in=FINAL_STATUSES).count()

    return make_run, count_left


def _find_cluster(supervisor_pid: int) -> int:
    """Return the process id of the task cluster that the supervisor started."""
    children = psutil.Process(supervisor_pid).children()
    return int(next(child.pid for child in children if "qcluster" in child.cmdline()))


def _is_cluster_ready() -> bool:
    from django_q.conf import Conf
    from django_q.status import Stat

    return any(stat.status == Conf.IDLE for stat in Stat.get_all())


def _count_unprepared() -> int:
    from generations.models import OutputImage

    return OutputImage.objects.unprepared().count()


def _count_completed() -> int:
    from generations.choices import Status
    from generations.models import Generation

    return Generation.objects.filter(status=Status.COMPLETED).count()


if __name__ == "__main__":
    main()
