"""Many people at once on real connections."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections

from accounts.models import User
from evaluations import selectors
from evaluations.assignment import leasing
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, Rating
from evaluations.services import holding, reviewing
from evaluations.services import rating as rating_services
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import count_open, get_assignment, lapse, make_queue, take

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def run_at_once(*verbs: Callable[[], Any]) -> list[Any]:
    """Call each in a thread with a connection of its own, all let go together; errors are raised."""
    barrier = threading.Barrier(len(verbs))
    results: list[Any] = [None] * len(verbs)

    def work(number: int) -> None:
        try:
            connection.ensure_connection()
            barrier.wait()
            results[number] = verbs[number]()
        except Exception as error:  # noqa: BLE001 - handed to the test
            results[number] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(verbs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


def make_evaluators(n: int) -> list[User]:
    return [UserFactory(role="evaluator") for _ in range(n)]


@pytest.mark.parametrize("overlap", [1, 2])
def test_eight_evaluators_never_share_more_places_than_there_are(overlap: int) -> None:
    people = make_evaluators(8)
    queue = make_queue(60, overlap=overlap)

    def work(person: User) -> int:
        n_rated = 0
        while items := take(queue, person, 3):
            for item in items:
                reviewing.submit_rating(actor=person, assignment_id=item.public_id, level=3)
                n_rated += 1
        return n_rated

    n_rated = run_at_once(*[partial(work, person) for person in people])

    assert sum(n_rated) == 60 * overlap
    by_item = Counter(Rating.objects.standing().values_list("output_image", flat=True))
    assert set(by_item.values()) == {overlap}
    assert not Rating.objects.filter(is_surplus=True).exists()
    assert set(count_open(queue)) == {0}
    assert list(selectors.list_drift()) == []


def test_two_tabs_of_one_person_get_different_items() -> None:
    (person,) = make_evaluators(1)
    queue = make_queue(40, overlap=2)

    given = run_at_once(*[lambda: take(queue, person, 2)] * 6)

    ids = {item.public_id for items in given for item in items}
    items = Assignment.objects.filter(public_id__in=ids).values_list("item", flat=True)
    assert len(set(items)) == len(ids)
    assert sum(2 - n_open for n_open in count_open(queue)) == len(ids)


def test_a_hundred_submits_of_one_rating_make_one_row() -> None:
    (person,) = make_evaluators(1)
    (item,) = take(make_queue(1), person)

    def submit() -> None:
        reviewing.submit_rating(actor=person, assignment_id=item.public_id, level=4)

    for _ in range(5):
        run_at_once(*[submit] * 20)

    assert Rating.objects.count() == 1
    assert list(selectors.list_drift()) == []


def test_revisions_at_once_leave_one_standing_and_a_whole_chain() -> None:
    (person,) = make_evaluators(1)
    (item,) = take(make_queue(1), person)

    def submit(level: int) -> None:
        reviewing.submit_rating(actor=person, assignment_id=item.public_id, level=level)

    run_at_once(*[partial(submit, n % 5 + 1) for n in range(20)])

    revisions = sorted(Rating.objects.values_list("revision", flat=True))
    assert revisions == list(range(1, len(revisions) + 1))
    assert Rating.objects.standing().count() == 1
    assert list(selectors.list_drift()) == []


def test_two_raters_of_one_generation_at_once_both_count() -> None:
    people = make_evaluators(6)
    queue = make_queue(1, overlap=6)
    items = [(person, take(queue, person)[0]) for person in people]

    def submit(person: User, public_id: Any, level: int) -> None:
        reviewing.submit_rating(actor=person, assignment_id=public_id, level=level)

    run_at_once(
        *[partial(submit, person, item.public_id, n % 5 + 1) for n, (person, item) in enumerate(items)]
    )

    assert Rating.objects.counted().count() == 6
    assert list(selectors.list_drift()) == []


def test_expiry_and_a_late_rating_at_once_fill_one_place() -> None:
    for _ in range(5):
        late, other = make_evaluators(2)
        queue = make_queue(1)
        (item,) = take(queue, late)
        lapse(get_assignment(item))

        def submit(late: User = late, item: Any = item) -> None:
            reviewing.submit_rating(actor=late, assignment_id=item.public_id, level=4)

        def take_over(queue: Any = queue, other: User = other) -> None:
            take(queue, other)

        def expire(queue: Any = queue) -> None:
            leasing.expire_leases(queue_id=queue.pk)

        run_at_once(submit, take_over, expire)

        holding = Assignment.objects.filter(queue=queue, holds_place=True)
        assert holding.count() <= 1
        assert count_open(queue) == [1 - holding.count()]
        assert Rating.objects.filter(queue=queue).count() == 1


def test_a_queue_rating_and_an_open_one_of_the_same_person_make_a_chain() -> None:
    admin = UserFactory(role="admin")
    queue = make_queue(4, is_blind=False)
    items = take(queue, admin, 4)

    def submit(item: Any) -> None:
        reviewing.submit_rating(actor=admin, assignment_id=item.public_id, level=2)

    def rate_openly(item: Any) -> None:
        generation = get_assignment(item).output_image.generation
        rating_services.rate_generation(actor=admin, generation=generation, level=5)

    for item in items:
        run_at_once(partial(submit, item), partial(rate_openly, item))

    assert sorted(Rating.objects.values_list("revision", flat=True)) == [1] * len(items) + [2] * len(items)
    assert list(selectors.list_drift()) == []


def test_skips_returns_and_heartbeats_at_once_keep_the_places_right() -> None:
    people = make_evaluators(4)
    queue = make_queue(30, overlap=2)

    def work(person: User, seed: int) -> None:
        for turn in range(12):
            items = take(queue, person, 3)
            ids = [item.public_id for item in items]
            if not ids:
                return
            kind = (turn + seed) % 4
            if kind == 0:
                holding.return_leases(actor=person, queue_id=queue.pk, assignment_ids=ids)
            elif kind == 1:
                reviewing.skip_assignment(actor=person, assignment_id=ids[0])
                holding.extend_leases(actor=person, queue_id=queue.pk, assignment_ids=ids, shown_id=ids[-1])
            elif kind == 2:
                reviewing.submit_rating(actor=person, assignment_id=ids[0], level=turn % 5 + 1)
                reviewing.clear_rating(actor=person, assignment_id=ids[0])
            else:
                reviewing.submit_rating(actor=person, assignment_id=ids[0], level=turn % 5 + 1)

    run_at_once(*[partial(work, person, n) for n, person in enumerate(people)])

    for item in queue.items.all():
        held = Assignment.objects.filter(item=item, holds_place=True).count()
        assert item.n_open == 2 - held
    assert not Assignment.objects.filter(
        state__in=[AssignmentState.RETURNED, AssignmentState.SKIPPED], holds_place=True
    ).exists()
    assert list(selectors.list_drift()) == []
