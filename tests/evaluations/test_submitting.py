"""Rating, revising, withdrawing, skipping and coming late."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from accounts.models import User
from evaluations import selectors
from evaluations.assignment import leasing
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, Rating, RatingTally
from evaluations.services import rating as rating_services
from evaluations.services import reviewing
from evaluations.services.reviewing import (
    AlreadyRatedError,
    LeaseExpiredError,
    LevelOutsideScaleError,
    NoteTooLongError,
    NotRatedError,
    PlaceTakenError,
)
from mayagen.common.errors import NotFoundError
from prompts.models import PromptVersion
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import (
    ReviewQueueFactory,
    count_open,
    get_assignment,
    lapse,
    make_queue,
    rate,
    sync,
    take,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def other() -> User:
    return UserFactory(role="evaluator")


@pytest.fixture(autouse=True)
def _everything_adds_up(db: None) -> Any:
    yield
    assert list(selectors.list_drift()) == []


def submit(evaluator: User, assignment: Assignment, level: int = 4, **fields: Any) -> Rating:
    reviewing.submit_rating(actor=evaluator, assignment_id=assignment.public_id, level=level, **fields)
    return Rating.objects.filter(assignment=assignment).order_by("-revision")[:1].get()


def test_a_rating_is_kept_with_where_it_came_from(evaluator: User) -> None:
    queue = make_queue(1)
    shown_at = timezone.now() + timedelta(seconds=1)

    assignment = rate(queue, evaluator, 5, note="Fine.", is_flagged=True, shown_at=shown_at, decided_ms=900)

    rating = Rating.objects.get()
    assert (rating.level, rating.note, rating.is_flagged) == (5, "Fine.", True)
    assert (rating.queue, rating.assignment, rating.rater) == (queue, assignment, evaluator)
    assert (rating.is_blind, rating.is_surplus, rating.is_excluded) == (True, False, False)
    assert (rating.shown_at, rating.decided_ms) == (shown_at, 900)
    assert rating.prompt_version == assignment.output_image.generation.prompt_version
    assert assignment.state == AssignmentState.SUBMITTED
    assert assignment.finished_at is not None


def test_the_consensus_is_the_mean_of_all_raters(evaluator: User, other: User) -> None:
    queue = make_queue(1, overlap=3)
    third = UserFactory(role="evaluator")

    rated = [rate(queue, person, level) for person, level in ((evaluator, 5), (other, 4), (third, 4))]

    image = rated[0].output_image
    image.refresh_from_db()
    assert image.rating == Decimal("4.33")
    assert image.generation.result_rating == Decimal("4.33")
    assert {tally.level: tally.n_ratings for tally in RatingTally.objects.all()} == {4: 2, 5: 1}


def test_the_same_rating_twice_changes_nothing(evaluator: User) -> None:
    assignment = rate(make_queue(1), evaluator, 4, note="Good.")

    submit(evaluator, assignment, 4, note="Good.")

    assert Rating.objects.count() == 1


def test_a_revision_ends_the_earlier_rating_and_keeps_it(evaluator: User) -> None:
    assignment = rate(make_queue(1), evaluator, 2)

    newest = submit(evaluator, assignment, 5)

    first = Rating.objects.exclude(pk=newest.pk).get()
    assert (first.is_standing, newest.is_standing, newest.revision) == (False, True, 2)
    assert first.ended_at is not None
    assignment.output_image.refresh_from_db()
    assert assignment.output_image.rating == 5
    assert {tally.level: tally.n_ratings for tally in RatingTally.objects.all()} == {2: 0, 5: 1}


def test_clearing_withdraws_the_rating_and_leases_the_item_again(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    assignment = rate(queue, evaluator)

    facts = reviewing.clear_rating(actor=evaluator, assignment_id=assignment.public_id)
    again = reviewing.clear_rating(actor=evaluator, assignment_id=assignment.public_id)

    assert (facts.state, facts.rating, again.state) == ("leased", None, "leased")
    assert Rating.objects.standing().count() == 0
    assignment.output_image.refresh_from_db()
    assert assignment.output_image.rating is None
    assert assignment.output_image.generation.result_rating is None
    assert take(queue, other) == []
    assert submit(evaluator, assignment, 3).revision == 2


def test_what_was_not_rated_cannot_be_cleared(evaluator: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    reviewing.skip_assignment(actor=evaluator, assignment_id=item.public_id)

    with pytest.raises(NotRatedError):
        reviewing.clear_rating(actor=evaluator, assignment_id=item.public_id)


def test_a_late_rating_takes_its_place_again_when_it_is_still_open(evaluator: User) -> None:
    queue = make_queue(1)
    assignment = get_assignment(take(queue, evaluator)[0])
    lapse(assignment)
    leasing.expire_leases()

    rating = submit(evaluator, assignment)

    assert not rating.is_surplus
    assert count_open(queue) == [0]


def test_a_late_rating_whose_place_was_filled_is_kept_as_surplus(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    assignment = get_assignment(take(queue, evaluator)[0])
    lapse(assignment)
    rate(queue, other, 2)

    facts = reviewing.submit_rating(actor=evaluator, assignment_id=assignment.public_id, level=5)

    assert facts.rating is not None
    assert facts.rating.is_surplus
    assignment.output_image.refresh_from_db()
    assert assignment.output_image.rating == 2
    assert submit(evaluator, assignment, 4).is_surplus
    assert count_open(queue) == [0]


def test_a_lapsed_lease_that_nobody_took_still_rates(evaluator: User) -> None:
    queue = make_queue(1)
    assignment = get_assignment(take(queue, evaluator)[0])
    lapse(assignment)

    assert not submit(evaluator, assignment).is_surplus


def test_skipping_leaves_the_item_to_others_only(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)

    facts = reviewing.skip_assignment(
        actor=evaluator, assignment_id=item.public_id, note="Cannot tell.", is_flagged=True
    )

    assert (facts.state, facts.note, facts.is_flagged) == ("skipped", "Cannot tell.", True)
    assert take(queue, evaluator) == []
    assert len(take(queue, other)) == 1


def test_skipping_twice_opens_one_place(evaluator: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)

    for _ in range(2):
        reviewing.skip_assignment(actor=evaluator, assignment_id=item.public_id)

    assert count_open(queue) == [1]


def test_a_skipped_item_can_be_taken_back_while_it_is_open(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    reviewing.skip_assignment(actor=evaluator, assignment_id=item.public_id)

    facts = reviewing.reopen_assignment(actor=evaluator, assignment_id=item.public_id)

    assert facts.state == "leased"
    assert take(queue, other) == []


def test_a_skipped_item_that_others_took_cannot_be_taken_back(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    reviewing.skip_assignment(actor=evaluator, assignment_id=item.public_id)
    take(queue, other)

    with pytest.raises(PlaceTakenError):
        reviewing.reopen_assignment(actor=evaluator, assignment_id=item.public_id)
    assert submit(evaluator, get_assignment(item)).is_surplus


def test_a_rated_item_is_neither_skipped_nor_reopened(evaluator: User) -> None:
    assignment = rate(make_queue(1), evaluator)

    with pytest.raises(AlreadyRatedError):
        reviewing.skip_assignment(actor=evaluator, assignment_id=assignment.public_id)
    with pytest.raises(AlreadyRatedError):
        reviewing.reopen_assignment(actor=evaluator, assignment_id=assignment.public_id)


def test_a_lost_item_cannot_be_skipped(evaluator: User, other: User) -> None:
    queue = make_queue(1)
    (item,) = take(queue, evaluator)
    lapse(get_assignment(item))
    take(queue, other)

    with pytest.raises(LeaseExpiredError):
        reviewing.skip_assignment(actor=evaluator, assignment_id=item.public_id)


@pytest.mark.parametrize("level", [-1, 0, 6, 2**40])
def test_a_level_outside_the_scale_is_refused(evaluator: User, level: int) -> None:
    (item,) = take(make_queue(1), evaluator)

    with pytest.raises(LevelOutsideScaleError):
        submit(evaluator, get_assignment(item), level)
    assert Rating.objects.count() == 0


def test_a_note_that_is_too_long_is_refused(evaluator: User) -> None:
    (item,) = take(make_queue(1), evaluator)

    with pytest.raises(NoteTooLongError):
        submit(evaluator, get_assignment(item), note="x" * 5_001)
    submit(evaluator, get_assignment(item), note="x" * 5_000)


def test_nobody_rates_what_another_was_given(evaluator: User, other: User) -> None:
    (item,) = take(make_queue(1), evaluator)

    for assignment_id in (item.public_id, uuid4()):
        with pytest.raises(NotFoundError):
            reviewing.submit_rating(actor=other, assignment_id=assignment_id, level=3)


@pytest.mark.parametrize(
    ("shown_after", "decided_ms"), [(timedelta(days=1), 10**12), (timedelta(days=-400), 25 * 3600 * 1000)]
)
def test_times_that_cannot_be_are_dropped_and_the_rating_kept(
    evaluator: User, shown_after: timedelta, decided_ms: int
) -> None:
    rate(make_queue(1), evaluator, shown_at=timezone.now() + shown_after, decided_ms=decided_ms)

    rating = Rating.objects.get()
    assert (rating.shown_at, rating.decided_ms) == (None, None)


def test_an_admins_rating_in_a_blind_queue_is_kept_but_fills_no_place(admin: User, evaluator: User) -> None:
    queue = make_queue(1)

    assignment = rate(queue, admin, 1)

    rating = Rating.objects.get()
    assert rating.is_excluded
    assert "admin" in rating.exclusion_reason
    assert count_open(queue) == [1]
    assert submit(admin, assignment, 2).is_excluded
    assert rate(queue, evaluator, 5).output_image.rating == 5


def test_the_authors_rating_in_a_blind_queue_does_not_count(evaluator: User) -> None:
    queue = make_queue(1)
    PromptVersion.objects.update(created_by=evaluator)

    rate(queue, evaluator)

    assert "author" in Rating.objects.get().exclusion_reason
    assert RatingTally.objects.count() == 0


def test_an_admins_rating_in_an_open_queue_counts(admin: User) -> None:
    assignment = rate(make_queue(1, is_blind=False), admin, 3)

    assert not Rating.objects.get().is_excluded
    assert assignment.output_image.rating == 3


def test_an_excluded_rating_leaves_its_place_to_another(admin: User, evaluator: User, other: User) -> None:
    queue = make_queue(1)
    assignment = rate(queue, evaluator, 1)

    rating_services.exclude_rating(actor=admin, rating=Rating.objects.get(), reason="Rated without looking.")

    assignment.output_image.refresh_from_db()
    assert assignment.output_image.rating is None
    assert len(take(queue, other)) == 1
    assert submit(evaluator, assignment, 2).is_excluded


def test_the_same_output_in_another_queue_revises_the_rating(evaluator: User) -> None:
    first = rate(make_queue(1), evaluator, 2)
    second_queue = ReviewQueueFactory()
    sync(second_queue)

    second = rate(second_queue, evaluator, 4)

    assert second.output_image == first.output_image
    assert Rating.objects.standing().get().queue == second_queue
    assert submit(evaluator, first, 3).revision == 3
