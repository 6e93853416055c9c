"""Fault runs: 500 generations on each kind of provider while processes, database and storage fail.

`python -m tests.faults --seed 7` does one run, `--seeds 10` ten of them, from `--seed` on. Each prints one
line of JSON a figure; the end status is 1 when one is not met. What is drawn by chance follows from the seed.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time

from tests.benchmarks.support import report
from tests.faults.machine import MissingProgramError
from tests.faults.providers import KINDS
from tests.faults.scenario import Plan, run_once

DEFAULT_KINDS = ("fal", "openai-keyed", "openai")


def main() -> int:
    """Read the command line, run, and return the exit status."""
    arguments = _make_parser().parse_args()
    # So that everything started here is ended too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if arguments.seeds > 1:
        return _run_many(arguments)
    plan = Plan(
        seed=arguments.seed,
        kinds=arguments.provider or DEFAULT_KINDS,
        n_generations=arguments.generations,
        has_troubles=not arguments.no_troubles,
        has_faults=not arguments.no_faults,
    )
    return _run_one(plan)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many runs, one seed after the other")
    parser.add_argument(
        "--provider", action="append", choices=list(KINDS), help="one or more; else fal and both of openai"
    )
    parser.add_argument("--generations", type=int, default=500, help="on each provider")
    parser.add_argument("--no-troubles", action="store_true", help="only the providers go wrong")
    parser.add_argument("--no-faults", action="store_true", help="the providers do not go wrong")
    return parser


def _run_one(plan: Plan) -> int:
    folder = ""

    def note(path: str) -> None:
        nonlocal folder
        folder = path

    began = time.monotonic()
    try:
        findings = run_once(plan, on_folder=note)
    except MissingProgramError as error:
        print(error, file=sys.stderr)
        return 2
    for finding in findings:
        report(
            figure=f"seed {plan.seed}: {finding.figure}",
            value=finding.value,
            unit=finding.unit,
            target=finding.target,
            met=finding.met,
        )
    report(
        figure=f"seed {plan.seed}: wall", value=time.monotonic() - began, unit="s", target="none", met=True
    )
    failed = [finding for finding in findings if not finding.met]
    for finding in failed:
        for detail in finding.details[:20]:
            print(f"{finding.figure}: {detail}", file=sys.stderr)
    if failed:
        print(f"Seed {plan.seed} is not met; its logs are in {folder}", file=sys.stderr)
    return int(bool(failed))


def _run_many(arguments: argparse.Namespace) -> int:
    further = [word for name in arguments.provider or () for word in ("--provider", name)]
    further += ["--generations", str(arguments.generations)]
    further += ["--no-troubles"] * arguments.no_troubles + ["--no-faults"] * arguments.no_faults
    failed = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        command = [sys.executable, "-m", "tests.faults", "--seed", str(seed), *further]
        with subprocess.Popen(command) as process:
            try:
                process.wait()
            except BaseException:
                process.terminate()
                raise
        if process.returncode:
            failed.append(seed)
    report(
        figure="seeds with anything not met", value=len(failed), unit="seeds", target="= 0", met=not failed
    )
    if failed:
        print(json.dumps({"failed_seeds": failed}), file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
