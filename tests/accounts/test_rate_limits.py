"""How often something may happen."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models import F
from pytest_django.asserts import assertNumQueries

from accounts.models import RateBucket
from accounts.rate_limits import give_back, purge_buckets, take

pytestmark = pytest.mark.django_db


def let_pass(seconds: float) -> None:
    RateBucket.objects.update(arrival_at=F("arrival_at") - timedelta(seconds=seconds))


def test_a_rested_bucket_grants_its_burst_and_then_says_how_long_to_wait() -> None:
    waits = [take("k", rate_per_minute=60, burst=3) for _ in range(4)]

    assert waits[:3] == [0.0, 0.0, 0.0]
    assert 0.5 < waits[3] <= 1.0


def test_after_the_wait_one_more_is_granted() -> None:
    for _ in range(3):
        take("k", rate_per_minute=60, burst=3)
    wait = take("k", rate_per_minute=60, burst=3)

    let_pass(wait)

    assert take("k", rate_per_minute=60, burst=3) == 0.0
    assert take("k", rate_per_minute=60, burst=3) > 0.0


def test_refusals_cost_nothing() -> None:
    take("k", rate_per_minute=6, burst=1)
    first, *_others, last = [take("k", rate_per_minute=6, burst=1) for _ in range(10)]

    assert 9 < last <= first <= 10


def test_a_long_rest_saves_up_no_more_than_the_burst() -> None:
    take("k", rate_per_minute=60, burst=2)
    let_pass(3600)

    assert [take("k", rate_per_minute=60, burst=2) > 0 for _ in range(4)] == [False, False, True, True]


def test_over_time_the_rate_holds() -> None:
    granted = 0
    for _ in range(120):
        granted += take("k", rate_per_minute=30, burst=5) == 0.0
        let_pass(1)

    assert 60 <= granted <= 66


def test_buckets_do_not_know_each_other() -> None:
    assert take("a", rate_per_minute=1, burst=1) == 0.0
    assert take("b", rate_per_minute=1, burst=1) == 0.0


def test_what_is_given_back_can_be_taken_again() -> None:
    take("k", rate_per_minute=1, burst=1)
    give_back("k", rate_per_minute=1)

    assert take("k", rate_per_minute=1, burst=1) == 0.0
    assert take("k", rate_per_minute=1, burst=1) > 0.0


def test_giving_back_more_than_was_taken_saves_nothing_up() -> None:
    take("k", rate_per_minute=60, burst=2)
    for _ in range(5):
        give_back("k", rate_per_minute=60)

    assert [take("k", rate_per_minute=60, burst=2) > 0 for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize(("rate", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_limit_that_never_grants_is_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="above zero"):
        take("k", rate_per_minute=rate, burst=burst)


def test_granting_costs_one_statement_and_refusing_two() -> None:
    take("k", rate_per_minute=1, burst=2)

    with assertNumQueries(1):
        take("k", rate_per_minute=1, burst=2)
    with assertNumQueries(2):
        take("k", rate_per_minute=1, burst=2)


def test_full_buckets_are_purged_and_others_kept() -> None:
    take("empty", rate_per_minute=0.001, burst=1)
    take("full", rate_per_minute=60, burst=1)
    RateBucket.objects.filter(key="full").update(arrival_at=F("arrival_at") - timedelta(hours=1))

    assert purge_buckets() == 1
    assert list(RateBucket.objects.values_list("key", flat=True)) == ["empty"]


ON_A_SQLITE_FILE = """
import django
django.setup()
from django.db import connection
from accounts.models import RateBucket
from accounts.rate_limits import take
from tests.accounts.threads import run_at_once
with connection.schema_editor() as editor:
    editor.create_model(RateBucket)
waits = run_at_once(8, lambda _index: [take("k", rate_per_minute=1, burst=10) for _ in range(5)])
print(sum(wait == 0.0 for some in waits for wait in some))
"""


def test_on_a_sqlite_file_a_bucket_never_grants_more_than_its_burst_either(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{tmp_path / 'buckets.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "mayagen.settings",
        "MAYAGEN_DATA_DIR": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-c", ON_A_SQLITE_FILE],
        env=environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )

    assert (done.stdout.strip(), done.stderr) == ("10", "")
