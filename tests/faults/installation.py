"""One installation as people run it: a web server and two task clusters, and the runs that they work on.

What needs Django's models imports them inside: the settings are known only once the machine runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import psutil

from tests.benchmarks.support import ROOT, find_free_port, wait_until
from tests.faults.machine import Machine
from tests.faults.processes import end_all, list_descendants, send
from tests.faults.providers import TIMEOUT_SECONDS, RunningProvider

if TYPE_CHECKING:
    from generations.models import Run

LEASE_SECONDS: Final = 15
N_CLUSTERS: Final = 2
N_WORKERS: Final = 3
MAX_IN_FLIGHT: Final = 24
MAX_ATTEMPTS: Final = 6
# With a ceiling a run's money is summed as it begins; this one stops nothing, so the same work is done.
NEVER_REACHED_USD: Final = Decimal(10_000)


@dataclass(frozen=True)
class Cluster:
    """The processes of a task cluster, as it tells them itself."""

    pid: int
    guard: int
    monitor: int
    pusher: int
    workers: tuple[int, ...]


@dataclass
class Installation:
    """The processes of an installation, and the ways to look at them.

    Args:
        database_port: Of the proxy before the database, which the product's processes use.
    """

    machine: Machine
    database_port: int
    providers: Sequence[RunningProvider]
    web_port: int = field(default_factory=find_free_port)
    environment: dict[str, str] = field(default_factory=dict)
    supervisors: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def prepare(self) -> None:
        """Make the database's tables, and let this process use the models."""
        common = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAYAGEN_")},
            "DJANGO_SETTINGS_MODULE": "mayagen.settings",
            "MAYAGEN_DATA_DIR": str(self.machine.data_dir),
            "MAYAGEN_REDIS_URL": self.machine.redis.url,
            "MAYAGEN_LEASE_SECONDS": str(LEASE_SECONDS),
            "MAYAGEN_QUEUE_WORKERS": str(N_WORKERS),
            "MAYAGEN_PUBLIC_URL": f"http://127.0.0.1:{self.web_port}",
            "MAYAGEN_WEB_WORKERS": "1",
            "PORT": str(self.web_port),
            "PYTHONPATH": str(ROOT),
            **{
                f"MAYAGEN_PROVIDER_KEY_{each.key_name}": str(each.facts["api_key"]) for each in self.providers
            },
        }
        by_proxy = self.machine.postgres.url.replace(
            f":{self.machine.postgres.port}/", f":{self.database_port}/"
        )
        self.environment = {**common, "DATABASE_URL": by_proxy}
        for name in [name for name in os.environ if name not in common]:
            del os.environ[name]
        os.environ.update({**common, "DATABASE_URL": self.machine.postgres.url})
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        with subprocess.Popen(command, cwd=ROOT) as migration:
            import django

            django.setup()
        if migration.returncode:
            raise subprocess.CalledProcessError(migration.returncode, command)

    def start(self) -> None:
        """Start the web server and the clusters, and wait until all of them are ready."""
        self._start("web", ["--only", "web"])
        for number in range(N_CLUSTERS):
            self._start(f"queue-{number}", ["--only", "queue"])
        wait_until(self.is_whole, seconds=60, what="the start of the clusters")

    def _start(self, name: str, arguments: list[str]) -> None:
        with (self.machine.folder / f"{name}.log").open("wb") as log:
            command = [sys.executable, "manage.py", "serve", *arguments]
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.supervisors.append(process)

    def stop(self) -> None:
        """End all that was started here, at once: nothing is looked at any more."""
        everybody = [supervisor.pid for supervisor in self.supervisors] + self.list_processes()
        # The supervisors first, so that none starts anything again.
        for pid in everybody:
            send(pid, signal.SIGKILL)
        end_all(everybody, seconds=5)

    def list_processes(self) -> list[int]:
        """Return all processes of the clusters, those that outlived their parents included."""
        own = {supervisor.pid for supervisor in self.supervisors}
        alive = list_descendants(*own)
        orphans = [worker for cluster in self.list_clusters() for worker in cluster.workers]
        return list({*alive, *orphans})

    def list_web_workers(self) -> list[int]:
        """Return the processes that answer requests: those of the web server that have started none."""
        return [pid for pid in list_descendants(self.supervisors[0].pid) if not list_descendants(pid)]

    def list_clusters(self) -> list[Cluster]:
        """Return the clusters that have given a sign of life within three seconds."""
        from django_q.status import Stat

        return [
            Cluster(stat.pid, stat.sentinel, stat.monitor, stat.pusher, tuple(stat.workers))
            for stat in Stat.get_all()
        ]

    def is_whole(self) -> bool:
        """Whether all clusters have given a sign of life and all their processes live."""
        clusters = [cluster for cluster in self.list_clusters() if psutil.pid_exists(cluster.pid)]
        pids = [
            pid
            for cluster in clusters
            for pid in (cluster.pid, cluster.guard, cluster.monitor, cluster.pusher, *cluster.workers)
        ]
        n_expected = N_CLUSTERS * (4 + N_WORKERS)
        return len(clusters) == N_CLUSTERS and len(pids) == n_expected and all(map(_lives, pids))


