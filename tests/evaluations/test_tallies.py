"""Whatever people do, and in whatever order: the figures equal a recount, the places a count."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import User
from evaluations import selectors
from evaluations.assignment import leasing, syncing
from evaluations.models import Assignment, Rating, RatingTally, ReviewQueue
from evaluations.services import rating as rating_services
from evaluations.services import reviewing
from mayagen.common.errors import ConflictError
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import lapse, make_queue, sync, take
from tests.generations.factories import OutputImageFactory

pytestmark = pytest.mark.django_db


def act(dice: random.Random, queue: ReviewQueue, people: list[User], admin: User) -> None:
    """Do one thing that people do."""
    person = dice.choice(people)
    own = list(Assignment.objects.filter(evaluator=person))
    kind = dice.choice(["take", "submit", "submit", "clear", "skip", "reopen", "lapse", "open", "exclude"])
    if kind == "take" or not own:
        take(queue, person, dice.randint(1, 3))
        return
    target = dice.choice(own)
    public_id = target.public_id
    if kind == "submit":
        reviewing.submit_rating(actor=person, assignment_id=public_id, level=dice.randint(1, 5))
    elif kind == "clear":
        reviewing.clear_rating(actor=person, assignment_id=public_id)
    elif kind == "skip":
        reviewing.skip_assignment(actor=person, assignment_id=public_id)
    elif kind == "reopen":
        reviewing.reopen_assignment(actor=person, assignment_id=public_id)
    elif kind == "lapse":
        lapse(target)
        leasing.expire_leases()
    elif kind == "open":
        output = target.output_image
        rating_services.rate_generation(
            actor=admin, generation=output.generation, output=output, level=dice.randint(1, 5)
        )
    elif found := Rating.objects.standing().filter(is_excluded=False).order_by("?").first():
        rating_services.exclude_rating(actor=admin, rating=found, reason="A test.")


@pytest.mark.parametrize("seed", range(8))
def test_every_history_adds_up(seed: int, admin: User) -> None:
    dice = random.Random(seed)
    people = [admin, *UserFactory.create_batch(3, role="evaluator")]
    queue = make_queue(4, overlap=dice.randint(1, 3), is_blind=dice.random() < 0.7)
    OutputImageFactory(generation=queue.items.all()[0].output_image.generation)

    for _ in range(40):
        try:
            act(dice, queue, people, admin)
        except ConflictError:
            continue

    assert list(selectors.list_drift()) == []
    for item in queue.items.all():
        holding = Assignment.objects.filter(item=item, holds_place=True).count()
        assert item.n_open == queue.overlap - holding
    assert syncing.reconcile(queue) >= 0
    assert all(0 <= item.n_open <= queue.overlap for item in queue.items.all())


def test_the_command_names_what_differs(evaluator: User, capsys: Any) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    reviewing.submit_rating(actor=evaluator, assignment_id=item.public_id, level=4)
    call_command("check_tallies")
    RatingTally.objects.update(n_ratings=7)

    with pytest.raises(CommandError):
        call_command("check_tallies")

    assert "stored 7, counted 1" in capsys.readouterr().out


def test_new_outputs_come_into_the_default_queue_once(evaluator: User) -> None:
    OutputImageFactory.create_batch(3)
    queue = ReviewQueue.objects.get(is_default=True)

    assert sync(queue) == 3
    assert sync(queue) == 0
    assert len(take(queue, evaluator, 3)) == 3


def test_a_queue_pulls_again_after_a_second(evaluator: User) -> None:
    queue = ReviewQueue.objects.get(is_default=True)
    OutputImageFactory()
    sync(queue)
    queue.refresh_from_db()
    assert queue.synced_at is not None
    OutputImageFactory.create_batch(2)

    assert syncing.sync(queue) == 0
    ReviewQueue.objects.update(synced_at=queue.synced_at - timedelta(seconds=2))
    queue.refresh_from_db()
    assert syncing.sync(queue) == 2
