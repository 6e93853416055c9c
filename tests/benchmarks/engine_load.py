"""What the engine's benchmarks share: a protocol server, a run against it, clusters, and what was seen.

Imported inside `benchmark_installation` only: it uses the installation's database.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from tests.benchmarks.support import PeakMemory, benchmark_installation, running, wait_until

OUTPUT_BYTES = 65_536
KEY_NAME = "BENCHMARK"


@dataclass(frozen=True)
class Load:
    """What is generated, by how much.

    Args:
        server: A protocol server of `tests.providers`.
        n_in_flight: The image model's limit.
        side_px: Width and height of each output, which is PNG of `output_bytes` or what it takes.
        server_arguments: What the server is told besides, such as another picture to send.
    """

    server: str
    n_generations: int
    n_in_flight: int
    call_seconds: float
    n_clusters: int = 1
    n_workers: int = 1
    side_px: int = 512
    output_bytes: int = OUTPUT_BYTES
    server_arguments: tuple[str, ...] = ()

    @property
    def floor_seconds(self) -> float:
        """The least that it can take."""
        return self.n_generations / self.n_in_flight * self.call_seconds


@dataclass(frozen=True)
class Outcome:
    """What was seen.

    Args:
        wall_seconds: From the call that makes the run to the end of its last generation.
        until_copies_seconds: The same to the last thumbnail and blind copy.
        peak_pss_mb: Of all clusters together, their supervisors left out.
        max_in_flight: The most calls or jobs that the server ever had at once.
    """

    wall_seconds: float
    until_copies_seconds: float
    n_completed: int
    peak_pss_mb: float
    max_in_flight: int


def measure(load: Load) -> Outcome:
    """Generate the load in an installation of its own and return what was seen."""
    with protocol_server(load) as server:
        settings = {
            "MAYAGEN_QUEUE_WORKERS": str(load.n_workers),
            "MAYAGEN_UNKEYED_IN_FLIGHT": str(load.n_in_flight),
            f"MAYAGEN_PROVIDER_KEY_{KEY_NAME}": str(server["api_key"]),
        }
        with benchmark_installation(**settings) as environment:
            make_run = prepare_run(load, server)
            with start_clusters(load, environment) as pids:
                return _watch(make_run, pids, str(server["url"]))


def _watch(make_run: Callable[[], None], cluster_pids: list[int], server_url: str) -> Outcome:
    memory = PeakMemory(*cluster_pids)
    memory.start()
    # As the web server's processes, which create runs, have done when they begin to serve.
    gc.collect()
    gc.freeze()
    started = time.monotonic()
    make_run()
    wait_until(lambda: not is_any_left(), seconds=600, what="the end of the run", every=0.05)
    wall = time.monotonic() - started
    wait_until(lambda: count_unprepared() == 0, seconds=600, what="the copies", every=0.05)
    until_copies = time.monotonic() - started
    return Outcome(
        wall_seconds=wall,
        until_copies_seconds=until_copies,
        n_completed=count_completed(),
        peak_pss_mb=memory.stop(),
        max_in_flight=read_counters(server_url)["max_in_flight"],
    )


def read_counters(server_url: str) -> Mapping[str, int]:
    """Return what the protocol server has counted."""
    with urllib.request.urlopen(f"{server_url}/counters") as reply:  # noqa: S310 - our own server
        counters: dict[str, int] = json.load(reply)
    return counters


@contextmanager
def protocol_server(load: Load) -> Iterator[Mapping[str, Any]]:
    """Start the protocol server as a process of its own and give what it says of itself."""
    command = [
        *(sys.executable, "-m", "tests.providers", load.server, "--delay", str(load.call_seconds)),
        *("--output-bytes", str(load.output_bytes), "--side", str(load.side_px)),
        *load.server_arguments,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise RuntimeError("the server has no output")
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def prepare_run(load: Load, server: Mapping[str, Any]) -> Callable[..., None]:
    """Make all that a run needs, and return what creates it, with as many `repeats` as it is told."""
    from generations.services.runs import create_run
    from tests.accounts.factories import UserFactory
    from tests.generations.factories import DatasetItemFactory, DatasetVersionFactory
    from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

    actor = UserFactory(role="admin")
    model = ImageModelFactory(
        provider=load.server,
        endpoint="benchmark/model",
        base_url=server["base_url"],
        provider_options=server["options"],
        credential_name=KEY_NAME,
        parameters_schema={},
        default_parameters={},
        max_in_flight=load.n_in_flight,
    )
    version = PromptVersionFactory(user_prompt="{subject}", image_model=model, parameters={})
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(load.n_generations, dataset_version=dataset_version)

    def make_run(repeats: int = 1) -> None:
        create_run(
            actor=actor,
            name="Benchmark",
            prompt_versions=[version],
            dataset_version=dataset_version,
            repeats=repeats,
        )

    return make_run


@contextmanager
def start_clusters(load: Load, environment: Mapping[str, str]) -> Iterator[list[int]]:
    """Start the task clusters and give the process id of each, once all are ready."""
    with ExitStack() as stack:
        command = [sys.executable, "manage.py", "serve", "--only", "queue"]
        supervisors = [
            stack.enter_context(running(command, environment=environment, log=f"queue-{number}.log"))
            for number in range(load.n_clusters)
        ]
        wait_until(
            lambda: _count_ready_clusters() == load.n_clusters, seconds=60, what="the start of the clusters"
        )
        yield [_find_cluster(supervisor.pid) for supervisor in supervisors]


def is_any_left() -> bool:
    """Return whether any generation has not ended; how many would take much of what is measured."""
    from generations.choices import FINAL_STATUSES
    from generations.models import Generation

    return Generation.objects.exclude(status__in=FINAL_STATUSES).exists()


def count_unprepared() -> int:
    """Return how many outputs lack their copies."""
    from generations.models import OutputImage

    return OutputImage.objects.unprepared().count()


def count_completed() -> int:
    """Return how many generations are completed."""
    from generations.choices import Status
    from generations.models import Generation

    return Generation.objects.filter(status=Status.COMPLETED).count()


def _count_ready_clusters() -> int:
    from django_q.conf import Conf
    from django_q.status import Stat

    return sum(stat.status == Conf.IDLE for stat in Stat.get_all())


def _find_cluster(supervisor_pid: int) -> int:
    """Return the process id of the task cluster that the supervisor started."""
    children = psutil.Process(supervisor_pid).children()
    return int(next(child.pid for child in children if "qcluster" in child.cmdline()))
