"""What goes wrong in a fault run besides what the providers do: drawn from one seed, done one by one."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Final

import psycopg

from tests.faults.installation import Installation, Launched, Launcher, forget_connections
from tests.faults.processes import send
from tests.faults.proxy import Catch
from tests.faults.stops import POINTS, STOP_SECONDS, Stopper

if TYPE_CHECKING:
    from generations.models import Run

N_STOPS: Final = 10
STOPS_AT_ONCE: Final = 2
REFUSAL_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 2.6
UNMET_SECONDS: Final = 12.0
MORE_GENERATIONS: Final = 10
PATIENCE_SECONDS: Final = 30.0
KILLS: Final = (
    *(*["a busy worker"] * 12, *["an idle worker"] * 3, *["the pusher"] * 2, *["the monitor"] * 2),
    *("the guard", *["a web worker"] * 2),
)
LOST_ANSWERS: Final = {
    "an attempt's commit": 'INSERT INTO "generations_attempt"',
    "an output's commit": 'INSERT INTO "generations_outputimage"',
    "a copy's commit": 'UPDATE "generations_outputimage"',
    "a rating's commit": 'INSERT INTO "evaluations_rating"',
}
_BUSY: Final = """
    SELECT DISTINCT split_part(worker, ':', 2)::int FROM generations_generation
    WHERE status = 'processing' AND worker <> ''
