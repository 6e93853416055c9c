"""Stop a worker at one point of its work for longer than its lease, and let it go on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from mayagen.common.process_stat import is_stopped
from tests.faults.installation import LEASE_SECONDS, Installation
from tests.faults.processes import find_process, send
from tests.faults.proxy import Catch, PostgresProxy
from tests.faults.relay import CallCatch, Relay

STOP_SECONDS: Final = LEASE_SECONDS * 1.15 + 1
_NEW_ATTEMPT: Final = 'INSERT INTO "generations_attempt"'
_NEW_OUTPUT: Final = 'INSERT INTO "generations_outputimage"'
# What a worker asks first when it writes of an answer, and of what it has stored.
_ANSWERED: Final = r'SELECT (?!.*SKIP LOCKED).*"generations_attempt"."answered_at" IS NULL.*FOR UPDATE'
_COMPLETED: Final = r"SELECT (?!.*SKIP LOCKED).*is_completed_after_cancel.*FOR UPDATE"

POINTS: Final = (
    "before the attempt's commit",
    "after the attempt's commit",
    "in the call",
    "after the answer",
    "before the output's row",
    "after the output's row",
)


@dataclass
class Stopper:
    """Arms the proxy and the relays, and keeps account of who stands still."""

    installation: Installation
    proxy: PostgresProxy
    relays: list[Relay]
    rng: Random
    say: Callable[[str], None]
    spared: set[int] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _pids: dict[int, int] = field(default_factory=dict)
    n_stopped: int = 0
    n_pending: int = 0

    @property
    def n_armed(self) -> int:
        """How many points no worker has come to yet."""
        return self.n_pending - len(self.spared)

    def arm(self, point: str) -> Catch | CallCatch:
        """Let the next worker that comes to this point stand still there."""
        self.n_pending += 1
        if point == "in the call":
            call = CallCatch(meet=lambda port: self._stop_in_call(port, point), wants=self._is_worker)
            self.rng.choice(self.relays).catches.append(call)
            return call
        catch = self._make_catch(point)
        self.proxy.catches.append(catch)
        return catch

    def disarm(self) -> None:
        """Wait for no point any more."""
        self.n_pending -= len(self.proxy.catches) + sum(len(relay.catches) for relay in self.relays)
        self.proxy.catches.clear()
        for relay in self.relays:
            relay.catches.clear()

    def _make_catch(self, point: str) -> Catch:
        async def before(port: int, forward: Callable[[], Awaitable[None]]) -> None:
            await self._stop(port, point)
            await forward()

        async def after(port: int, forward: Callable[[], Awaitable[None]]) -> None:
            await self._stop(port, point, meanwhile=forward)

        match point:
            case "before the attempt's commit":
                return Catch("COMMIT", _NEW_ATTEMPT, meet=before, wants=self._is_worker)
            case "after the attempt's commit":
                return Catch("COMMIT", _NEW_ATTEMPT, meet=after, wants=self._is_worker)
            case "after the answer":
                return Catch(_ANSWERED, meet=before, wants=self._is_worker)
            case "before the output's row" if self.rng.random() < 0.5:
                return Catch(_COMPLETED, meet=before, wants=self._is_worker)
            case "before the output's row":
                return Catch("COMMIT", _NEW_OUTPUT, meet=before, wants=self._is_worker)
            case _:
                return Catch("COMMIT", _NEW_OUTPUT, meet=after, wants=self._is_worker)

    def _is_worker(self, port: int) -> bool:
        pid = self._find(port)
        if pid is None or pid in self.spared:
            return False
        self._pids[port] = pid
        return True

    def _find(self, port: int) -> int | None:
        workers = [pid for cluster in self.installation.list_clusters() for pid in cluster.workers]
        return find_process(port, workers)

    async def _stop_in_call(self, port: int, point: str) -> None:
        await self._stop(port, point)

    async def _stop(
        self, port: int, point: str, *, meanwhile: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        pid = self._pids.pop(port)
        if not send(pid, signal.SIGSTOP):
            # It has just been killed: somebody else will come to this point.
            self.n_pending -= 1
            self.arm(point)
            if meanwhile is not None:
                await meanwhile()
            return
        # Whatever becomes of the connection, the worker stands still for its time.
        task = asyncio.create_task(self._hold(pid, point, meanwhile))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        await asyncio.shield(task)

    async def _hold(self, pid: int, point: str, meanwhile: Callable[[], Awaitable[None]] | None) -> None:
        self.spared.add(pid)
        self.n_stopped += 1
        self.say(f"stopped {pid} {point}")
        try:
            for _ in range(100):
                if is_stopped(pid):
                    break
                await asyncio.sleep(0.01)
            if meanwhile is not None:
                with contextlib.suppress(OSError):
                    await meanwhile()
            await asyncio.sleep(STOP_SECONDS)
        finally:
            send(pid, signal.SIGCONT)
            self.spared.discard(pid)
            self.n_pending -= 1
            self.say(f"continued {pid}")
