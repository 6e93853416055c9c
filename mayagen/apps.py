"""The wiring's own apps: its commands and static files, and the admin site that it owns."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class MayagenConfig(AppConfig):
    """Commands, static files and start-up wiring."""

    name = "mayagen"
    verbose_name = "MayaGen"


class MayagenAdminConfig(AdminConfig):
    """The admin with MayaGen's own site as its default."""

    default_site = "mayagen.admin_site.MayagenAdminSite"
