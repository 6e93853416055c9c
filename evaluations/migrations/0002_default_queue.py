"""Add the standard scale and the queue that holds every unrated output."""

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import StateApps

LEVELS = (
    (1, "FAILED", "Unusable: wrong subject, broken or not what was asked."),
    (2, "POOR", "Recognisable, with serious faults."),
    (3, "ACCEPTABLE", "Does the job; faults are visible."),
    (4, "GOOD", "Does the job well; small faults at most."),
    (5, "EXCELLENT", "Could be used as it is."),
)


def add_default_queue(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Add the criterion, its first scale, and the default queue."""
    criterion = apps.get_model("evaluations", "Criterion").objects.create(
        slug="overall", name="Overall", description="How well does the image do what the brief asks?"
    )
    scale = apps.get_model("evaluations", "Scale").objects.create(criterion=criterion, number=1)
    level_model = apps.get_model("evaluations", "ScaleLevel")
    level_model.objects.bulk_create(
        level_model(scale=scale, level=level, name=name, description=description)
        for level, name, description in LEVELS
    )
    apps.get_model("evaluations", "ReviewQueue").objects.create(
        name="All unrated images",
        instructions="Rate each image by how well it does what the brief asks.",
        criterion=criterion,
        is_default=True,
    )


def remove_default_queue(apps: StateApps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Remove what was added; refused by the database once it has been used."""
    apps.get_model("evaluations", "ReviewQueue").objects.filter(is_default=True).delete()
    apps.get_model("evaluations", "ScaleLevel").objects.filter(scale__criterion__slug="overall").delete()
    apps.get_model("evaluations", "Scale").objects.filter(criterion__slug="overall").delete()
    apps.get_model("evaluations", "Criterion").objects.filter(slug="overall").delete()


class Migration(migrations.Migration):
    """The standard scale and the default queue."""

    dependencies = [("evaluations", "0001_initial")]
    operations = [migrations.RunPython(add_default_queue, remove_default_queue)]
