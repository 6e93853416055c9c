"""The wiring's own apps: its commands and static files, and the admin site that it owns."""

import sys

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig, SimpleAdminConfig


class MayagenConfig(AppConfig):
    """Commands, static files and start-up wiring."""

    name = "mayagen"
    verbose_name = "MayaGen"


class MayagenAdminConfig(AdminConfig):
    """The admin with MayaGen's own site as its default; the task queue, which shows no page, goes without."""

    default_site = "mayagen.admin_site.MayagenAdminSite"

    def ready(self) -> None:
        """Import the admin pages of all apps, where anybody may ask for them: they take 9 MB."""
        if sys.argv[1:2] == ["qcluster"]:
            SimpleAdminConfig.ready(self)
        else:
            super().ready()
