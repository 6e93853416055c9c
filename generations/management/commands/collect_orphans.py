"""`manage.py collect_orphans`: remove the stored files that no row names."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from generations.services.orphans import SAFE_AGE, collect_orphans
from mayagen.common.errors import DomainError


class Command(BaseCommand):
    """Looks at all of the storage, which takes a while where there are many files."""

    help = "Remove the stored files that no row names, and print how many there were."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count them")
        parser.add_argument("--many", action="store_true", help="even if they are more than a tenth of all")
        parser.add_argument(
            "--older-than-hours",
            type=float,
            default=SAFE_AGE / timedelta(hours=1),
            metavar="N",
            help="leave younger files alone (%(default)g; at least 1)",
        )

    def handle(self, *_args: object, **options: Any) -> None:
        try:
            collected = collect_orphans(
                older_than=timedelta(hours=options["older_than_hours"]),
                is_dry_run=options["dry_run"],
                may_be_many=options["many"],
            )
        except (DomainError, OverflowError, ValueError) as error:
            raise CommandError(getattr(error, "message", "That is no number of hours.")) from None
        self.stdout.write(
            f"{collected.n_seen:,} files; {collected.n_orphans:,} old ones without a row,"
            f" {collected.n_removed:,} removed; {collected.n_young:,} young ones without a row and"
            f" {collected.n_foreign:,} of other names left alone."
        )
        if collected.n_failed:
            raise CommandError(f"The storage failed for {collected.n_failed:,} files; the log says why.")
