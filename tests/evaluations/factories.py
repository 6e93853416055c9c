"""Queues, items, assignments and ratings for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from accounts.models import User
from evaluations.assignment import syncing
from evaluations.assignment.items import AssignedItem
from evaluations.models import Assignment, Criterion, QueueItem, Rating, ReviewQueue, Scale, ScaleLevel
from evaluations.services import holding, reviewing
from evaluations.services.criteria import STANDARD_LEVELS
from generations.models import OutputImage


def get_overall() -> Criterion:
    """Return the criterion of the consensus, made again where a test emptied the tables."""
    criterion, is_new = Criterion.objects.get_or_create(slug="overall", defaults={"name": "Overall"})
    if is_new:
        scale = Scale.objects.create(criterion=criterion, number=1)
        for level in STANDARD_LEVELS:
            ScaleLevel.objects.create(scale=scale, level=level, name=f"LEVEL {level}")
    return criterion


class ReviewQueueFactory(DjangoModelFactory[ReviewQueue]):
    """A blind queue of everything, on the overall criterion; `evaluators=[…]` closes it to others."""

    class Meta:
        model = ReviewQueue
        skip_postgeneration_save = True

    name = factory.Sequence(lambda n: f"Queue {n}")
    criterion = factory.LazyFunction(get_overall)

    @factory.post_generation
    def evaluators(self, create: bool, extracted: Any, **kwargs: Any) -> None:
        if create and extracted:
            self.evaluators.set(extracted)


class QueueItemFactory(DjangoModelFactory[QueueItem]):
    """One output in a queue, every place open."""

    class Meta:
        model = QueueItem

    queue = factory.SubFactory(ReviewQueueFactory)
    output_image = factory.SubFactory("tests.generations.factories.OutputImageFactory")
    shuffle_key = factory.Sequence(lambda n: n)
    n_open = factory.SelfAttribute("queue.overlap")


class RatingFactory(DjangoModelFactory[Rating]):
    """A counted, blind rating of an output; consensus and tallies are not touched."""

    class Meta:
        model = Rating

    output_image = factory.SubFactory("tests.generations.factories.OutputImageFactory")
    prompt_version = factory.SelfAttribute("output_image.generation.prompt_version")
    criterion = factory.LazyFunction(get_overall)
    scale = factory.LazyAttribute(lambda rating: rating.criterion.scales.order_by("-number").first())
    level = 4
    scale_level = factory.LazyAttribute(lambda rating: rating.scale.levels.get(level=rating.level))
    rater = factory.SubFactory("tests.accounts.factories.UserFactory", role="evaluator")
    is_blind = True


def make_queue(n_items: int, **fields: Any) -> ReviewQueue:
    """Return a queue that holds `n_items` new outputs and no others."""
    queue: ReviewQueue = ReviewQueueFactory(**fields)
    QueueItemFactory.create_batch(n_items, queue=queue)
    now = timezone.now()
    ReviewQueue.objects.filter(pk=queue.pk).update(synced_at=now + timedelta(days=1), reconciled_at=now)
    queue.refresh_from_db()
    return queue


def take(queue: ReviewQueue, evaluator: User, n_wanted: int = 1) -> list[AssignedItem]:
    """Return what the evaluator is given."""
    given = holding.take_next_items(actor=evaluator, queue_id=queue.pk, n_wanted=n_wanted)
    return given.items


def rate(queue: ReviewQueue, evaluator: User, level: int = 4, **fields: Any) -> Assignment:
    """Let the evaluator take the next item and rate it."""
    (item,) = take(queue, evaluator)
    reviewing.submit_rating(actor=evaluator, assignment_id=item.public_id, level=level, **fields)
    return Assignment.objects.get(public_id=item.public_id)


def lapse(*assignments: Assignment) -> None:
    """Let the leases of these assignments run out."""
    past = timezone.now() - timedelta(minutes=1)
    Assignment.objects.filter(pk__in=[each.pk for each in assignments]).update(lease_expires_at=past)


def get_assignment(item: AssignedItem) -> Assignment:
    """Return the row of an item that was given."""
    return Assignment.objects.get(public_id=item.public_id)


def count_open(queue: ReviewQueue) -> list[int]:
    """Return the open places of a queue's items, in their order."""
    return list(queue.items.order_by("shuffle_key", "pk").values_list("n_open", flat=True))


def sync(queue: ReviewQueue) -> int:
    """Pull new outputs now."""
    ReviewQueue.objects.filter(pk=queue.pk).update(synced_at=None)
    return syncing.sync(ReviewQueue.objects.get(pk=queue.pk))


def list_outputs(queue: ReviewQueue) -> set[OutputImage]:
    """Return the outputs in a queue that have an open place."""
    return {item.output_image for item in queue.items.filter(n_open__gt=0).select_related("output_image")}
