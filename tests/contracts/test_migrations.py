"""The migrations make what the models say, and can be taken back."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader

OWN_APPS = ("accounts", "evaluations", "generations", "prompts")


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db
def test_every_operation_of_ours_can_be_reversed() -> None:
    loader = MigrationLoader(connection)
    stuck = [
        f"{app}.{name}: {operation.describe()}"
        for (app, name), migration in loader.graph.nodes.items()
        if app in OWN_APPS
        for operation in migration.operations
        if not operation.reversible
    ]

    assert stuck == []


@pytest.mark.django_db
def test_every_app_has_one_newest_migration() -> None:
    loader = MigrationLoader(connection)

    assert loader.detect_conflicts() == {}


@pytest.mark.django_db
def test_every_table_of_ours_has_a_model_in_its_app() -> None:
    modelled = {model._meta.db_table for model in apps.get_models(include_auto_created=True)}
    tables = {
        name
        for name in connection.introspection.table_names()
        if name.startswith(tuple(f"{a}_" for a in OWN_APPS))
    }

    assert tables <= modelled
