"""The admin's pages of queues, assignments, ratings and criteria, role by role."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from accounts.models import AuditEntry, User
from evaluations.choices import AssignmentState
from evaluations.models import Assignment, Criterion, Rating, ReviewQueue
from tests.accounts.factories import UserFactory
from tests.accounts.signing_in import sign_in
from tests.evaluations.factories import (
    ReviewQueueFactory,
    get_assignment,
    get_overall,
    make_queue,
    rate,
    take,
)

pytestmark = pytest.mark.django_db

PAGES = ("reviewqueue", "assignment", "rating", "criterion")
LEVELS = "FAILED: No.\nPOOR\nACCEPTABLE\nGOOD\nEXCELLENT: Yes."


def url(model: str, page: str, *args: object) -> str:
    return reverse(f"admin:evaluations_{model}_{page}", args=args)


@pytest.fixture
def rated(evaluator: User) -> Rating:
    queue = make_queue(2)
    rate(queue, evaluator, 2, note="A canary.")
    take(queue, evaluator)
    return Rating.objects.get()


def test_admins_open_every_page(admin: User, rated: Rating) -> None:
    client = sign_in(admin)
    rows = {
        "reviewqueue": rated.queue,
        "assignment": rated.assignment,
        "rating": rated,
        "criterion": rated.criterion,
    }

    for model, row in rows.items():
        assert row is not None
        for address in (url(model, "changelist"), url(model, "change", row.pk)):
            assert client.get(address).status_code == 200, address
    for model in ("reviewqueue", "criterion"):
        assert client.get(url(model, "add")).status_code == 200


def test_viewers_read_ratings_without_names(viewer: User, rated: Rating) -> None:
    client = sign_in(viewer)

    for address in (url("rating", "changelist"), url("rating", "change", rated.pk)):
        response = client.get(address)
        assert response.status_code == 200
        assert b"rater-" in response.content
        assert rated.rater.name.encode() not in response.content
        assert rated.rater.email.encode() not in response.content


def test_viewers_read_queues_without_people(viewer: User, evaluator: User) -> None:
    queue = ReviewQueueFactory(evaluators=[evaluator])

    response = sign_in(viewer).get(url("reviewqueue", "change", queue.pk))

    assert response.status_code == 200
    assert evaluator.name.encode() not in response.content


def test_viewers_see_no_assignments_and_change_nothing(viewer: User, rated: Rating) -> None:
    client = sign_in(viewer)

    assert client.get(url("assignment", "changelist")).status_code == 403
    assert client.get(url("rating", "exclude", rated.pk)).status_code == 403
    assert client.post(url("reviewqueue", "add"), {"name": "Mine"}).status_code == 403
    assert client.post(url("reviewqueue", "change", rated.queue_id), {"name": "Mine"}).status_code == 403


@pytest.mark.parametrize("model", PAGES)
def test_evaluators_see_none_of_it(evaluator: User, rated: Rating, model: str) -> None:
    response = sign_in(evaluator).get(url(model, "changelist"))

    assert response.status_code in {302, 403}


def queue_fields(**changes: Any) -> dict[str, Any]:
    fields = {
        "name": "Candidates",
        "instructions": "",
        "criterion": str(get_overall().pk),
        "overlap": "2",
        "is_blind": "on",
        "is_active": "on",
        "held_lease_seconds": "180",
        "shown_lease_seconds": "900",
    }
    return {**fields, **changes}


def test_a_queue_is_made_and_changed_by_its_verbs(admin: User, evaluator: User) -> None:
    client = sign_in(admin)

    made = client.post(url("reviewqueue", "add"), queue_fields(evaluators=[str(evaluator.pk)]))
    queue = ReviewQueue.objects.get(name="Candidates")
    changed = client.post(url("reviewqueue", "change", queue.pk), queue_fields(overlap="3"))

    assert (made.status_code, changed.status_code) == (302, 302)
    queue.refresh_from_db()
    assert (queue.overlap, queue.created_by, queue.evaluators.count()) == (3, admin, 0)
    verbs = AuditEntry.objects.filter(object_id=str(queue.pk)).values_list("verb", flat=True)
    assert set(verbs) == {"create_queue", "change_queue"}


def test_a_refused_queue_keeps_what_was_typed(admin: User, rated: Rating) -> None:
    other = Criterion.objects.create(slug="quality", name="Quality")
    fields = queue_fields(name="Kept as typed", criterion=str(other.pk))

    response = sign_in(admin).post(url("reviewqueue", "change", rated.queue_id), fields)

    assert response.status_code == 200
    assert b"make a new queue" in response.content
    assert b"Kept as typed" in response.content


def test_a_queue_is_deleted_and_restored(admin: User) -> None:
    client = sign_in(admin)
    queue = ReviewQueueFactory()

    client.post(url("reviewqueue", "delete", queue.pk))
    queue.refresh_from_db()
    assert queue.is_deleted
    client.post(url("reviewqueue", "restore", queue.pk))

    queue.refresh_from_db()
    assert not queue.is_deleted


def test_the_default_queue_cannot_be_deleted(admin: User) -> None:
    queue = ReviewQueue.objects.get(is_default=True)

    response = sign_in(admin).post(url("reviewqueue", "delete", queue.pk), follow=True)

    assert b"neither deleted nor filtered" in response.content
    queue.refresh_from_db()
    assert not queue.is_deleted


def test_a_lease_is_taken_back(admin: User, evaluator: User) -> None:
    queue = make_queue(1)
    held = get_assignment(take(queue, evaluator)[0])

    sign_in(admin).post(
        url("assignment", "changelist"), {"action": "release", "_selected_action": [str(held.pk)]}
    )

    held.refresh_from_db()
    assert held.state == AssignmentState.RETURNED
    assert len(take(queue, UserFactory(role="evaluator"))) == 1
    assert AuditEntry.objects.filter(verb="release_assignment").count() == 1


def test_a_rating_is_excluded_with_a_reason_only(admin: User, rated: Rating) -> None:
    client = sign_in(admin)
    address = url("rating", "exclude", rated.pk)

    assert client.get(address).status_code == 200
    assert client.post(address, {"reason": " "}).status_code == 200
    assert client.post(address, {"reason": "Rated without looking."}).status_code == 302

    rated.refresh_from_db()
    assert (rated.is_excluded, rated.exclusion_reason) == (True, "Rated without looking.")
    again = client.post(address, {"reason": "Once more."})
    assert b"excluded already" in again.content


def test_ratings_cannot_be_edited_by_anybody(admin: User, rated: Rating) -> None:
    response = sign_in(admin).post(url("rating", "change", rated.pk), {"level": "5"})

    assert response.status_code == 403
    rated.refresh_from_db()
    assert rated.level == 2


def test_a_criterion_is_made_with_its_scale_and_gets_a_new_one(admin: User) -> None:
    client = sign_in(admin)
    fields = {"name": "Quality", "slug": "quality", "description": "", "is_active": "on"}

    client.post(url("criterion", "add"), {**fields, "levels": "BAD: No.\nGOOD: Yes."})
    criterion = Criterion.objects.get(slug="quality")
    client.post(url("criterion", "change", criterion.pk), {**fields, "levels": "BAD\nSO SO\nGOOD"})
    client.post(url("criterion", "change", criterion.pk), {**fields, "levels": "", "name": "Looks"})

    criterion.refresh_from_db()
    counts = [scale.levels.count() for scale in criterion.scales.order_by("number")]
    assert (criterion.name, counts) == ("Looks", [2, 3])


def test_the_overall_criterion_keeps_five_levels(admin: User) -> None:
    criterion = get_overall()
    fields = {"name": "Overall", "description": "", "is_active": "on"}
    client = sign_in(admin)

    refused = client.post(url("criterion", "change", criterion.pk), {**fields, "levels": "BAD\nGOOD"})
    client.post(url("criterion", "change", criterion.pk), {**fields, "levels": LEVELS})

    assert b"keeps the levels 1 to 5" in refused.content
    assert criterion.scales.count() == 2


@pytest.mark.parametrize("model", PAGES)
def test_lists_cost_the_same_for_one_row_and_for_many(
    admin: User, rated: Rating, model: str, django_assert_max_num_queries: Any
) -> None:
    client = sign_in(admin)
    client.get(url(model, "changelist"))
    counts = []
    for _ in range(2):
        with django_assert_max_num_queries(40) as captured:
            client.get(url(model, "changelist"))
        counts.append(len(captured))
        for _ in range(3):
            rate(make_queue(1), UserFactory(role="evaluator"))
            Criterion.objects.create(slug=f"c{Criterion.objects.count()}", name="C")

    assert counts[0] == counts[1]


@pytest.mark.parametrize("query", ["?note__regex=(", "?rater__password__startswith=p", "?q=%00", "?level=x"])
def test_hostile_list_addresses_are_answered(admin: User, rated: Rating, query: str) -> None:
    response = sign_in(admin).get(url("rating", "changelist") + query, follow=True)

    assert response.status_code == 200
    assert Assignment.objects.exists()