"""


def draw_troubles(rng: Random) -> list[str]:
    """Return all but the stops, in the order in which they happen."""
    others = [
        *(f"kill {who}" for who in (*KILLS, "a whole cluster")),
        *(f"lose the answer to {what}" for what in LOST_ANSWERS),
        "restart PostgreSQL",
        "flush Redis",
        "refuse storage",
        "fill the disk",
        "delete a version",
        "delete a dataset",
        "cancel runs",
    ]
    rng.shuffle(others)
    return others


def draw_stops(rng: Random) -> list[str]:
    """Return the points at which workers are stopped: each at least once."""
    points = [*POINTS, *(rng.choice(POINTS) for _ in range(N_STOPS - len(POINTS)))]
    rng.shuffle(points)
    return points


@dataclass
class Troublemaker:
    """Makes the troubles happen, and notes each."""

    installation: Installation
    launcher: Launcher
    launched: list[Launched]
    stopper: Stopper
    loop: asyncio.AbstractEventLoop
    rng: Random
    say: Callable[[str], None]
    n_killed: int = 0
    has_no_disk: bool = False
    _timers: list[threading.Thread] = field(default_factory=list)
    _losing: list[Catch] = field(default_factory=list)
    _database: threading.Lock = field(default_factory=threading.Lock)

    @property
    def n_lost_answers(self) -> int:
        """How many of the answers that were to be lost have come up."""
        return sum(catch.has_met for catch in self._losing)

    def run(self, troubles: Sequence[str], stops: Sequence[str]) -> None:
        """Make all of them happen, and return once nobody stands still and the storage works."""
        lane = threading.Thread(target=self._stop_all, args=(stops,), name="stops")
        lane.start()
        for trouble in troubles:
            self.say(f"{trouble}: {self._make(trouble)}")
            time.sleep(PAUSE_SECONDS * self.rng.uniform(0.5, 1.5))
        lane.join()
        for timer in self._timers:
            timer.join()
        self.loop.call_soon_threadsafe(self.stopper.disarm)

    def _stop_all(self, points: Sequence[str]) -> None:
        for point in points:
            self._wait_for_stops(fewer_than=STOPS_AT_ONCE)
            self.loop.call_soon_threadsafe(self.stopper.arm, point)
            time.sleep(0.5)
        self._wait_for_stops(fewer_than=1)
        forget_connections()

    def _wait_for_stops(self, *, fewer_than: int) -> None:
        """Wait until fewer stops are under way; where no worker comes to a point, give them more to do."""
        deadline = time.monotonic() + 4 * STOP_SECONDS
        more_at = time.monotonic() + UNMET_SECONDS
        while self.stopper.n_pending >= fewer_than and time.monotonic() < deadline:
            if not self.stopper.n_armed:
                more_at = time.monotonic() + UNMET_SECONDS
            elif time.monotonic() > more_at:
                self._launch_more()
                more_at = time.monotonic() + UNMET_SECONDS
            time.sleep(0.2)

    def _launch_more(self) -> None:
        # A launch that the database's end interrupts may have been kept or not: nobody would know.
        with self._database:
            forget_connections()
            for kind in self.launcher.versions:
                self.launched.append(self.launcher.launch(kind, MORE_GENERATIONS))
        self.say("more was launched, since no worker came to where it was to stop")

    def _make(self, trouble: str) -> str:
        verb, _, what = trouble.partition(" ")
        match verb:
            case "kill":
                return self._kill(what)
            case "lose":
                catch = Catch("COMMIT", LOST_ANSWERS[what.removeprefix("the answer to ")], loses_answer=True)
                self._losing.append(catch)
                self.loop.call_soon_threadsafe(self.stopper.proxy.catches.append, catch)
                return "armed"
            case "restart":
                with self._database:
                    self.installation.machine.postgres.restart()
                forget_connections()
            case "flush":
                self.installation.machine.redis.flush()
            case "refuse":
                self._for_a_while(self.installation.machine.disk.refusing())
            case "fill":
                if not self.installation.machine.disk.is_mounted:
                    self.has_no_disk = True
                    return "left out: it takes a disk that only root can mount"
                self._for_a_while(self.installation.machine.disk.full())
            case "delete":
                return self._delete(what)
            case _:
                return self._cancel()
        return "done"

    def _kill(self, who: str) -> str:
        if who == "a whole cluster":
            cluster = self.rng.choice(self.installation.list_clusters())
            with suppress(ProcessLookupError):
                os.killpg(cluster.pid, signal.SIGKILL)
            return str(cluster.pid)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            candidates = self._list_candidates(who)
            if candidates and send(pid := self.rng.choice(sorted(candidates)), signal.SIGKILL):
                self.n_killed += 1
                return str(pid)
            time.sleep(0.1)
        return "there was none for a while"

    def _list_candidates(self, who: str) -> list[int]:
        if who == "a web worker":
            return self.installation.list_web_workers()
        clusters = self.installation.list_clusters()
        match who:
            case "the guard":
                return [cluster.guard for cluster in clusters]
            case "the pusher":
                return [cluster.pusher for cluster in clusters]
            case "the monitor":
                return [cluster.monitor for cluster in clusters]
        busy = self._list_busy()
        everybody = {worker for cluster in clusters for worker in cluster.workers}
        workers = list(everybody - self.stopper.spared)
        wanted = [worker for worker in workers if (worker in busy) == (who == "a busy worker")]
        # When all are busy, or none is, any will do.
        return wanted or workers

    def _list_busy(self) -> set[int]:
        try:
            with psycopg.connect(self.installation.machine.postgres.url, connect_timeout=3) as connection:
                return {int(row[0]) for row in connection.execute(_BUSY)}
        except psycopg.Error:
            return set()

    def _for_a_while(self, state: AbstractContextManager[None]) -> None:
        # One after the other: what refuses cannot be filled.
        for timer in self._timers:
            timer.join()

        def hold() -> None:
            with state:
                time.sleep(REFUSAL_SECONDS)

        self._timers.append(threading.Thread(target=hold, name="storage"))
        self._timers[-1].start()

    def _delete(self, what: str) -> str:
        from generations.services.datasets import delete_dataset
        from prompts.services.versions import delete_version

        chosen = self.rng.choice(self.launched)
        if what == "a version":
            delete_version(actor=self.launcher.actor, version=self.launcher.replace_version(chosen.kind))
        else:
            dataset_version = chosen.run.dataset_version
            assert dataset_version is not None
            delete_dataset(actor=self.launcher.actor, dataset=dataset_version.dataset)
        return chosen.kind

    def _cancel(self) -> str:
        from generations.services.runs import RunFinishedError, cancel_run

        small = [self.launcher.launch(kind, 20, is_urgent=True) for kind in self.launcher.versions]
        self.launched.extend(small)
        time.sleep(self.rng.uniform(1.0, 3.0))
        runs: list[Run] = [each.run for each in small]
        with suppress(RunFinishedError):
            return f"{[cancel_run(actor=self.launcher.actor, run=run) for run in runs]} cancelled"
        return "all had finished"
