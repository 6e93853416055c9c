"""Which outputs come into a queue, and which leave it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from evaluations import tasks
from evaluations.assignment import syncing
from evaluations.models import ReviewQueue
from evaluations.services import queues
from evaluations.services import rating as rating_services
from generations.models import OutputImage
from prompts.models import PromptVersion
from tests.evaluations.factories import ReviewQueueFactory, list_outputs, make_queue, rate, sync, take
from tests.generations.factories import DatasetItemFactory, GenerationFactory, OutputImageFactory

pytestmark = pytest.mark.django_db


def get_default() -> ReviewQueue:
    return ReviewQueue.objects.get(is_default=True)


def test_only_completed_and_prepared_outputs_are_due() -> None:
    GenerationFactory()
    GenerationFactory(failed=True)
    OutputImage.objects.filter(pk=OutputImageFactory().pk).update(blind="")
    due = OutputImageFactory()

    sync(get_default())

    assert list_outputs(get_default()) == {due}


def test_outputs_of_deleted_prompts_and_versions_stay_out_and_leave() -> None:
    first, second, third = OutputImageFactory.create_batch(3)
    PromptVersion.objects.filter(pk=first.generation.prompt_version_id).update(deleted_at=timezone.now())
    sync(get_default())
    assert list_outputs(get_default()) == {second, third}
    prompt = second.generation.prompt_version.prompt
    prompt.deleted_at = timezone.now()
    prompt.save()

    syncing.reconcile(get_default())
    assert list_outputs(get_default()) == {third}
    prompt.deleted_at = None
    prompt.save()
    syncing.reconcile(get_default())

    assert list_outputs(get_default()) == {second, third}


def test_a_queue_takes_what_its_filter_matches() -> None:
    item = DatasetItemFactory()
    wanted = GenerationFactory(completed=True, dataset_item=item)
    same_prompt = GenerationFactory(completed=True, prompt_version=wanted.prompt_version)
    GenerationFactory(completed=True)
    queue = ReviewQueueFactory()
    queue.prompts.set([wanted.prompt_version.prompt])

    sync(queue)
    assert list_outputs(queue) == {wanted.outputs.get(), same_prompt.outputs.get()}
    queue.datasets.set([item.dataset_version.dataset])
    syncing.reconcile(queue)
    assert list_outputs(queue) == {wanted.outputs.get()}
    queue.runs.set([same_prompt.run])
    syncing.reconcile(queue)

    assert list_outputs(queue) == set()


def test_the_default_queue_leaves_what_was_rated_elsewhere(evaluator: User, admin: User) -> None:
    rated_there, rated_openly, unrated = OutputImageFactory.create_batch(3)
    queue = make_queue(0)
    queue.items.create(output_image=rated_there, shuffle_key=1, n_open=1)
    sync(get_default())

    rate(queue, evaluator)
    rating_services.rate_generation(actor=admin, generation=rated_openly.generation, level=3)

    assert list_outputs(get_default()) == {unrated}


def test_an_open_rating_fills_no_place_of_another_queue(admin: User, evaluator: User) -> None:
    queue = make_queue(1)
    output = queue.items.get().output_image

    rating_services.rate_generation(actor=admin, generation=output.generation, level=3)

    assert len(take(queue, evaluator)) == 1


def test_a_withdrawn_open_rating_brings_the_output_back(admin: User) -> None:
    output = OutputImageFactory()
    sync(get_default())
    rating_services.rate_generation(actor=admin, generation=output.generation, level=3)
    rating_services.withdraw_own_rating(actor=admin, generation=output.generation)

    syncing.reconcile(get_default())

    assert list_outputs(get_default()) == {output}


def test_an_output_older_than_the_watermark_comes_with_the_full_comparison() -> None:
    output = OutputImageFactory()
    long_ahead = timezone.now() + timedelta(hours=1)
    ReviewQueue.objects.update(synced_at=long_ahead, reconciled_at=None)

    assert syncing._pull(get_default(), since=long_ahead) == 0
    tasks.sync_queues()

    assert list_outputs(get_default()) == {output}


def test_a_wider_overlap_opens_places_and_a_narrower_one_closes_them(admin: User, evaluator: User) -> None:
    queue = make_queue(2)
    for output in list_outputs(queue):
        queue.prompts.add(output.generation.prompt_version.prompt)
    rate(queue, evaluator)

    queues.change_queue(actor=admin, queue=queue, overlap=3)
    wide = sorted(queue.items.values_list("n_open", flat=True))
    queues.change_queue(actor=admin, queue=queue, overlap=1)

    assert wide == [2, 3]
    assert sorted(queue.items.values_list("n_open", flat=True)) == [0, 1]


def test_next_pulls_new_outputs_when_the_queue_runs_short(evaluator: User) -> None:
    queue = ReviewQueueFactory()
    assert take(queue, evaluator) == []
    OutputImageFactory()
    ReviewQueue.objects.filter(pk=queue.pk).update(synced_at=timezone.now() - timedelta(seconds=2))

    assert len(take(queue, evaluator)) == 1


def test_versions_are_mixed_whenever_their_outputs_came() -> None:
    first = [GenerationFactory(completed=True).outputs.get().pk for _ in range(30)]
    sync(get_default())
    second = [GenerationFactory(completed=True).outputs.get().pk for _ in range(30)]
    sync(get_default())

    order = list(get_default().items.order_by("shuffle_key").values_list("output_image", flat=True))

    n_early = sum(pk in first for pk in order[:30])
    assert 5 <= n_early <= 25
    assert set(order) == {*first, *second}
