"""What several people do to the same rows at once ends as if one had come after the other."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from django.db import connection

from accounts.models import User
from generations.choices import Source, Status
from generations.models import Dataset, Generation
from generations.services.datasets import create_dataset, import_dataset
from generations.services.recording import add_outputs
from generations.services.retrying import retry_failed, retry_generation
from generations.services.runs import cancel_generation, cancel_run
from mayagen.common.errors import DomainError
from tests.generations.factories import GenerationFactory, RunFactory, make_png

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgres]
N_THREADS = 8


def race(verb: Callable[[int], object]) -> list[object]:
    """Call a verb from all threads at once; return what each got, refusals as their codes."""
    barrier = Barrier(N_THREADS)

    def run(number: int) -> object:
        try:
            barrier.wait()
            return verb(number)
        except DomainError as error:
            return error.code
        finally:
            connection.close()

    with ThreadPoolExecutor(N_THREADS) as pool:
        return list(pool.map(run, range(N_THREADS)))


def test_a_generation_is_retried_once_however_many_ask(admin: User) -> None:
    old = GenerationFactory(failed=True)

    results = race(lambda _: retry_generation(actor=admin, generation=old))

    assert results.count("generation_not_retryable") == N_THREADS - 1
    assert Generation.objects.filter(retry_of=old).count() == 1


def test_failures_of_a_run_are_retried_once_however_many_ask(admin: User) -> None:
    run = RunFactory()
    GenerationFactory.create_batch(5, run=run, failed=True)

    results = race(lambda _: retry_failed(actor=admin, run=run))

    assert sorted(result for result in results if isinstance(result, int)) == [5]
    assert Generation.objects.current().filter(run=run).count() == 5


def test_a_generation_is_cancelled_once_however_many_ask(admin: User) -> None:
    generation = GenerationFactory(processing=True)

    def cancel(number: int) -> object:
        if number % 2:
            return cancel_generation(actor=admin, generation=Generation.objects.get(pk=generation.pk))
        return cancel_run(actor=admin, run=generation.run)

    results = race(cancel)

    assert sum(result in {"generation_finished", "run_finished"} for result in results) == N_THREADS - 1
    generation.refresh_from_db()
    assert (generation.status, generation.fence) == (Status.CANCELLED, 2)


def test_outputs_added_at_once_get_places_of_their_own(admin: User) -> None:
    generation = GenerationFactory(source=Source.EXTERNAL, run=None)

    race(
        lambda _: add_outputs(
            actor=admin, generation=Generation.objects.get(pk=generation.pk), files=[make_png(1)]
        )
    )

    positions = generation.outputs.order_by("position").values_list("position", flat=True)
    assert list(positions) == list(range(N_THREADS))


def test_imports_into_one_dataset_get_numbers_of_their_own(admin: User) -> None:
    dataset = create_dataset(actor=admin, name="Animals")

    race(lambda _: import_dataset(actor=admin, content=b"subject\ncat\n", dataset=dataset))

    numbers = dataset.versions.order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, N_THREADS + 1))


def test_datasets_of_one_name_are_made_or_refused(admin: User) -> None:
    race(lambda _: create_dataset(actor=admin, name="Animals"))

    slugs = Dataset.objects.values_list("slug", flat=True)
    assert len(set(slugs)) == len(slugs) >= 1
