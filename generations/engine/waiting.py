"""How long the queue's first rows have yet to wait, or wait already, known without reading the queue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db.models import DurationField, ExpressionWrapper, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Now

from generations.choices import Priority, Status
from generations.models import Generation
from prompts.models import ImageModel

WAITS: Final = {priority.value: f"wait_{priority.name.lower()}" for priority in Priority}
"""The annotations of `with_waits` by priority."""


def with_waits() -> QuerySet[ImageModel]:
    """Annotate, for each priority, how long it is until the model's next queued generation is due.

    One row of the index is read for each: whether something is due, asked by `EXISTS`, is answered from
    the table itself when nearly all rows wait, past all that are done already.
    """
    queued = Generation.objects.filter(status=Status.QUEUED, image_model=OuterRef("pk"))
    return ImageModel.objects.annotate(
        **{
            name: Subquery(
                queued.filter(priority=priority)
                .order_by("due_at")
                .values_list(ExpressionWrapper(F("due_at") - Now(), output_field=DurationField()))[:1]
            )
            for priority, name in WAITS.items()
        }
    )


def get_seconds_until_due(*, within: timedelta) -> float | None:
    """Return the seconds until the next queued generation is due, or None when none is within that time."""
    first = min(_list_waits(), default=None)
    return None if first is None or first > within else max(0.0, first.total_seconds())


def get_seconds_overdue() -> float:
    """Return how long the generation that is due the longest has been, or 0 when none is due."""
    return max(0.0, -min(_list_waits(), default=timedelta(0)).total_seconds())


def _list_waits() -> Iterator[timedelta]:
    for row in with_waits().values_list(*WAITS.values()):
        yield from (wait for wait in row if wait is not None)
