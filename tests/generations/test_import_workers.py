"""Workers of imports: killed, doubled, late, cancelled in the middle; and files of any size."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from generations.choices import ImportState
from generations.models import (
    Dataset,
    DatasetImport,
    DatasetImportImage,
    DatasetItem,
    DatasetVersion,
)
from generations.services import dataset_imports as services
from generations.services.dataset_files import RowFile
from generations.services.dataset_rows import ItemRow
from generations.services.datasets import (
    BATCH,
    write_version,
)
from generations.services.importing import checking, claims
from generations.services.importing import work as working
from generations.services.importing.claims import ClaimLostError, claim_import, claim_next
from generations.services.importing.sources import open_source
from generations.services.importing.writing import write
from generations.tasks import import_datasets, sweep
from tests.generations.factories import DatasetFactory
from tests.generations.import_cases import (
    Killed,
    list_files,
    make_archive,
    upload,
    watch_storage,
    work,
)

pytestmark = pytest.mark.django_db


def lapse(dataset_import: DatasetImport) -> None:
    """Let the lease of a worker that died run out."""
    DatasetImport.objects.filter(pk=dataset_import.pk).update(
        lease_expires_at=timezone.now() - timedelta(seconds=1)
    )


def test_a_cancelled_import_leaves_nothing(admin: User) -> None:
    checked = work(upload(admin, make_archive(), file_name="animals.zip"))
    assert len(list_files()) == 1 + 3 * 4

    cancelled = work(services.cancel_dataset_import(actor=admin, dataset_import=checked))

    assert cancelled.state == ImportState.CANCELLED
    assert (list_files(), DatasetImportImage.objects.count()) == ([], 0)


def test_a_worker_that_comes_late_to_a_cancelled_import_writes_nothing(admin: User) -> None:
    dataset_import = upload(admin, make_archive(), file_name="animals.zip")
    claim = claim_next()
    assert claim is not None
    dataset_import.refresh_from_db()
    with open_source(dataset_import) as source:
        # A picture at a time: what follows the first is left for later.
        assert not checking.check(claim, dataset_import, source, deadline=0.0)
        services.cancel_dataset_import(actor=admin, dataset_import=dataset_import)

        with pytest.raises(ClaimLostError):
            checking.check(claim, dataset_import, source, deadline=0.0)
        with pytest.raises(ClaimLostError):
            write(claim, dataset_import, source)

    assert work(dataset_import).state == ImportState.CANCELLED
    assert (list_files(), Dataset.objects.count()) == ([], 0)


def test_a_picture_stored_while_the_import_was_cancelled_is_removed_again(admin: User, settings: Any) -> None:
    dataset_import = upload(admin, make_archive(), file_name="animals.zip")
    watch_storage(
        settings,
        lambda name: (
            name.startswith("inputs/")
            and services.cancel_dataset_import(actor=admin, dataset_import=dataset_import)
        ),
    )

    assert work(dataset_import).state == ImportState.CANCELLED
    assert list_files() == []


def test_what_a_worker_did_before_it_died_is_not_done_again(admin: User, settings: Any) -> None:
    dataset_import = upload(admin, make_archive(), file_name="animals.zip")
    stored: list[str] = []

    def die_at_the_third(name: str) -> None:
        if name.startswith("inputs/"):
            stored.append(name)
            if len(stored) == 3:
                raise Killed

    watch_storage(settings, die_at_the_third)
    with pytest.raises(Killed):
        work(dataset_import)
    assert work(dataset_import).state == ImportState.CHECKING
    assert DatasetImportImage.objects.count() == 2

    lapse(dataset_import)
    assert work(dataset_import).state == ImportState.CHECKED
    assert len(stored) == 4
    assert len(list_files()) == 1 + 3 * 4


def test_a_storage_that_refuses_for_a_while_loses_nothing(admin: User, settings: Any) -> None:
    dataset_import = upload(admin, make_archive(), file_name="animals.zip")
    refusals = [OSError("no space"), None, None, None]

    def refuse_once(name: str) -> None:
        refusal = refusals.pop(0) if name.startswith("blind/") else None
        if refusal:
            raise refusal

    watch_storage(settings, refuse_once)
    with pytest.raises(OSError, match="no space"):
        work(dataset_import)
    assert len(list_files()) == 1

    lapse(dataset_import)
    assert work(dataset_import).state == ImportState.CHECKED
    assert len(list_files()) == 1 + 3 * 4


def die_at_the_items_images(execute: Any, sql: str, *args: Any) -> Any:
    """Let everything through but the last rows of a version."""
    if sql.startswith("INSERT") and "datasetitemimage" in sql:
        raise Killed
    return execute(sql, *args)


def test_a_worker_that_dies_while_it_writes_leaves_no_half_version(admin: User) -> None:
    dataset = DatasetFactory()
    checked = work(upload(admin, make_archive(), file_name="animals.zip", dataset=dataset))
    services.start_dataset_import(actor=admin, dataset_import=checked)

    with connection.execute_wrapper(die_at_the_items_images), pytest.raises(Killed):
        work(checked)
    assert not DatasetVersion.objects.exists()
    assert work(checked).state == ImportState.IMPORTING

    lapse(checked)
    assert work(checked).state == ImportState.COMPLETED
    assert (dataset.versions.count(), DatasetItem.objects.count()) == (1, 3)
    assert len(list_files()) == 3 * 4


def test_two_workers_never_work_on_one_import(admin: User) -> None:
    dataset_import = upload(admin)
    first = claim_next()
    assert first is not None

    assert claim_next() is None
    assert claim_import(dataset_import.pk) is None
    lapse(dataset_import)
    second = claim_next()
    assert second is not None
    with pytest.raises(ClaimLostError):
        first.write(n_rows=99)
    second.write(n_rows=1)

    dataset_import.refresh_from_db()
    assert (dataset_import.n_rows, dataset_import.fence) == (1, 2)


def test_doubled_and_lost_messages_do_no_harm(admin: User) -> None:
    dataset = DatasetFactory()
    upload(admin, dataset=dataset, is_dry_run=False)

    sweep()
    for _ in range(3):
        import_datasets()

    assert dataset.versions.count() == 1
    assert not working.is_import_forgotten()


def test_an_import_that_kills_each_worker_fails_at_last(admin: User) -> None:
    dataset_import = upload(admin)
    for _ in range(claims.MAX_CLAIMS):
        assert claim_next() is not None
        lapse(dataset_import)

    failed = work(dataset_import)

    assert (failed.state, failed.error_code) == (ImportState.FAILED, "import_interrupted")


def test_a_slice_of_time_is_kept_and_the_next_works_on(admin: User) -> None:
    dataset_import = upload(admin, make_archive(), file_name="animals.zip")

    progress = [work(dataset_import, seconds=0.0).n_images_done for _ in range(3)]

    assert progress == [1, 2, 3]
    assert work(dataset_import).state == ImportState.CHECKED


def test_a_large_import_lets_a_small_one_pass(admin: User) -> None:
    large = upload(admin, make_archive(), file_name="animals.zip")
    small = upload(admin)

    work(large, seconds=0.0)
    work(small, seconds=0.0)

    large.refresh_from_db()
    assert (large.state, small.state) == (ImportState.CHECKING, ImportState.CHECKED)


def test_a_check_that_nobody_follows_up_ends_after_a_week(admin: User) -> None:
    checked = work(upload(admin))
    DatasetImport.objects.filter(pk=checked.pk).update(updated_at=timezone.now() - timedelta(days=8))

    expired = work(checked)

    assert (expired.state, expired.error_code) == (ImportState.CANCELLED, "import_expired")
    assert list_files() == []


def make_rows(n: int) -> bytes:
    return b"key,brief,tags,subject\n" + b"".join(
        b"k%d,A brief.,one; two,cat\n" % number for number in range(n)
    )


def count_queries(admin: User, n: int) -> int:
    checked = work(upload(admin, make_rows(n), dataset=DatasetFactory()))
    services.start_dataset_import(actor=admin, dataset_import=checked)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        work(checked)
    assert checked.state == ImportState.COMPLETED
    return len(queries)


def test_twenty_thousand_rows_take_fixed_queries_a_batch(admin: User) -> None:
    one, five, ten = (count_queries(admin, n * BATCH) for n in (1, 5, 10))

    assert (ten - five) / 5 == (five - one) / 4 <= 2
    assert DatasetItem.objects.count() == 16 * BATCH == 32_000


def test_rows_are_never_all_in_memory(admin: User) -> None:
    behind = 0

    def make() -> Iterator[ItemRow]:
        nonlocal behind
        for number in range(5_000):
            if number % 500 == 0:
                behind = max(behind, number - DatasetItem.objects.count())
            yield ItemRow(f"k{number}", "", {}, [])

    write_version(actor=admin, dataset=DatasetFactory(), rows=make(), note="")

    assert DatasetItem.objects.count() == 5_000
    assert behind < BATCH


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_a_file_is_read_no_further_than_the_row_that_is_asked_for(ending: str) -> None:
    line = b'{"subject": "cat"}\n' if ending == "jsonl" else b"cat\n"
    file = BytesIO((b"" if ending == "jsonl" else b"subject\n") + line * 100_000)

    rows = RowFile(file, file_format=ending).read()
    for _ in range(10):
        next(rows)

    assert file.tell() <= 12 * len(line)


def test_a_turn_counts_claims_only_while_workers_die(admin: User) -> None:
    dataset_import = upload(admin)
    DatasetImport.objects.filter(pk=dataset_import.pk).update(n_claims=F("n_claims") + 3)

    assert work(dataset_import).n_claims == 0
