"""The evaluations app."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

SYNC_TASK = "evaluations.tasks.sync_queues"


def schedule_sync(**_: Any) -> None:
    """Make the schedule that keeps the queues filled, unless it is there."""
    from django_q.models import Schedule

    Schedule.objects.get_or_create(
        name="Sync review queues",
        defaults={"func": SYNC_TASK, "schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": -1},
    )


class EvaluationsConfig(AppConfig):
    """Registers the evaluations app, and its schedule after every migration."""

    name = "evaluations"

    def ready(self) -> None:
        """Schedule once all apps are migrated, those of the task queue included."""
        post_migrate.connect(schedule_sync, sender=self, dispatch_uid="evaluations.schedule_sync")
