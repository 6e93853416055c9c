"""Whatever is killed, what it has started ends soon after, and holds on to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mayagen.supervisor import Service
from tests.mayagen.test_serve import Server, find_free_port
from tests.mayagen.test_supervisor import is_alive, wait_until

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A process, its child and its grandchild write their ids down, and sleep.
FAMILY = """
import os, pathlib, sys, time
from mayagen import parent_watch
if "unaided" in sys.argv:
    parent_watch._prctl = None
parent_watch.end_forks_with_their_parents()
note = pathlib.Path(sys.argv[1])
for name in ("parent", "child", "grandchild"):
    (note / name).write_text(str(os.getpid()))
    if name == "grandchild" or os.fork() != 0:
        break
time.sleep(600)
"""
# Ends in the time it is given, or is a group that hears no SIGTERM.
SUPERVISED = """
import pathlib, signal, subprocess, sys, time, os
from mayagen import parent_watch
if "unaided" in sys.argv:
    parent_watch._prctl = None
if "deaf" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    helper = subprocess.Popen(["sleep", "600"])
    (pathlib.Path(sys.argv[1]) / "helper").write_text(str(helper.pid))
parent_watch.end_with_supervisor(grace_s=1.0)
(pathlib.Path(sys.argv[1]) / "service").write_text(str(os.getpid()))
time.sleep(600)
"""
SUPERVISOR = """
import signal, sys
from mayagen import parent_watch, supervisor
if "unaided" in sys.argv:
    parent_watch._prctl = None
service = supervisor.Service("It", (sys.executable, "-c", *sys.argv[1:]))
supervisor.Supervisor([service], grace_s=4).run()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a Python program with the folder for its notes, and end what it leaves."""
    started: list[subprocess.Popen[bytes]] = []

    def run(program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program, *arguments]
        started.append(subprocess.Popen(command, cwd=ROOT, start_new_session=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
    for number in read_ids(tmp_path):
        if is_alive(number):
            os.kill(number, signal.SIGKILL)


def read_ids(folder: Path) -> list[int]:
    return [int(path.read_text()) for path in folder.iterdir() if path.read_text()]


def read_id(folder: Path, name: str) -> int:
    path = folder / name
    wait_until(lambda: path.exists() and bool(path.read_text()))
    return int(path.read_text())


@pytest.mark.parametrize("how", ["by the kernel", "unaided"])
def test_forks_at_any_depth_end_with_their_parents(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, how: str
) -> None:
    parent = start(FAMILY, str(tmp_path), how)
    child, grandchild = (read_id(tmp_path, name) for name in ("child", "grandchild"))

    os.kill(child, signal.SIGKILL)

    wait_until(lambda: not is_alive(grandchild))
    assert parent.poll() is None


@pytest.mark.parametrize("how", ["by the kernel", "unaided"])
def test_the_death_of_the_first_ends_all(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, how: str
) -> None:
    parent = start(FAMILY, str(tmp_path), how)
    others = [read_id(tmp_path, name) for name in ("child", "grandchild")]

    parent.kill()

    wait_until(lambda: not any(map(is_alive, others)))


@pytest.mark.parametrize("how", ["by the kernel", "unaided"])
@pytest.mark.parametrize("kind", ["obedient", "deaf"])
def test_a_service_ends_in_time_when_its_supervisor_is_killed(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path, kind: str, how: str
) -> None:
    supervisor = start(SUPERVISOR, SUPERVISED, str(tmp_path), kind, how)
    ids = [read_id(tmp_path, name) for name in ("service", "helper")[: 1 + (kind == "deaf")]]

    supervisor.kill()

    wait_until(lambda: not any(map(is_alive, ids)))


def test_a_service_whose_supervisor_died_before_it_began_does_not_run(tmp_path: Path) -> None:
    program = (
        "import os, signal; from mayagen.parent_watch import end_with;"
        f"end_with({2**22 + 1}, signal.SIGTERM); print('runs')"
    )

    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False)

    assert (ended.returncode, ended.stdout) == (-signal.SIGTERM, b"")


def test_what_nobody_supervises_outlives_who_started_it(
    start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    shell = subprocess.Popen(
        [
            "sh", "-c", '"$0" -c "$1" "$2" & wait', sys.executable, SUPERVISED, str(tmp_path)
        ],
        cwd=ROOT,
    )  # fmt: skip
    service = read_id(tmp_path, "service")

    shell.kill()
    shell.wait()
    time.sleep(2.5)

    assert is_alive(service)
    os.kill(service, signal.SIGKILL)


def test_a_service_is_told_who_supervises_it(tmp_path: Path) -> None:
    service = Service("It", ("sh", "-c", f'echo "$MAYAGEN_SUPERVISOR_ID $A" > {tmp_path}/note'), {"A": "b"})

    service.start()

    assert service.process is not None
    assert service.process.wait(10) == 0
    assert (tmp_path / "note").read_text() == f"{os.getpid()} b\n"


def find_family(server: Server, of: int) -> list[int]:
    """Return what works on the server's data and descends from that process, the nearest first."""
    parents = {number: read_parent(number) for number in server.list_processes()}
    found = [of]
    for ancestor in found:
        found += [number for number, parent in parents.items() if parent == ancestor]
    return found[1:]


def read_parent(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A whole installation."""
    running = Server(tmp_path / "var", find_free_port())
    running.wait_until_ready()
    yield running
    for number in running.list_processes():
        os.kill(number, signal.SIGKILL)
    running.process.wait()


def test_nothing_is_left_of_an_installation_or_a_cluster_of_which_one_process_is_killed(
    server: Server,
) -> None:
    environment = {**os.environ, "MAYAGEN_DATA_DIR": str(server.folder), "MAYAGEN_QUEUE_WORKERS": "1"}
    environment.pop("DATABASE_URL", None)

    def start_cluster() -> tuple[subprocess.Popen[bytes], list[int]]:
        command = [sys.executable, "manage.py", "qcluster"]
        cluster = subprocess.Popen(command, cwd=ROOT, env=environment)
        # The sentinel, then one worker, the monitor and the pusher.
        wait_until(lambda: len(find_family(server, cluster.pid)) == 4, limit_s=60)
        return cluster, find_family(server, cluster.pid)

    for kills_sentinel in (True, False):
        cluster, family = start_cluster()
        os.kill(family[0] if kills_sentinel else cluster.pid, signal.SIGKILL)
        cluster.wait(30)
        wait_until(lambda ids=family: not any(map(is_alive, ids)))  # type: ignore[misc]

    # Web server with two workers; cluster, sentinel, worker, monitor, pusher.
    wait_until(lambda: len(find_family(server, server.process.pid)) == 8, limit_s=60)
    server.process.kill()
    server.process.wait()
    wait_until(lambda: not any(map(is_alive, server.list_processes())), limit_s=60)
