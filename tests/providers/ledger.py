"""What a protocol server was asked and would charge, written so that it outlives the server's death."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Args:
        event: `asked` (a submit or call arrived), `charged`, `cancelled`, `delivered`, `webhook`…
        key: What tells two calls apart: idempotency key, or what the prompt carries.
        job_id: The server's id of the job, if it has one.
        amount_usd: What the event costs.
    """

    event: str
    key: str = ""
    job_id: str = ""
    amount_usd: Decimal = Decimal(0)
    facts: Any = None


class Ledger:
    """An append-only list of entries; with a path, each is a synced line of JSON before `add` returns."""

    def __init__(self, path: Path | None = None) -> None:
        self._entries: list[Entry] = list(_read(path)) if path and path.exists() else []
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if path else None
        self._lock = threading.Lock()

    def add(
        self, event: str, *, amount_usd: Decimal = Decimal(0), key: str = "", job_id: str = "", **facts: Any
    ) -> None:
        """Write an entry."""
        entry = Entry(event, key, job_id, amount_usd, facts)
        with self._lock:
            if self._descriptor is not None:
                line = {
                    "event": event,
                    "key": key,
                    "job_id": job_id,
                    "amount_usd": str(amount_usd),
                    "facts": facts,
                }
                os.write(self._descriptor, json.dumps(line).encode() + b"\n")
                os.fsync(self._descriptor)
            self._entries.append(entry)

    def list_entries(self, event: str = "") -> list[Entry]:
        """Return the entries in order, of one event or of all."""
        with self._lock:
            return [entry for entry in self._entries if not event or entry.event == event]

    def sum_usd(self) -> Decimal:
        """Return what all entries cost together."""
        return sum((entry.amount_usd for entry in self.list_entries()), Decimal(0))


def _read(path: Path) -> Iterator[Entry]:
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        yield Entry(**{**fields, "amount_usd": Decimal(fields["amount_usd"])})
