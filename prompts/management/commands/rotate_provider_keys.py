"""Seal the stored provider keys again after a new sealing key was put first."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from prompts.services import reseal_provider_keys


class Command(BaseCommand):
    """`manage.py rotate_provider_keys`."""

    help = (
        "Seal all stored provider keys under the first of MAYAGEN_SEALING_KEYS. To rotate: put the new key"
        " first and keep the old one, restart, run this, then take the old one out."
    )

    def handle(self, *_args: object, **_options: Any) -> None:
        done, broken = reseal_provider_keys()
        self.stdout.write(f"{len(done)} keys were sealed again.")
        if broken:
            raise CommandError(
                f"These open with none of the sealing keys and must be set again: {', '.join(broken)}."
            )
