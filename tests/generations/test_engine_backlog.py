"""What a step of the engine costs does not grow with what waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from generations.choices import Priority
from generations.engine.claiming import claim_batch
from generations.engine.waiting import get_seconds_until_due
from generations.models import Generation
from generations.services.runs import create_run
from tests.accounts.factories import UserFactory
from tests.generations.factories import DatasetItemFactory, DatasetVersionFactory
from tests.prompts.factories import ImageModelFactory, PromptVersionFactory

pytestmark = [pytest.mark.django_db, pytest.mark.postgres]
N_QUEUED = 2_000
N_CLAIMED = 5


@pytest.fixture(autouse=True, params=["with statistics", "before there are any"])
def backlog(request: pytest.FixtureRequest) -> None:
    """Two models, each with half of the queue, of two priorities."""
    dataset_version = DatasetVersionFactory()
    DatasetItemFactory.create_batch(10, dataset_version=dataset_version)
    actor = UserFactory(role="admin")
    for priority in (Priority.NORMAL, Priority.LOW):
        create_run(
            actor=actor,
            name="Long",
            prompt_versions=[
                PromptVersionFactory(image_model=ImageModelFactory(max_in_flight=100)) for _ in range(2)
            ],
            dataset_version=dataset_version,
            repeats=N_QUEUED // 40,
            priority=priority,
        )
    if request.param == "with statistics":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _count_touched(act: Callable[[], object]) -> int:
    """Return how many rows of generations the database reads meanwhile."""
    before = _read_touched()
    act()
    return _read_touched() - before


def _read_touched() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s",
            [Generation._meta.db_table],
        )
        return int(cursor.fetchone()[0])


def test_a_claim_reads_a_few_rows_for_each_that_it_takes() -> None:
    n_touched = _count_touched(lambda: claim_batch(worker="w", capacity=N_CLAIMED))

    assert Generation.objects.filter(worker="w").count() == N_CLAIMED
    assert n_touched <= 20 * N_CLAIMED


def test_that_something_is_due_is_known_from_one_row_of_each_model_and_priority() -> None:
    n_touched = _count_touched(lambda: get_seconds_until_due(within=timedelta(seconds=15)))

    assert n_touched <= 2 * len(Priority)
