"""The generations app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class GenerationsConfig(AppConfig):
    """Registers the app and, after each migration, the schedule of its sweep."""

    name = "generations"

    def ready(self) -> None:
        """Ask for the schedule once all tables are there."""
        post_migrate.connect(_schedule_sweep, sender=self)


def _schedule_sweep(**_: Any) -> None:
    from generations.waking import schedule_sweep

    schedule_sweep()
