"""The groups that stand for roles, kept equal to `accounts.roles`."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.contrib.auth.models import Group, Permission

from accounts.roles import PERMISSIONS


def sync_groups(sender: AppConfig, *, using: str, apps: Apps = installed_apps, **_signal: Any) -> None:
    """Make the roles' groups and give them exactly the permissions of the app just migrated.

    Connected to `post_migrate`, which Django sends for each app, after it has made that app's permissions;
    running it again changes nothing. Emptying a database sends it too, without `apps`.
    """
    try:
        apps.get_model("auth", "Group")
    except LookupError:  # Only some apps are being migrated, and the groups' table is not there yet.
        return
    permissions = Permission.objects.using(using).filter(content_type__app_label=sender.label)
    for role, codes in PERMISSIONS.items():
        codenames = {code.partition(".")[2] for code in codes if code.startswith(f"{sender.label}.")}
        group, _made = Group.objects.using(using).get_or_create(name=role)
        held = group.permissions.filter(content_type__app_label=sender.label)
        group.permissions.remove(*held.exclude(codename__in=codenames))
        group.permissions.add(*permissions.filter(codename__in=codenames))
