"""The accounts app."""

from __future__ import annotations

from typing import Any, Final

from django.apps import AppConfig
from django.db.models.signals import post_migrate

PURGE_TASK: Final = "accounts.tasks.purge"


class AccountsConfig(AppConfig):
    """Registers the accounts app; after each migration, the roles' groups and the daily purge."""

    name = "accounts"

    def ready(self) -> None:
        """Sync the groups after Django has made each app's permissions, whose receiver came first."""
        from accounts.groups import sync_groups

        post_migrate.connect(sync_groups, dispatch_uid="accounts.sync_groups")
        post_migrate.connect(_schedule_purge, sender=self)


def _schedule_purge(**_: Any) -> None:
    from django_q.models import Schedule

    Schedule.objects.get_or_create(
        name="Purge accounts",
        defaults={"func": PURGE_TASK, "schedule_type": Schedule.DAILY, "repeats": -1},
    )
