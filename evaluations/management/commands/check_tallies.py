"""Compare every stored tally and consensus with a recount of the ratings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from evaluations.selectors import list_drift


class Command(BaseCommand):
    """`manage.py check_tallies`."""

    help = "Recount all ratings; fail and name each tally or consensus that differs."

    def handle(self, *_args: object, **_options: Any) -> None:
        n_drifted = 0
        for drift in list_drift():
            n_drifted += 1
            self.stdout.write(f"{drift.what}: stored {drift.stored}, counted {drift.counted}")
        if n_drifted:
            raise CommandError(f"{n_drifted} figures differ from a recount.")
        self.stdout.write("Every tally and every consensus equals a recount.")
