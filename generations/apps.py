"""The generations app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class GenerationsConfig(AppConfig):
    """Registers the app and, after each migration, the schedules of its sweep and of its collection."""

    name = "generations"

    def ready(self) -> None:
        """Ask for the schedules once all tables are there."""
        post_migrate.connect(_schedule, sender=self)


def _schedule(**_: Any) -> None:
    from generations.waking import schedule_collection, schedule_sweep

    schedule_sweep()
    schedule_collection()
