"""Keep a few long-running commands alive together, and stop them together."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType

from mayagen.parent_watch import SUPERVISOR_ID, end_with

logger = logging.getLogger(__name__)

POLL_S = 0.2
# Calls that cannot be repeated are waited for: an image model's timeout is at most 900 s.
STOP_GRACE_S = 960.0
HEALTH_CHECK_S = 5.0
FIRST_RESTART_DELAY_S = 1.0
LONGEST_RESTART_DELAY_S = 60.0
# A command that ran for so long is not in a crash loop: its next restart is quick again.
STEADY_S = 60.0
# Make and the terminal may both pass on one and the same Ctrl-C: only a later signal is a second one.
SAME_SIGNAL_S = 2.0
SAY_WAITING_S = 6.0


@dataclass
class Service:
    """One command to keep alive.

    Args:
        name: What people call it, in messages.
        command: The program and its arguments.
        environment: The whole environment of the command; this process's own when omitted.
        inherited_descriptors: File descriptors that the command may use.
        find_fault: Given the process id, returns a sentence when the running command has stopped doing
            its work, else None; asked every few seconds.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    inherited_descriptors: Sequence[int] = ()
    find_fault: Callable[[int], str | None] | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at_s: float = field(default=0.0, init=False)
    restart_at_s: float = field(default=0.0, init=False)
    restart_delay_s: float = field(default=FIRST_RESTART_DELAY_S, init=False)

    def start(self) -> None:
        """Start the command in a session of its own, so that Ctrl-C reaches it through us alone."""
        self.process = subprocess.Popen(  # noqa: S603 - commands of our own
            self.command,
            env={**(self.environment or os.environ), SUPERVISOR_ID: str(os.getpid())},
            pass_fds=self.inherited_descriptors,
            start_new_session=True,
            # Even by SIGKILL. This process has one thread, so that nothing is locked in its fork.
            preexec_fn=partial(end_with, os.getpid(), signal.SIGTERM),  # noqa: PLW1509
        )
        self.started_at_s = time.monotonic()

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to all that the command has started, itself included."""
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def schedule_restart(self) -> None:
        """Clear what is left of the command and set when it starts again, later after each quick death."""
        self.signal_group(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.process = None
        now_s = time.monotonic()
        if now_s - self.started_at_s >= STEADY_S:
            self.restart_delay_s = FIRST_RESTART_DELAY_S
        self.restart_at_s = now_s + self.restart_delay_s
        logger.warning("%s starts again in %.0f s.", self.name, self.restart_delay_s)
        self.restart_delay_s = min(self.restart_delay_s * 2, LONGEST_RESTART_DELAY_S)


class Supervisor:
    """Runs services until a signal asks it to stop.

    Args:
        services: What to run; started in this order, stopped all at once.
        grace_s: How long services may take to stop before they are killed.
        stop_with_parent: Also stop when the process that started this one ends or is interrupted.
    """

    def __init__(
        self, services: Sequence[Service], *, grace_s: float = 60.0, stop_with_parent: bool = False
    ) -> None:
        self._services = services
        self._grace_s = grace_s
        self._parent = _Parent() if stop_with_parent else None
        self._stop_asked_at_s: float | None = None
        self._is_impatient = False

    def run(self, *, on_tick: Callable[[], None] | None = None) -> None:
        """Start every service and return once all of them have stopped, after a signal.

        SIGINT, SIGTERM and SIGHUP stop; one more, seconds later, kills what has not stopped yet.

        Args:
            on_tick: Called several times a second while the services run; must return at once.
        """
        previous = {
            number: signal.signal(number, self._note_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            for service in self._services:
                service.start()
            self._watch(on_tick)
        finally:
            self._stop_all()
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _note_signal(self, _number: int, _frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._stop_asked_at_s is None:
            self._stop_asked_at_s = now_s
        elif now_s - self._stop_asked_at_s > SAME_SIGNAL_S:
            self._is_impatient = True

    def _watch(self, on_tick: Callable[[], None] | None) -> None:
        next_health_check_s = time.monotonic() + HEALTH_CHECK_S
        while self._stop_asked_at_s is None and not (self._parent and self._parent.is_ending()):
            check_health = time.monotonic() >= next_health_check_s
            if check_health:
                next_health_check_s = time.monotonic() + HEALTH_CHECK_S
            for service in self._services:
                _keep_alive(service, check_health=check_health)
            if on_tick:
                on_tick()
            time.sleep(POLL_S)

    def _stop_all(self) -> None:
        started_s = time.monotonic()
        has_said_so = False
        for service in self._services:
            if service.process is not None:
                service.process.terminate()
        while any(_is_running(service) for service in self._services):
            waited_s = time.monotonic() - started_s
            if self._is_impatient or waited_s > self._grace_s:
                break
            if waited_s > SAY_WAITING_S and not has_said_so:
                has_said_so = True
                logger.warning("Waiting for work under way; the same signal once more ends it at once.")
            time.sleep(POLL_S / 4)
        for service in self._services:
            service.signal_group(signal.SIGKILL)
            if service.process is not None:
                service.process.wait()


class _Parent:
    """The process that started this one, as far as its end can be seen from here.

    `make` passes SIGTERM on to its recipe but not a SIGINT sent to it alone: it then waits for the recipe,
    which would run for ever. What can be seen is that make no longer catches the signal.
    """

    def __init__(self) -> None:
        self._pid = os.getppid()
        self._caught_interrupt = self._catches_interrupt()

    def is_ending(self) -> bool:
        """Whether the parent has ended or has begun to end because of an interrupt."""
        return os.getppid() != self._pid or (self._caught_interrupt and not self._catches_interrupt())

    def _catches_interrupt(self) -> bool:
        try:
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        mask = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
        return bool(int(mask, 16) >> (signal.SIGINT - 1) & 1)


def _is_running(service: Service) -> bool:
    return service.process is not None and service.process.poll() is None


def _keep_alive(service: Service, *, check_health: bool) -> None:
    if service.process is None:
        if time.monotonic() >= service.restart_at_s:
            service.start()
        return
    status = service.process.poll()
    if status is not None:
        logger.error("%s ended unexpectedly with status %d.", service.name, status)
        service.schedule_restart()
    elif check_health and service.find_fault and (fault := service.find_fault(service.process.pid)):
        logger.error("%s is stopped: %s", service.name, fault)
        service.schedule_restart()
