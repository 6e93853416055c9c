"""The accounts app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class AccountsConfig(AppConfig):
    """Registers the accounts app, and keeps the roles' groups in step with every migration."""

    name = "accounts"

    def ready(self) -> None:
        """Sync the groups after Django has made each app's permissions, whose receiver came first."""
        from accounts.groups import sync_groups

        post_migrate.connect(sync_groups, dispatch_uid="accounts.sync_groups")
