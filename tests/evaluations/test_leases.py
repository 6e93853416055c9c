"""Who gets which item, for how long, and what happens when they do not rate it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.services import deactivate_user
from evaluations import tasks
from evaluations.assignment import leasing
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, ReviewQueue
from evaluations.services import holding
from evaluations.services.holding import NotAMemberError
from mayagen.common.errors import NotFoundError, PermissionDeniedError
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import (
    ReviewQueueFactory,
    count_open,
    get_assignment,
    lapse,
    make_queue,
    rate,
    take,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> User:
    return UserFactory(role="evaluator")


def test_an_item_that_somebody_holds_is_not_given_to_another(evaluator: User, other: User) -> None:
    queue = make_queue(1)

    first, second = take(queue, evaluator), take(queue, other)

    assert len(first) == 1
    assert second == []
    assert count_open(queue) == [0]


def test_what_somebody_holds_already_is_given_again_first(evaluator: User) -> None:
    queue = make_queue(20)

    held = take(queue, evaluator, 3)
    again = take(queue, evaluator, 5)

    assert [item.public_id for item in again[:3]] == [item.public_id for item in held]
    assert len(again) == 5
    assert Assignment.objects.count() == 5


def test_items_come_in_the_queues_own_order(evaluator: User) -> None:
    queue = make_queue(5)

    rated = [rate(queue, evaluator).item_id for _ in range(5)]

    assert rated == list(queue.items.order_by("shuffle_key").values_list("pk", flat=True))


def test_with_an_overlap_of_two_two_people_get_an_item_and_no_third(evaluator: User, other: User) -> None:
    queue = make_queue(2, overlap=2)
    third = UserFactory(role="evaluator")

    given = [rate(queue, person).item_id for person in (evaluator, other) for _ in range(2)]

    assert sorted(given) == sorted([*queue.items.values_list("pk", flat=True)] * 2)
    assert count_open(queue) == [0, 0]
    assert take(queue, third) == []


def test_nobody_gets_an_item_twice(evaluator: User) -> None:
    queue = make_queue(1, overlap=3)

    rate(queue, evaluator)

    assert count_open(queue) == [2]
    assert take(queue, evaluator) == []


def test_a_lapsed_lease_goes_to_the_next_evaluator(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    lapse(get_assignment(item))

    (given,) = take(queue, other)

    assert given.public_id != item.public_id
    assert get_assignment(item).state == AssignmentState.EXPIRED
    assert count_open(queue) == [0]


def test_a_lapsed_lease_that_nobody_took_is_extended_for_its_holder(evaluator: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    lapse(get_assignment(item))

    (given,) = take(queue, evaluator)

    assert given.public_id == item.public_id
    assert given.lease_expires_at > timezone.now()


def test_an_expired_item_that_comes_back_to_the_same_person_is_the_same_assignment(evaluator: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    lapse(get_assignment(item))
    assert leasing.expire_leases() == 1

    (given,) = take(queue, evaluator)

    assert given.public_id == item.public_id
    assert Assignment.objects.count() == 1
    assert count_open(queue) == [0]


def test_the_scheduled_task_opens_lapsed_places_again(evaluator: User) -> None:
    queue = make_queue(3)
    items = take(queue, evaluator, 1)
    lapse(*map(get_assignment, items))

    tasks.sync_queues()
    tasks.sync_queues()

    assert count_open(queue) == [1, 1, 1]


def test_what_somebody_who_was_sent_away_held_is_open_again_within_a_minute(
    evaluator: User, admin: User
) -> None:
    queue = make_queue(2)
    take(queue, evaluator, 1)
    deactivate_user(actor=admin, user=evaluator)

    tasks.sync_queues()

    assert count_open(queue) == [1, 1]


def test_returned_items_are_open_again_at_once(evaluator: User, other: User) -> None:
    queue = make_queue(20)
    items = take(queue, evaluator, 4)
    ids = [item.public_id for item in items]

    returned = holding.return_leases(actor=evaluator, queue_id=queue.pk, assignment_ids=ids[:2])
    again = holding.return_leases(actor=evaluator, queue_id=queue.pk, assignment_ids=ids[:2])

    assert (returned, again) == (2, 0)
    assert count_open(queue)[:4] == [1, 1, 0, 0]
    assert get_assignment(take(queue, other)[0]).item_id == get_assignment(items[0]).item_id


def test_nobody_returns_what_another_holds(evaluator: User, other: User) -> None:
    queue = make_queue(5)
    (item,) = take(queue, evaluator)

    n = holding.return_leases(actor=other, queue_id=queue.pk, assignment_ids=[item.public_id])

    assert n == 0
    assert get_assignment(item).state == AssignmentState.LEASED


def test_at_the_tail_one_item_is_given_and_one_more_held(evaluator: User, other: User) -> None:
    queue = make_queue(6)

    first = take(queue, evaluator, 4)
    second = take(queue, other, 4)
    ahead = take(queue, other, 4)

    assert len(first) == 4
    assert len(second) == 1
    assert len(ahead) == 2


def test_a_heartbeat_extends_what_is_held_and_names_what_is_lost(evaluator: User, other: User) -> None:
    queue = make_queue(20)
    shown, held, lost = take(queue, evaluator, 3)
    lapse(get_assignment(lost))
    leasing.expire_leases()
    ids = [item.public_id for item in (shown, held, lost)]

    ends = holding.extend_leases(
        actor=evaluator, queue_id=queue.pk, assignment_ids=ids, shown_id=shown.public_id
    )

    assert lost.public_id not in ends
    assert ends[shown.public_id] - ends[held.public_id] > timedelta(minutes=11)
    assert get_assignment(shown).shown_at is not None
    assert holding.extend_leases(actor=other, queue_id=queue.pk, assignment_ids=ids, shown_id=None) == {}


def test_a_heartbeat_never_shortens_a_lease(evaluator: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    ids = [item.public_id]
    long = holding.extend_leases(
        actor=evaluator, queue_id=queue.pk, assignment_ids=ids, shown_id=item.public_id
    )

    short = holding.extend_leases(actor=evaluator, queue_id=queue.pk, assignment_ids=ids, shown_id=None)

    assert short == long
    assert take(queue, evaluator)[0].lease_expires_at == long[item.public_id]


def test_a_queue_for_others_is_not_there_for_an_evaluator(evaluator: User, other: User) -> None:
    queue = ReviewQueueFactory(evaluators=[other])

    with pytest.raises(NotFoundError):
        take(queue, evaluator)


def test_who_reads_queues_is_told_that_they_do_not_rate_there(admin: User, viewer: User, other: User) -> None:
    queue = ReviewQueueFactory(evaluators=[other])

    with pytest.raises(NotAMemberError):
        take(queue, admin)
    with pytest.raises(PermissionDeniedError):
        take(queue, viewer)


@pytest.mark.parametrize("fields", [{"is_active": False}, {"deleted_at": timezone.now()}])
def test_a_closed_queue_gives_nothing(evaluator: User, fields: dict[str, object]) -> None:
    queue = make_queue(1)
    ReviewQueue.objects.filter(pk=queue.pk).update(**fields)

    with pytest.raises(NotFoundError):
        take(queue, evaluator)
