"""What the protocol servers share: dice that can be thrown again, and ledgers that outlive them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.providers.ledger import Ledger
from tests.providers.serving import Dice

ENVIRONMENT = {**os.environ, "PYTHONPATH": "."}
RATES = {"rate_limited": 0.1, "hang": 0.05}


@contextmanager
def process_of(
    server: str, *arguments: str, ended_by: signal.Signals = signal.SIGTERM
) -> Iterator[dict[str, Any]]:
    """Run a server as a process of its own, and give the line that it prints."""
    command = [sys.executable, "-m", "tests.providers", server, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.send_signal(ended_by)
        process.stdout.close()
        process.wait(timeout=10)


def body(server: str, number: int) -> dict[str, Any]:
    """Return a small order in the words of that server's API."""
    prompt = f"cat {number}"
    return {"input": {"prompt": prompt}} if server == "replicate" else {"model": "m", "prompt": prompt}


def test_the_same_seed_gives_the_same_faults_in_any_order() -> None:
    keys = [f"prompt {number}" for number in range(200)]
    forwards, backwards = Dice(RATES, seed=7), Dice(RATES, seed=7)

    first = {key: forwards.throw(key, *RATES) for key in keys}
    second = {key: backwards.throw(key, *RATES) for key in reversed(keys)}

    assert first == second
    assert first != {key: Dice(RATES, seed=8).throw(key, *RATES) for key in keys}


def test_faults_meet_about_their_share_and_a_repetition_is_another_throw() -> None:
    dice = Dice(RATES, seed=1)

    met = [dice.throw(f"prompt {number // 2}", *RATES) for number in range(4000)]

    assert 300 < met.count("rate_limited") < 500
    assert 140 < met.count("hang") < 260
    assert any(met[index] != met[index + 1] for index in range(0, 4000, 2))
    assert dice.throw("prompt", "truncated") == ""


def test_a_server_that_is_killed_leaves_its_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with (
        process_of("openai", "--ledger", str(path), "--price", "0.5", ended_by=signal.SIGKILL) as address,
        openai.OpenAI(base_url=address["base_url"], api_key=address["api_key"], max_retries=0) as client,
    ):
        client.images.generate(model="gpt-image-1", prompt="a cat", n=2)

    ledger = Ledger(path)

    assert [entry.event for entry in ledger.list_entries()] == ["asked", "charged"]
    assert ledger.sum_usd() == Decimal("1.0")


@pytest.mark.parametrize(
    ("server", "path", "authorization"),
    [
        ("openai", "/images/generations", "Bearer"),
        ("fal", "/fal-ai/flux/dev", "Key"),
        ("replicate", "/v1/models/acme/painter/predictions", "Bearer"),
    ],
)
def test_each_server_runs_by_itself_and_throws_the_faults_it_is_told_to(
    server: str, path: str, authorization: str, tmp_path: Path
) -> None:
    arguments = ["--rate-limited", "0.2", "--server-error", "0.2", "--seed", "5", "--delay", "0.01"]
    with process_of(server, *arguments, "--ledger", str(tmp_path / "ledger.jsonl")) as address:
        headers = {"Authorization": f"{authorization} {address['api_key']}"}
        statuses = [
            httpx.post(f"{address['base_url']}{path}", json=body(server, number), headers=headers).status_code
            for number in range(60)
        ]
        counters = httpx.get(f"{address['url']}/counters").json()

    assert address["server"] == server
    assert {429, 500} < set(statuses)
    n_taken = sum(status < 300 for status in statuses)
    assert 20 < n_taken < 50
    assert counters["n_requests"] == 60
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert len(ledger.list_entries("asked")) == 60
    assert n_taken - 1 <= len(ledger.list_entries("charged")) <= n_taken


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--fault", "imaginary"], "rate_limit"), (["--webhook", "imaginary"], "webhooks")],
)
def test_what_the_server_does_not_know_is_refused(arguments: list[str], words: str) -> None:
    command = [sys.executable, "-m", "tests.providers", "replicate", *arguments]

    ended = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert words in ended.stderr
