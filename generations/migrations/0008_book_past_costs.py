"""Give the ledger the costs of what was generated before there was one."""

from datetime import UTC
from typing import Any

from django.db import migrations
from django.db.models import Count, Sum
from django.db.models.functions import TruncMonth


def book(apps: Any, _schema_editor: Any) -> None:
    generation, spend = (apps.get_model("generations", name) for name in ("Generation", "MonthlySpend"))
    paid = generation.objects.filter(source="engine", cost_usd__isnull=False)
    by_month = paid.annotate(month=TruncMonth("created_at", tzinfo=UTC)).order_by()
    sums = {"n": Count("pk"), "usd": Sum("cost_usd")}
    people = by_month.exclude(created_by=None).values_list("created_by", "month").annotate(**sums)
    everybody = by_month.values_list("month").annotate(**sums)
    rows = [*people, *((None, *row) for row in everybody)]
    spend.objects.bulk_create(
        spend(user_id=user_id, month=month.date(), booked_generations=n, booked_usd=usd)
        for user_id, month, n, usd in rows
    )


class Migration(migrations.Migration):
    dependencies = [("generations", "0007_keep_money")]

    operations = [migrations.RunPython(book, migrations.RunPython.noop)]
