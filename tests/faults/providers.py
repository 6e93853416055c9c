"""The kinds of provider that a fault run works against, each a protocol server with a relay before it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.support import ROOT
from tests.faults.relay import Relay
from tests.providers.ledger import Entry, Ledger

CALL_SECONDS: Final = 1.5
TIMEOUT_SECONDS: Final = 8
SIDE_PX: Final = 128
FAULTS: Final[Mapping[str, float]] = {
    "rate-limited": 0.10,
    "server-error": 0.10,
    "hang": 0.05,
    "truncated": 0.05,
    "wrong-type": 0.02,
    "duplicate-webhooks": 0.10,
}


@dataclass(frozen=True)
class Kind:
    """A kind of provider.

    Args:
        server: The protocol server's name.
        options: Further options of the catalogue entry.
        guards: Whether job ids or keys let nothing be submitted twice.
    """

    name: str
    server: str
    arguments: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None
    guards: bool = True

    def find_key(self, entry_key: str) -> str:
        """Return what the ledger's entry is about: a prompt, or for keyed calls a generation's id."""
        if self.name == "openai-keyed":
            return entry_key.rpartition("-")[0]
        return entry_key.partition(" #")[0]


KINDS: Final[Mapping[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("fal", "fal"),
        Kind("replicate", "replicate"),
        Kind("openai-keyed", "openai", ("--honours-keys",), {"supports_idempotency_key": True}),
        Kind("openai", "openai", guards=False),
    )
}


class RunningProvider:
    """One protocol server as a process of its own, behind its relay."""

    def __init__(self, kind: Kind, folder: Path, *, seed: int, relay: Relay, has_faults: bool = True) -> None:
        self.kind = kind
        self.relay = relay
        self._folder = folder
        self._seed = seed
        self._faults = FAULTS if has_faults else {}
        self._process: subprocess.Popen[str] | None = None
        self.facts: Mapping[str, Any] = {}

    @property
    def key_name(self) -> str:
        """The name of its key in the environment."""
        return self.kind.name.upper().replace("-", "_")

    @property
    def _ledger_path(self) -> Path:
        return self._folder / f"ledger-{self.kind.name}.jsonl"

    def start(self) -> None:
        """Start it; the relay listens already. It serves once its facts are read."""
        command = [sys.executable, "-m", "tests.providers", self.kind.server, *self.kind.arguments]
        command += ["--seed", str(self._seed), "--delay", str(CALL_SECONDS)]
        command += ["--public-port", str(self.relay.port), "--ledger", str(self._ledger_path)]
        command += ["--side", str(SIDE_PX), "--output-bytes", "8192"]
        for fault, share in self._faults.items():
            command += [f"--{fault}", str(share)]
        log = (self._folder / f"provider-{self.kind.name}.log").open("wb")
        with log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )

    def read_facts(self) -> None:
        """Wait until it serves, and know what it tells of itself."""
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the server has not been started")
        self.facts = json.loads(self._process.stdout.readline())
        self.relay.server_port = int(self.facts["port"])

    def list_entries(self) -> list[Entry]:
        """Return what it was asked and would charge."""
        return Ledger(self._ledger_path).list_entries()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            if self._process.stdout is not None:
                self._process.stdout.close()
