"""Commands are kept alive together and stopped together, whoever sends the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Each service notes its process id and that of a child of its own, then sleeps.
SERVICE = "echo $$ >> {folder}/{name}; sleep 600 & echo $! >> {folder}/{name}-child; {tail}"
DRIVER = """
import sys
from mayagen import supervisor
from mayagen.supervisor import Service, Supervisor
supervisor.HEALTH_CHECK_S = 0.2
supervisor.SAME_SIGNAL_S = 0.5
supervisor.FIRST_RESTART_DELAY_S = 0.1
folder, parent, *scripts = sys.argv[1:]
services = [Service(str(n), ("sh", "-c", script)) for n, script in enumerate(scripts)]
for service in services:
    service.restart_delay_s = 0.1
def find_fault(process_id):
    from pathlib import Path
    return "it is deaf." if Path(folder, "deaf").exists() and not Path(folder, "deaf").unlink() else None
services[0].find_fault = find_fault
Supervisor(services, grace_s=4, stop_with_parent=parent == "parent").run()
print("stopped")
"""


class Supervised:
    """A supervisor in a process of its own, over the services named."""

    def __init__(self, folder: Path, *tails: str, under_make: bool = False) -> None:
        self.folder = folder
        scripts = [
            SERVICE.format(folder=folder, name=f"service{n}", tail=tail) for n, tail in enumerate(tails)
        ]
        command = [sys.executable, "-c", DRIVER, str(folder), "parent" if under_make else "-", *scripts]
        if under_make:
            for n, part in enumerate(command):
                (folder / f"part{n}").write_text(part)
            parts = " ".join(f'"$$(cat {folder}/part{n})"' for n in range(len(command)))
            (folder / "Makefile").write_text(f"run:\n\t@exec {parts}\n")
            command = ["make", "--file", str(folder / "Makefile"), "run"]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: len(self.read_ids("service0")) == 1)

    def read_ids(self, name: str) -> list[int]:
        path = self.folder / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def all_ids(self) -> list[int]:
        return [
            number for path in self.folder.glob("service*") for number in map(int, path.read_text().split())
        ]


def wait_until(is_true: Callable[[], bool], *, limit_s: float = 15.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def is_alive(process_id: int) -> bool:
    try:
        status = Path(f"/proc/{process_id}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


@pytest.fixture(autouse=True)
def _interrupts_are_heard() -> Iterator[None]:
    """Let what is started here hear Ctrl-C, even where a shell started the tests in its background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Supervised]]:
    started: list[Supervised] = []

    def start(*tails: str, under_make: bool = False) -> Supervised:
        started.append(Supervised(tmp_path, *tails, under_make=under_make))
        return started[-1]

    yield start
    for supervised in started:
        if supervised.process.poll() is None:
            supervised.process.kill()
            supervised.process.wait()
        for number in supervised.all_ids():
            if is_alive(number):
                os.kill(number, signal.SIGKILL)
        for pipe in (supervised.process.stdout, supervised.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_every_service_and_its_children_with_status_0(
    supervise: Callable[..., Supervised], number: signal.Signals
) -> None:
    supervised = supervise("wait", "wait")
    wait_until(lambda: len(supervised.all_ids()) == 4)

    supervised.process.send_signal(number)

    assert supervised.process.wait(timeout=10) == 0
    assert not any(is_alive(number) for number in supervised.all_ids())


def test_a_service_that_ends_is_started_again(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("wait", "wait")

    os.kill(supervised.read_ids("service0")[0], signal.SIGKILL)

    wait_until(lambda: len(supervised.read_ids("service0")) == 2)
    assert len(supervised.read_ids("service1")) == 1
    wait_until(lambda: not is_alive(supervised.read_ids("service0-child")[0]))


def test_a_service_with_a_fault_is_started_again(
    supervise: Callable[..., Supervised], tmp_path: Path
) -> None:
    supervised = supervise("wait")

    (tmp_path / "deaf").touch()

    wait_until(lambda: len(supervised.read_ids("service0")) == 2)
    assert not is_alive(supervised.read_ids("service0")[0])


def test_quick_deaths_are_followed_by_ever_longer_waits(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("exit 3")

    time.sleep(2.5)

    # At once, then after 0.1, 0.2, 0.4, 0.8 and 1.6 s, each up to a look later.
    assert 3 <= len(supervised.read_ids("service0")) <= 5


def test_a_service_that_ignores_the_signal_is_killed_after_the_grace(
    supervise: Callable[..., Supervised],
) -> None:
    supervised = supervise("trap '' TERM; while :; do sleep 0.1; done")
    time.sleep(0.3)
    started = time.monotonic()

    supervised.process.terminate()

    assert supervised.process.wait(timeout=10) == 0
    assert time.monotonic() - started >= 3.5
    wait_until(lambda: not any(is_alive(number) for number in supervised.all_ids()))


def test_a_second_signal_seconds_later_kills_at_once(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("trap '' TERM; while :; do sleep 0.1; done")
    time.sleep(0.3)
    started = time.monotonic()

    supervised.process.terminate()
    supervised.process.terminate()
    time.sleep(1)
    supervised.process.terminate()

    assert supervised.process.wait(timeout=10) == 0
    assert 0.9 <= time.monotonic() - started <= 2.5


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal on a parent's death is Linux's")
def test_services_end_when_the_supervisor_is_killed_hard(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("wait", "wait")
    wait_until(lambda: len(supervised.read_ids("service1")) == 1)

    supervised.process.kill()

    leaders = supervised.read_ids("service0") + supervised.read_ids("service1")
    wait_until(lambda: not any(is_alive(number) for number in leaders))


@pytest.mark.skipif(sys.platform != "linux", reason="what make does with a signal is read from /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_make_alone_stops_everything(
    supervise: Callable[..., Supervised], number: signal.Signals
) -> None:
    supervised = supervise("wait", "wait", under_make=True)
    wait_until(lambda: len(supervised.all_ids()) == 4)

    supervised.process.send_signal(number)

    supervised.process.wait(timeout=10)
    wait_until(lambda: not any(is_alive(number) for number in supervised.all_ids()))


def test_an_interrupt_from_the_terminal_stops_everything(supervise: Callable[..., Supervised]) -> None:
    supervised = supervise("wait", "wait", under_make=True)
    wait_until(lambda: len(supervised.all_ids()) == 4)

    os.killpg(supervised.process.pid, signal.SIGINT)

    output, _errors = supervised.process.communicate(timeout=10)
    assert "stopped" in output
    assert not any(is_alive(number) for number in supervised.all_ids())
