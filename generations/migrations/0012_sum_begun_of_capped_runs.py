"""Sum what the runs with a ceiling have begun, from which on it is kept."""

from decimal import Decimal
from typing import Any

from django.db import migrations

_BATCH = 1_000


def sum_begun(apps: Any, _schema_editor: Any) -> None:
    run, generation, charge = (
        apps.get_model("generations", name) for name in ("Run", "Generation", "OpenCharge")
    )
    for run_id in run.objects.filter(ceiling_usd__isnull=False).values_list("pk", flat=True):
        begun = generation.objects.filter(run=run_id, started_at__isnull=False)
        # Added here: SQLite adds decimals as floating point numbers.
        costs = begun.filter(reserved_usd=None, cost_usd__isnull=False).values_list("cost_usd", flat=True)
        settled_usd = sum(costs.iterator(chunk_size=_BATCH), start=Decimal(0))
        run.objects.filter(pk=run_id).update(settled_usd=settled_usd)
        charge.objects.bulk_create(
            [
                charge(generation_id=pk, run_id=run_id)
                for pk in begun.filter(reserved_usd__isnull=False).values_list("pk", flat=True)
            ],
            ignore_conflicts=True,
            batch_size=_BATCH,
        )


class Migration(migrations.Migration):
    dependencies = [("generations", "0011_count_begun_for_ceilings")]

    operations = [migrations.RunPython(sum_begun, migrations.RunPython.noop)]
