"""What the kernel tells of another process of this machine; nothing where it has no /proc, as on macOS.

Source: proc_pid_stat(5).
"""

from __future__ import annotations

from pathlib import Path


def is_stopped(process_id: int) -> bool:
    """Return whether a signal or a debugger has stopped it; False where the kernel does not tell."""
    return _read_fields(process_id)[:1] in (["T"], ["t"])


def read_cpu_ticks(process_id: int) -> int:
    """Return the CPU time that it has used, in clock ticks; 0 where the kernel does not tell."""
    return sum(map(int, _read_fields(process_id)[11:13]))


def _read_fields(process_id: int) -> list[str]:
    """Return what follows the name of the program, which comes second, in brackets, and may hold spaces."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