def _lives(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status not in {psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED}


@dataclass(frozen=True)
class Launched:
    """A run against one provider: what it is known by, and how much it makes."""

    kind: str
    run: Run
    n_generations: int


class Launcher:
    """Makes the catalogue, and launches runs on it."""

    def __init__(self, providers: Sequence[RunningProvider]) -> None:
        from tests.accounts.factories import UserFactory
        from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

        self.actor = UserFactory(role="admin")
        self.versions: dict[str, Any] = {}
        self._n_launched = 0
        self._lock = threading.Lock()
        for provider in providers:
            model = ImageModelFactory(
                provider=provider.kind.server,
                endpoint="faults/model",
                base_url=provider.facts["base_url"],
                provider_options={**provider.facts["options"], **(provider.kind.options or {})},
                credential_name=provider.key_name,
                parameters_schema={},
                default_parameters={},
                is_free=False,
                price_usd="0.04",
                max_in_flight=MAX_IN_FLIGHT,
                timeout_seconds=TIMEOUT_SECONDS,
                max_attempts=MAX_ATTEMPTS,
            )
            self.versions[provider.kind.name] = PromptVersionFactory(
                user_prompt="{subject}", image_model=model, parameters={}
            )

    def launch(self, kind: str, n_generations: int, *, is_urgent: bool = False) -> Launched:
        """Launch a run of so many generations, each with a prompt of its own; every other one is capped."""
        from generations.choices import Priority
        from generations.models import DatasetItem
        from generations.services.runs import create_run
        from tests.generations.factories import DatasetItemFactory, DatasetVersionFactory

        with self._lock:
            self._n_launched += 1
            number_of_run = self._n_launched
        dataset_version = DatasetVersionFactory()
        DatasetItem.objects.bulk_create(
            DatasetItemFactory.build(
                dataset_version=dataset_version,
                position=number,
                variables={"subject": f"{kind} {number_of_run}-{number}"},
            )
            for number in range(n_generations)
        )
        run = create_run(
            actor=self.actor,
            name=f"Faults {kind} {number_of_run}",
            prompt_versions=[self.versions[kind]],
            dataset_version=dataset_version,
            priority=Priority.HIGH if is_urgent else Priority.NORMAL,
            ceiling_usd=NEVER_REACHED_USD if number_of_run % 2 else None,
        )
        return Launched(kind, run, n_generations)

    def replace_version(self, kind: str) -> Any:
        """Use a new version from now on, and return the one used so far."""
        from tests.prompts.factories import PromptVersionFactory

        old = self.versions[kind]
        self.versions[kind] = PromptVersionFactory(
            user_prompt="{subject}", image_model=old.image_model, parameters={}
        )
        return old


def forget_connections() -> None:
    """Let this process connect anew to a database that was started again."""
    from django.conf import settings
    from django.db import connections

    if settings.configured:
        connections.close_all()
