"""Compare the ledger of quotas, and what ceilings are held against, with a recount of the generations."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from generations.services.recounting import list_drift, repair
from generations.services.run_money import list_run_drift, repair_run


class Command(BaseCommand):
    """`manage.py check_quotas`."""

    help = "Recount what is reserved and spent; fail and name each figure that differs, or repair them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--repair", action="store_true", help="Set what differs to the recount.")

    def handle(self, *_args: object, **options: Any) -> None:
        drifts = list_drift()
        for drift in drifts:
            whose = drift.account.user_id or "installation"
            self.stdout.write(
                f"{drift.account.month:%Y-%m} {whose} {drift.figure}:"
                f" stored {drift.stored}, counted {drift.counted}"
            )
        run_drifts = list_run_drift()
        for run_drift in run_drifts:
            self.stdout.write(
                f"run {run_drift.run_id}: stored {run_drift.stored}, counted {run_drift.counted}"
            )
        n_drifts = len(drifts) + len(run_drifts)
        if n_drifts and not options["repair"]:
            raise CommandError(f"{n_drifts} figures differ from a recount.")
        for account in sorted({drift.account for drift in drifts}, key=lambda each: each.order):
            repair(account)
        for run_drift in run_drifts:
            repair_run(run_drift.run_id)
        self.stdout.write(f"{n_drifts} figures repaired." if n_drifts else "The ledger equals a recount.")
