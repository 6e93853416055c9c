"""Say which assignments hold a place of their item, and keep one assignment per item and evaluator."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Places and reconciliation."""

    dependencies = [("evaluations", "0002_default_queue")]
    operations = [
        migrations.AddField("reviewqueue", "reconciled_at", models.DateTimeField(null=True, blank=True, editable=False)),
        migrations.AddField("assignment", "holds_place", models.BooleanField(default=True)),
        migrations.RemoveConstraint("assignment", "assignment_once_per_evaluator"),
        migrations.AddConstraint(
            "assignment",
            models.UniqueConstraint(fields=["item", "evaluator"], name="assignment_once_per_evaluator"),
        ),
    ]
