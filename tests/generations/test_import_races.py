"""What people and workers do to one import at once ends as if one had come after the other."""

from __future__ import annotations

import pytest

from accounts.models import User
from generations.choices import ImportState
from generations.models import Dataset, DatasetImport, DatasetImportImage, DatasetItemImage, DatasetVersion
from generations.services import dataset_imports as services
from generations.services.importing.claims import claim_import, claim_next
from generations.services.importing.work import work_on_imports
from mayagen.common.errors import DomainError
from tests.accounts.threads import run_at_once
from tests.generations.factories import DatasetFactory
from tests.generations.import_cases import list_files, make_archive, upload, work

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]
N_THREADS = 8


def test_one_of_many_workers_gets_an_import(admin: User) -> None:
    dataset_import = upload(admin)

    claims = run_at_once(N_THREADS, lambda n: claim_next() if n % 2 else claim_import(dataset_import.pk))

    assert sum(claim is not None for claim in claims) == 1


def test_doubled_messages_at_once_make_one_version(admin: User) -> None:
    dataset = DatasetFactory()
    upload(admin, make_archive(), file_name="animals.zip", dataset=dataset, is_dry_run=False)

    run_at_once(N_THREADS, lambda _: work_on_imports(seconds=20))

    assert (dataset.imports.get().state, dataset.versions.count()) == (ImportState.COMPLETED, 1)
    assert (DatasetItemImage.objects.count(), len(list_files())) == (4, 3 * 4)


def test_many_starts_at_once_import_once(admin: User) -> None:
    dataset = DatasetFactory()
    checked = work(upload(admin, dataset=dataset))

    def start(_: int) -> str:
        try:
            own = DatasetImport.objects.get(pk=checked.pk)
            return services.start_dataset_import(actor=admin, dataset_import=own).state
        except DomainError as error:
            return error.code

    results = run_at_once(N_THREADS, start)
    work_on_imports()

    assert results.count(ImportState.IMPORTING) == 1
    assert results.count("dataset_import_not_checked") == N_THREADS - 1
    assert dataset.versions.count() == 1


@pytest.mark.parametrize("attempt", range(5))
def test_a_cancel_against_the_work_has_one_end(admin: User, attempt: int) -> None:
    dataset = DatasetFactory()
    checked = work(upload(admin, make_archive(), file_name="animals.zip", dataset=dataset))
    services.start_dataset_import(actor=admin, dataset_import=checked)

    def act(number: int) -> str:
        if number:
            work_on_imports()
            return ""
        try:
            return services.cancel_dataset_import(actor=admin, dataset_import=checked).state
        except DomainError as error:
            return error.code

    said = run_at_once(2, act)[0]
    state = work(checked).state

    assert (said, state, DatasetVersion.objects.count()) in [
        ("cancelled", ImportState.CANCELLED, 0),
        ("dataset_import_finished", ImportState.COMPLETED, 1),
    ]
    assert len(list_files()) == (12 if state == ImportState.COMPLETED else 0)
    assert not DatasetImportImage.objects.exists()
    assert Dataset.objects.count() == 1
