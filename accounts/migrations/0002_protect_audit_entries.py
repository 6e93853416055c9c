"""Refuse every change of an audit entry in the database itself."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

SQLITE = (
    "CREATE TRIGGER accounts_auditentry_no_{verb} BEFORE {verb} ON accounts_auditentry "
    "BEGIN SELECT RAISE(ABORT, 'audit entries are never changed'); END"
)
POSTGRESQL_FUNCTION = (
    "CREATE FUNCTION accounts_refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION 'audit entries are never changed'; END $$"
)
POSTGRESQL_TRIGGER = (
    "CREATE TRIGGER accounts_auditentry_no_{verb} BEFORE {verb} ON accounts_auditentry "
    "FOR EACH ROW EXECUTE FUNCTION accounts_refuse_audit_change()"
)


def protect(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Add the triggers."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL_FUNCTION)
    template = SQLITE if schema_editor.connection.vendor == "sqlite" else POSTGRESQL_TRIGGER
    for verb in ("UPDATE", "DELETE"):
        schema_editor.execute(template.format(verb=verb))


def unprotect(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Take the triggers away."""
    on_table = " ON accounts_auditentry" if schema_editor.connection.vendor == "postgresql" else ""
    for verb in ("UPDATE", "DELETE"):
        schema_editor.execute(f"DROP TRIGGER accounts_auditentry_no_{verb}{on_table}")
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION accounts_refuse_audit_change()")


class Migration(migrations.Migration):
    """Triggers on the audit table."""

    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(protect, unprotect)]
