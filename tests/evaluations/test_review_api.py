"""The calls that the review page makes, and what each role may do with queues and ratings over the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from evaluations.models import Rating, ReviewQueue
from evaluations.services import rating as rating_services
from generations.models import Generation
from tests.accounts.factories import UserFactory
from tests.evaluations.factories import (
    QueueItemFactory,
    ReviewQueueFactory,
    get_assignment,
    get_overall,
    lapse,
    make_queue,
    rate,
    take,
)
from tests.generations.factories import GenerationFactory, InputImageFactory, OutputImageFactory

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]
ROOT = "/api/v1"


def queue_url(queue: ReviewQueue, verb: str = "") -> str:
    return f"{ROOT}/review-queues/{queue.pk}/{verb}"


def post(client: APIClient, address: str, body: Any = None) -> Any:
    return client.post(address, {} if body is None else body, format="json")


def code_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


@pytest.fixture
def page(evaluator: User, api_as: ApiAs) -> APIClient:
    return api_as(evaluator)


def take_one(page: APIClient, queue: ReviewQueue) -> dict[str, Any]:
    (assignment,) = post(page, queue_url(queue, "next/")).json()["assignments"]
    found: dict[str, Any] = assignment
    return found


def test_next_gives_what_the_page_shows(page: APIClient) -> None:
    queue = make_queue(10)
    generation = queue.items.order_by("shuffle_key").first().output_image.generation  # type: ignore[union-attr]
    InputImageFactory(generation=generation, role="reference")
    InputImageFactory(generation=generation, role="mask")

    response = post(page, queue_url(queue, "next/"), {"count": 2})

    assert response.status_code == 200
    first, second = response.json()["assignments"]
    assert first["state"] == "leased"
    assert first["brief"] == generation.brief
    assert first["rating"] is None
    assert first["image"] == {"url": f"/review/images/{first['id']}/output", "width": 1024, "height": 1024}
    assert [(each["url"][-7:], each["role"]) for each in first["inputs"]] == [
        ("input-1", "reference"),
        ("input-2", "mask"),
    ]
    assert [level["level"] for level in first["criterion"]["levels"]] == [1, 2, 3, 4, 5]
    assert second["id"] != first["id"]


def test_without_a_brief_the_cases_variables_stand_for_it(page: APIClient) -> None:
    queue = make_queue(0)
    generation = GenerationFactory(completed=True, brief="", variables={"subject": "a cat", "place": "a hat"})
    QueueItemFactory(queue=queue, output_image=generation.outputs.get())

    assert take_one(page, queue)["brief"] == "place: a hat; subject: a cat"


def test_submit_clear_skip_and_reopen_walk_through_the_states(page: APIClient) -> None:
    queue = make_queue(1)
    address = f"{ROOT}/assignments/{take_one(page, queue)['id']}/"
    body = {"level": 4, "note": "Good.", "flagged": True, "shown_at": timezone.now(), "decided_ms": 900}

    rated = post(page, address + "submit/", body).json()
    cleared = post(page, address + "clear/").json()
    skipped = post(page, address + "skip/", {"note": "", "flagged": False}).json()
    reopened = post(page, address + "reopen/").json()

    assert rated["state"] == "submitted"
    assert rated["lease_expires_at"] is None
    assert rated["rating"] == {"level": 4, "note": "Good.", "flagged": True, "surplus": False}
    assert [each["state"] for each in (cleared, skipped, reopened)] == ["leased", "skipped", "leased"]
    assert cleared["rating"] is None


def test_conflicts_have_codes_of_their_own(page: APIClient, evaluator: User) -> None:
    other = UserFactory(role="evaluator")
    rated_queue, lost_queue = make_queue(1), make_queue(1)
    rated = take_one(page, rated_queue)
    post(page, f"{ROOT}/assignments/{rated['id']}/submit/", {"level": 1})
    lost = take(lost_queue, evaluator)[0]
    lapse(get_assignment(lost))
    take(lost_queue, other)

    assert code_of(post(page, f"{ROOT}/assignments/{rated['id']}/skip/")) == (409, "already_rated")
    assert code_of(post(page, f"{ROOT}/assignments/{lost.public_id}/skip/")) == (409, "lease_expired")
    assert code_of(post(page, f"{ROOT}/assignments/{lost.public_id}/reopen/")) == (409, "place_taken")
    assert code_of(post(page, f"{ROOT}/assignments/{lost.public_id}/clear/")) == (409, "not_rated")
    late = post(page, f"{ROOT}/assignments/{lost.public_id}/submit/", {"level": 1})
    assert late.json()["rating"]["surplus"] is True


def test_heartbeat_and_return(page: APIClient) -> None:
    queue = make_queue(20)
    ids = [each["id"] for each in post(page, queue_url(queue, "next/"), {"count": 3}).json()["assignments"]]
    unknown = str(uuid4())

    beat = post(page, queue_url(queue, "heartbeat/"), {"assignments": [*ids, unknown], "shown": ids[0]})
    back = post(page, queue_url(queue, "return/"), {"assignments": ids[1:]})
    after = post(page, queue_url(queue, "heartbeat/"), {"assignments": ids, "shown": None})

    assert [each["id"] for each in beat.json()["assignments"]] == ids
    assert beat.json()["lost"] == [unknown]
    assert (back.status_code, back.content) == (204, b"")
    assert after.json()["lost"] == ids[1:]


def test_progress_counts_what_is_left_for_me(page: APIClient, evaluator: User) -> None:
    queue = make_queue(6, overlap=2)
    rate(queue, evaluator)
    rate(queue, UserFactory(role="evaluator"))
    take(queue, evaluator)

    assert page.get(queue_url(queue, "progress/")).json() == {
        "due": 5,
        "due_is_capped": False,
        "rated_by_me": 1,
        "rated_by_me_today": 1,
        "pace_per_hour": 1,
    }


def test_history_pages_back_and_forth_newest_first(page: APIClient, evaluator: User) -> None:
    queue = make_queue(45)
    ids = [str(rate(queue, evaluator).public_id) for _ in range(45)][::-1]

    first = page.get(queue_url(queue, "history/")).json()
    second = page.get(first["next"]).json()
    third = page.get(second["next"]).json()

    pages = [[each["id"] for each in body["results"]] for body in (first, second, third)]
    assert [each for page_ids in pages for each in page_ids] == ids
    assert (first["previous"], third["next"]) == (None, None)
    assert page.get(third["previous"]).json()["results"] == second["results"]
    back = page.get(second["previous"]).json()
    assert (back["results"], back["previous"]) == (first["results"], None)


@pytest.mark.parametrize(
    "cursor", ["abc", "older-1", "%00", f"older-{uuid4()}", "older-" + "1" * 32, "x" * 3000]
)
def test_a_cursor_of_another_list_is_refused(page: APIClient, cursor: str) -> None:
    response = page.get(queue_url(make_queue(1), "history/") + f"?cursor={cursor}")

    assert response.status_code == 400


BAD_BODIES: list[tuple[Any, int]] = [
    ({"level": "4"}, 200),
    ({"level": "\u0661"}, 400),
    ({"level": "1_0"}, 400),
    ({"level": True}, 400),
    ({"level": 4.5}, 400),
    ({"level": None}, 400),
    ({}, 400),
    ([], 400),
    ({"level": 6}, 422),
    ({"level": 0}, 422),
    ({"level": 10**18}, 422),
    ({"level": 10**25}, 400),
    ({"level": 4, "note": "x" * 5_001}, 422),
    ({"level": 4, "note": 5 * ["x"]}, 400),
    ({"level": 4, "decided_ms": -1}, 400),
    ({"level": 4, "decided_ms": 2**40}, 200),
    ({"level": 4, "shown_at": "yesterday"}, 400),
    ({"level": 4, "unknown": 1}, 400),
]


@pytest.mark.parametrize(("body", "status"), BAD_BODIES)
def test_bodies_of_submit(page: APIClient, body: Any, status: int) -> None:
    assignment = take_one(page, make_queue(1))

    response = post(page, f"{ROOT}/assignments/{assignment['id']}/submit/", body)

    assert response.status_code == status, response.content
    assert Rating.objects.count() == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    "text",
    ['{"level": 4, "note": "\\u0000"}', '{"level": 4, "note": "\\ud800"}', '{"level": 1e400}', "{", ""],
)
def test_bodies_that_are_no_proper_json(page: APIClient, text: str) -> None:
    address = f"{ROOT}/assignments/{take_one(page, make_queue(1))['id']}/submit/"

    response = page.post(address, text, content_type="application/json")

    assert response.status_code == 400
    assert Rating.objects.count() == 0


@pytest.mark.parametrize("body", [{"count": 0}, {"count": 9}, {"count": "x"}, {"count": None}, {"more": 1}])
def test_bodies_of_next(page: APIClient, body: Any) -> None:
    assert post(page, queue_url(make_queue(1), "next/"), body).status_code == 400


@pytest.mark.parametrize("ids", ["x", ["x"], [5], [str(uuid4())] * 51, None])
def test_bodies_of_heartbeat_and_return(page: APIClient, ids: Any) -> None:
    queue = make_queue(1)

    for verb in ("heartbeat/", "return/"):
        assert post(page, queue_url(queue, verb), {"assignments": ids}).status_code == 400


def test_strangers_are_refused_before_anything(api_as: ApiAs) -> None:
    queue = make_queue(1)

    for verb in ("next/", "heartbeat/", "return/"):
        assert post(api_as(None), queue_url(queue, verb)).status_code == 401
    for verb in ("", "progress/", "history/"):
        assert api_as(None).get(queue_url(queue, verb)).status_code == 401
    assert api_as(None).get(f"{ROOT}/ratings/").status_code == 401
    assert post(api_as(None), f"{ROOT}/assignments/{uuid4()}/submit/").status_code == 401


def test_the_matrix_of_queues(api_as: ApiAs, admin: User, evaluator: User, viewer: User) -> None:
    member_queue = ReviewQueueFactory(evaluators=[evaluator])
    outsider = UserFactory(role="evaluator")
    body = {"name": "New", "criterion": str(get_overall().pk)}

    for person, read, write in (
        (admin, 200, {"create": 201, "change": 200, "delete": 204}),
        (viewer, 200, {"create": 403, "change": 403, "delete": 403}),
        (evaluator, 200, {"create": 403, "change": 403, "delete": 403}),
        (outsider, 404, {"create": 403, "change": 404, "delete": 404}),
    ):
        client = api_as(person)
        queue = ReviewQueueFactory(evaluators=[evaluator])
        assert client.get(queue_url(member_queue)).status_code == read
        assert post(client, f"{ROOT}/review-queues/", body).status_code == write["create"]
        changed = client.patch(queue_url(queue), {"overlap": 2}, format="json")
        assert changed.status_code == write["change"], changed.content
        assert client.delete(queue_url(queue)).status_code == write["delete"]
    assert code_of(post(api_as(viewer), queue_url(member_queue, "next/"))) == (403, "permission_denied")
    assert code_of(post(api_as(admin), queue_url(member_queue, "next/"))) == (403, "not_a_member")
    assert code_of(post(api_as(outsider), queue_url(member_queue, "next/"))) == (404, "not_found")


def test_a_queue_is_restored(api_as: ApiAs, admin: User) -> None:
    queue, client = ReviewQueueFactory(), api_as(admin)
    client.delete(queue_url(queue))

    listed = {row["id"] for row in client.get(f"{ROOT}/review-queues/").json()["results"]}
    restored = post(client, queue_url(queue, "restore/"))

    assert str(queue.pk) not in listed
    assert restored.json()["deleted_at"] is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"overlap": 0}, "invalid"),
        ({"criterion": 5}, "invalid"),
        ({"evaluators": ["viewer"]}, "evaluator_invalid"),
        ({"surprise": 1}, "invalid"),
    ],
)
def test_bad_queues_are_refused(
    api_as: ApiAs, admin: User, viewer: User, change: dict[str, Any], code: str
) -> None:
    if change.get("evaluators"):
        change = {"evaluators": [str(viewer.pk)]}
    body = {"name": "New", "criterion": str(get_overall().pk), **change}

    response = post(api_as(admin), f"{ROOT}/review-queues/", body)

    assert response.status_code in {400, 422}
    assert response.json()["code"] == code
    assert ReviewQueue.objects.filter(name="New").count() == 0


def test_the_matrix_of_assignments(api_as: ApiAs, admin: User, viewer: User, page: APIClient) -> None:
    assignment = take_one(page, make_queue(1))
    outsider = UserFactory(role="evaluator")

    for person in (admin, viewer, outsider):
        for verb in ("submit", "clear", "skip", "reopen"):
            body = {"level": 3} if verb == "submit" else {}
            response = post(api_as(person), f"{ROOT}/assignments/{assignment['id']}/{verb}/", body)
            assert code_of(response) == (404, "not_found")


@pytest.mark.parametrize("body", [b"", b"{", b'{"surprise": 1}', b"[]"])
def test_what_is_wrong_with_a_body_is_told_to_nobody_whom_it_does_not_concern(
    api_as: ApiAs, admin: User, viewer: User, page: APIClient, body: bytes
) -> None:
    queue = make_queue(1)
    assignment = take_one(page, queue)
    outsider = UserFactory(role="evaluator")
    verbs = [f"{ROOT}/assignments/{assignment['id']}/{verb}/" for verb in ("submit", "skip")]
    calls = [queue_url(queue, "heartbeat/"), queue_url(queue, "return/")]

    def send(client: APIClient, address: str) -> int:
        return int(client.post(address, body, content_type="application/json").status_code)

    for person in (admin, viewer, outsider):
        assert {send(api_as(person), address) for address in verbs} == {404}
    assert [send(api_as(viewer), address) for address in calls] == [403, 403]
    queue.evaluators.add(UserFactory(role="evaluator"))
    assert [send(api_as(outsider), address) for address in calls] == [404, 404]
    assert send(page, verbs[0]) == 400


def test_ratings_are_listed_by_role(api_as: ApiAs, admin: User, viewer: User, evaluator: User) -> None:
    queue = make_queue(2)
    rate(queue, evaluator, 4)
    rate(queue, UserFactory(role="evaluator"), 2)

    by_admin = api_as(admin).get(f"{ROOT}/ratings/").json()["results"]
    by_viewer = api_as(viewer).get(f"{ROOT}/ratings/").json()["results"]
    own = api_as(evaluator).get(f"{ROOT}/ratings/").json()["results"]

    assert {row["rater"] for row in by_admin} == {str(r.rater_id) for r in Rating.objects.all()}
    assert all(row["rater"].startswith("rater-") and row["rater_name"] is None for row in by_viewer)
    assert len({row["rater"] for row in by_viewer}) == 2
    assert [row["level"] for row in own] == [4]
    assert "prompt_version" not in own[0]


def test_ratings_are_filtered(api_as: ApiAs, admin: User, evaluator: User) -> None:
    queue = make_queue(2)
    first, second = rate(queue, evaluator, 4), rate(queue, evaluator, 2)
    generation = second.output_image.generation
    rating_services.rate_generation(actor=admin, generation=generation, level=5)
    client = api_as(admin)

    def count(query: str) -> int:
        response = client.get(f"{ROOT}/ratings/?{query}")
        assert response.status_code == 200, response.content
        return len(response.json()["results"])

    assert count("") == 3
    assert count("level=4") == 1
    assert count(f"prompt_version={generation.prompt_version_id}") == 2
    assert count(f"output={first.output_image_id}") == 1
    assert count(f"rater={evaluator.pk}") == 2
    assert count("blind=false") == 1
    assert count(f"queue={queue.pk}") == 2
    assert count("created_after=2100-01-01") == 0
    rating_services.rate_generation(actor=admin, generation=generation, level=1)
    assert (count(""), count("include_history=true")) == (3, 4)


@pytest.mark.parametrize(
    "query",
    ["rater__password=x", "level=x", "blind=1", "ordering=note", "cursor=abc", "level=4&level=5", "note=%00"],
)
def test_other_filters_are_refused(api_as: ApiAs, admin: User, query: str) -> None:
    assert api_as(admin).get(f"{ROOT}/ratings/?{query}").status_code == 400


def test_viewers_cannot_ask_by_rater(api_as: ApiAs, viewer: User, evaluator: User) -> None:
    response = api_as(viewer).get(f"{ROOT}/ratings/?rater={evaluator.pk}")

    assert code_of(response) == (400, "unknown_parameter")


def rating_url(generation: Generation) -> str:
    return f"{ROOT}/generations/{generation.pk}/rating/"


def test_an_open_rating_is_given_revised_and_withdrawn(api_as: ApiAs, admin: User) -> None:
    generation = GenerationFactory(completed=True)
    client = api_as(admin)

    given = post(client, rating_url(generation), {"level": 4, "note": "Good."}).json()
    revised = post(client, rating_url(generation), {"level": 2}).json()
    withdrawn = client.delete(rating_url(generation), {}, format="json").json()

    assert given["rating"] == "4.00"
    assert given["mine"][0]["note"] == "Good."
    assert given["mine"][0]["is_blind"] is False
    assert (revised["rating"], len(revised["ratings"])) == ("2.00", 1)
    assert (withdrawn["rating"], withdrawn["ratings"]) == (None, [])
    assert Rating.objects.count() == 2


def test_an_input_can_be_rated(api_as: ApiAs, admin: User) -> None:
    image = InputImageFactory(generation=GenerationFactory(completed=True))

    body = post(api_as(admin), rating_url(image.generation), {"level": 5, "input": str(image.pk)}).json()

    assert body["inputs"] == [{"id": str(image.pk), "rating": "5.00"}]
    assert body["rating"] is None


def test_with_several_outputs_one_must_be_named(api_as: ApiAs, admin: User) -> None:
    generation = GenerationFactory(completed=True)
    second = OutputImageFactory(generation=generation)
    foreign = OutputImageFactory()
    client = api_as(admin)

    assert code_of(post(client, rating_url(generation), {"level": 4})) == (422, "output_ambiguous")
    assert code_of(post(client, rating_url(generation), {"level": 4, "output": str(foreign.pk)})) == (
        422,
        "nothing_to_rate",
    )
    named = post(client, rating_url(generation), {"level": 4, "output": str(second.pk)}).json()
    assert [output["rating"] for output in named["outputs"]] == [None, "4.00"]
    assert code_of(post(client, rating_url(generation), {"level": 7})) == (422, "level_outside_scale")


def test_only_admins_rate_outside_of_queues(api_as: ApiAs, viewer: User, evaluator: User) -> None:
    generation = GenerationFactory(completed=True)

    assert api_as(viewer).get(rating_url(generation)).status_code == 200
    assert post(api_as(viewer), rating_url(generation), {"level": 4}).status_code == 403
    assert api_as(evaluator).get(rating_url(generation)).status_code == 404
    assert post(api_as(evaluator), rating_url(generation), {"level": 4}).status_code == 404


def test_the_hot_calls_cost_few_statements(
    page: APIClient, django_assert_max_num_queries: Any, evaluator: User
) -> None:
    queue = make_queue(60)
    rate(queue, evaluator)

    with django_assert_max_num_queries(20 if is_sqlite() else 4) as one:
        assignment = take_one(page, queue)
    with django_assert_max_num_queries(12):
        post(page, f"{ROOT}/assignments/{assignment['id']}/submit/", {"level": 4})
    with django_assert_max_num_queries(25) as many:
        post(page, queue_url(queue, "next/"), {"count": 8})
    if not is_sqlite():
        assert len(one) == len(many)


def is_sqlite() -> bool:
    from django.db import connection

    return connection.vendor == "sqlite"


def test_lists_cost_the_same_for_one_row_and_for_five(
    api_as: ApiAs, admin: User, evaluator: User, django_assert_max_num_queries: Any
) -> None:
    queue = make_queue(12)
    addresses = [f"{ROOT}/review-queues/", f"{ROOT}/ratings/"]
    rate(queue, evaluator)

    def measure() -> list[int]:
        counts = []
        for client, address in (
            *((api_as(admin), each) for each in addresses),
            *((api_as(evaluator), each) for each in addresses),
            (api_as(evaluator), queue_url(queue, "history/")),
            (api_as(evaluator), queue_url(queue, "progress/")),
        ):
            with django_assert_max_num_queries(30) as captured:
                assert client.get(address).status_code == 200
            counts.append(len(captured))
        return counts

    before = measure()
    for _ in range(5):
        rate(queue, evaluator)
        ReviewQueueFactory(evaluators=[evaluator])

    assert measure() == before
