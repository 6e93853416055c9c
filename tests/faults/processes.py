"""Which processes an installation consists of, what each is for, and who stands behind a connection."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psutil

_ESTABLISHED: Final = "01"


def list_descendants(*pids: int) -> list[int]:
    """Return the processes that these have started, and theirs."""
    found: list[int] = []
    for pid in pids:
        try:
            found += [child.pid for child in psutil.Process(pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
    return found


def find_process(port: int, among: Iterable[int]) -> int | None:
    """Return which of the processes holds the client's end of a connection from this local port."""
    inode = _find_inode(port)
    if inode is None:
        return None
    link = f"socket:[{inode}]"
    for pid in among:
        try:
            names = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:
            continue
        if link in names:
            return pid
    return None


def _find_inode(port: int) -> str | None:
    wanted = f":{port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(wanted) and fields[3] == _ESTABLISHED:
            return fields[9]
    return None


def send(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process of the installation; return whether it was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end_all(pids: Iterable[int], *, seconds: float) -> None:
    """Wait for these processes to end, and kill those that have not in time."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    deadline = time.monotonic() + seconds
    _, left = psutil.wait_procs(processes, timeout=max(0.0, deadline - time.monotonic()))
    for process in left:
        send(process.pid, signal.SIGKILL)
        send(process.pid, signal.SIGCONT)
    psutil.wait_procs(left, timeout=5)
