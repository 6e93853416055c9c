"""One fault run from its seed: start everything, let it work and suffer, then judge what is there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from tests.benchmarks.support import wait_until
from tests.faults.installation import (
    LEASE_SECONDS,
    Installation,
    Launched,
    Launcher,
    forget_connections,
)
from tests.faults.judging import (
    Finding,
    count_charges,
    judge_ends,
    judge_files,
    judge_money,
    judge_ratings,
    judge_submissions,
)
from tests.faults.machine import Machine, own_machine
from tests.faults.passing import Passage
from tests.faults.providers import KINDS, RunningProvider
from tests.faults.proxy import PostgresProxy
from tests.faults.raters import Account, people_rating
from tests.faults.relay import Relay
from tests.faults.stops import Stopper
from tests.faults.troubles import KILLS, N_STOPS, Troublemaker, draw_stops, draw_troubles
from tests.faults.watching import Watch

# A call whose repeats under its key meet faults again and again is repeated ever more rarely.
END_SECONDS: Final = 360.0
PROBE_SIZE: Final = 10
SWEEP_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Plan:
    """What one fault run does.

    Args:
        kinds: Names of providers.
        has_troubles: Whether anything but the providers goes wrong.
        has_faults: Whether the providers go wrong.
    """

    seed: int
    kinds: Sequence[str]
    n_generations: int = 500
    has_troubles: bool = True
    has_faults: bool = True


@contextmanager
def running_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give an event loop that runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True, name="proxies")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=5)


class FaultRun:
    """All that one fault run holds."""

    def __init__(
        self, plan: Plan, machine: Machine, loop: asyncio.AbstractEventLoop, stack: ExitStack
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._loop = loop
        self._began = time.monotonic()
        self._swept_at = 0.0
        self._phases: list[tuple[str, float]] = []
        self._log = stack.enter_context((machine.folder / "troubles.txt").open("w", encoding="utf-8"))
        proxy = PostgresProxy(machine.postgres.port)
        self._serve(proxy, stack)
        self._providers = []
        for name in plan.kinds:
            relay = Relay()
            self._serve(relay, stack)
            provider = RunningProvider(
                KINDS[name], machine.folder, seed=plan.seed, relay=relay, has_faults=plan.has_faults
            )
            provider.start()
            stack.callback(provider.stop)
            self._providers.append(provider)
        for provider in self._providers:
            provider.read_facts()
        self._installation = Installation(machine, proxy.port, self._providers)
        self._installation.prepare()
        stack.callback(self._installation.stop)
        relays = [provider.relay for provider in self._providers]
        rng = Random(f"{plan.seed} stops")
        self._stopper = Stopper(self._installation, proxy, relays, rng, say=self.say)
        self._watch = Watch(machine.postgres.url)

    def _serve(self, server: Passage[Any], stack: ExitStack) -> None:
        asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(timeout=10)
        stack.callback(lambda: asyncio.run_coroutine_threadsafe(server.stop(), self._loop).result(timeout=10))

    def _pass_phase(self, name: str) -> None:
        """Note that a phase of the run has just ended."""
        self._phases.append((name, time.monotonic()))
        self.say(f"over: {name}")

    def say(self, what: str) -> None:
        """Note what happens, and when."""
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", file=self._log, flush=True)

    def run(self) -> list[Finding]:
        """Do everything and return what was found."""
        self._installation.start()
        self._pass_phase("the start")
        launcher = Launcher(self._providers)
        launched = [launcher.launch(kind, self._plan.n_generations) for kind in self._plan.kinds]
        self._pass_phase("the launch")
        self._watch.start()
        rng = Random(f"{self._plan.seed} raters")
        rating = people_rating(actor=launcher.actor, port=self._installation.web_port, rng=rng, say=self.say)
        with rating as accounts:
            findings = self._make_trouble(launcher, launched) if self._plan.has_troubles else []
            troubles_ended = time.monotonic()
            self._pass_phase("the troubles")
            findings.append(self._wait_until_whole(troubles_ended))
            launched += [launcher.launch(kind, PROBE_SIZE) for kind in self._plan.kinds]
            self._wait_for_ends()
        self._pass_phase("the wait for all ends")
        self._watch.stop()
        findings += [*self._judge_time(), *self._judge(launched, accounts)]
        self._pass_phase("the judgement")
        return [*findings, *self._tell_phases()]

    def _tell_phases(self) -> Iterator[Finding]:
        began = self._began
        for name, ended in self._phases:
            yield Finding(f"seconds of {name}", ended - began, "s", "none", met=True)
            began = ended

    def _make_trouble(self, launcher: Launcher, launched: list[Launched]) -> list[Finding]:
        maker = Troublemaker(
            self._installation,
            launcher,
            launched,
            self._stopper,
            self._loop,
            Random(f"{self._plan.seed} troubles"),
            self.say,
        )
        rng = Random(self._plan.seed)
        maker.run(draw_troubles(rng), draw_stops(rng))
        n_stopped, n_killed = self._stopper.n_stopped, maker.n_killed
        findings = [
            Finding("processes killed", n_killed, "", f"= {len(KILLS)}", met=n_killed == len(KILLS)),
            Finding("workers stopped past their lease", n_stopped, "", "= 10", met=n_stopped == N_STOPS),
            Finding("answers of the database lost", maker.n_lost_answers, "", "none", met=True),
        ]
        if maker.has_no_disk:
            findings.append(Finding("disk never full: left out, it takes root", 1, "", "none", met=True))
        return findings

    def _wait_until_whole(self, since: float) -> Finding:
        target = 2 * LEASE_SECONDS + 10
        try:
            wait_until(self._installation.is_whole, seconds=120, what="the clusters' return")
        except TimeoutError:
            return Finding("seconds until all clusters are back", 120, "s", f"<= {target}", met=False)
        seconds = time.monotonic() - since
        return Finding(
            "seconds until all clusters are back", seconds, "s", f"<= {target}", met=seconds <= target
        )

    def _wait_for_ends(self) -> None:
        try:
            wait_until(self._is_over, seconds=END_SECONDS, what="the end of all work", every=0.5)
        except TimeoutError as error:
            self.say(str(error))

    def _is_over(self) -> bool:
        """Whether all is done; what only a sweep finds is not left until the minute of the next one."""
        if _is_all_done():
            return True
        if time.monotonic() - self._swept_at > SWEEP_SECONDS and _is_all_final():
            self._swept_at = time.monotonic()
            _ask_for_sweep()
        return False

    def _judge_time(self) -> list[Finding]:
        lapse, standstill = self._watch.longest_lapse_seconds, self._watch.longest_standstill_seconds
        return [
            Finding(
                "longest time that a lapsed lease was left alone",
                lapse,
                "s",
                f"<= {LEASE_SECONDS} (two leases in all)",
                met=lapse <= LEASE_SECONDS,
                details=[self._watch.longest_lapse_of],
            ),
            Finding(
                "longest standstill while work was due",
                standstill,
                "s",
                f"<= {2 * LEASE_SECONDS}",
                met=standstill <= 2 * LEASE_SECONDS,
            ),
        ]

    def _judge(self, launched: Sequence[Launched], accounts: Sequence[Account]) -> list[Finding]:
        from tests.faults import reading

        charges = {each.kind.name: count_charges(each.list_entries(), each.kind) for each in self._providers}
        rows = reading.list_rows(launched)
        self.say(f"ends: { {kind: dict(ends) for kind, ends in reading.count_ends(rows).items()} }")
        decided = reading.decide_unknown(rows, charges)
        self.say(f"unknown outcomes decided: {dict(decided)}")
        orphans = reading.collect_orphans(self._machine.disk.media)
        rows = reading.list_rows(launched)
        return [
            *judge_ends(rows, n_expected=sum(each.n_generations for each in launched)),
            *judge_submissions(rows, charges, KINDS),
            *judge_files(rows),
            *judge_money(rows, charges),
            *reading.judge_books(rows),
            *self._judge_probes(launched),
            *(
                Finding(f"calls of unknown outcome that were {word}", decided[word], "", "none", met=True)
                for word in ("paid", "unpaid")
            ),
            *judge_ratings(accounts, reading.read_ratings()),
            *orphans,
        ]

    def _judge_probes(self, launched: Sequence[Launched]) -> list[Finding]:
        from generations.choices import FINAL_STATUSES
        from generations.models import Generation

        probes = [each.run for each in launched[-len(self._plan.kinds) :]]
        left = Generation.objects.filter(run__in=probes).exclude(status__in=FINAL_STATUSES).count()
        whole = self._installation.is_whole()
        return [
            Finding("unended in new runs after the troubles", left, "", "= 0", met=left == 0),
            Finding("clusters whole at the end", float(whole), "", "= 1", met=whole),
        ]


def _is_all_final() -> bool:
    from django.db import OperationalError

    from generations.choices import FINAL_STATUSES
    from generations.models import Generation

    try:
        return not Generation.objects.exclude(status__in=FINAL_STATUSES).exists()
    except OperationalError:
        return False


def _ask_for_sweep() -> None:
    from django_q.tasks import async_task

    from generations.waking import SWEEP_TASK

    async_task(SWEEP_TASK)


def _is_all_done() -> bool:
    from django.db import OperationalError, close_old_connections

    from generations.choices import FINAL_STATUSES, ErrorCode, Status
    from generations.models import Attempt, Generation, OutputImage

    close_old_connections()
    try:
        unended = not _is_all_final()
        unsettled = Generation.objects.filter(status__in=FINAL_STATUSES, reserved_usd__isnull=False).exclude(
            status=Status.FAILED, error_code=ErrorCode.OUTCOME_UNKNOWN
        )
        open_calls = Attempt.objects.in_flight().exists()
        return not (unended or unsettled.exists() or open_calls or OutputImage.objects.unprepared().exists())
    except OperationalError:
        return False


def run_once(plan: Plan, *, on_folder: Callable[[str], None]) -> list[Finding]:
    """Do one fault run and return what was found; its folder with all logs stays when anything is not met."""
    findings: list[Finding] = []
    is_sound = False

    def keep() -> bool:
        return not is_sound

    with own_machine(keep=keep) as machine, running_loop() as loop, ExitStack() as stack:
        on_folder(str(machine.folder))
        try:
            findings = FaultRun(plan, machine, loop, stack).run()
        finally:
            forget_connections()
        is_sound = all(finding.met for finding in findings)
    return findings
