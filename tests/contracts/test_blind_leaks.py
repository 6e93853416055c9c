"""What an evaluator may not learn about an item of a blind queue: a walk along the list of leaks.

Two prompt versions make an output of the same case. Whatever the evaluator is given of the one must equal
what they are given of the other, but for random ids; and no other door may tell them apart.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image
from rest_framework.test import APIClient

from accounts.models import User
from evaluations.models import Assignment, ReviewQueue
from generations.models import Generation
from generations.services.consensus import set_consensus
from tests.accounts.factories import UserFactory
from tests.accounts.signing_in import sign_in
from tests.evaluations.factories import QueueItemFactory, ReviewQueueFactory, rate, take
from tests.generations.factories import (
    DatasetItemFactory,
    GenerationFactory,
    InputImageFactory,
    OutputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import ImageModelFactory, PromptFactory, PromptVersionFactory

pytestmark = pytest.mark.django_db
ApiAs = Callable[[User | None], APIClient]
UUID_TEXT = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
TIMES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
CANARY = "zanzibar"


@dataclass(frozen=True)
class Pair:
    """A queue with an output of either version, and an evaluator who holds both."""

    queue: ReviewQueue
    generations: tuple[Generation, Generation]
    assignments: tuple[Assignment, Assignment]
    evaluator: User


def make_generation(number: int, **fields: Any) -> Generation:
    """Make a generation that differs from the other in everything that a blind queue hides."""
    model = ImageModelFactory(name=f"{CANARY} model {number}", slug=f"{CANARY}-{number}")
    version = PromptVersionFactory(
        prompt=PromptFactory(name=f"{CANARY} prompt {number}"),
        image_model=model,
        user_prompt=f"{CANARY} {number} {{subject}}",
        change_note=f"{CANARY} note {number}",
    )
    generation: Generation = GenerationFactory(
        completed=True,
        outputs=None,
        prompt_version=version,
        run=RunFactory(name=f"{CANARY} run {number}"),
        rendered_prompt=f"{CANARY} rendered {number}",
        negative_prompt=f"{CANARY} negative {number}",
        system_prompt=f"{CANARY} system {number}",
        parameters={"style": f"{CANARY}{number}"},
        warning=f"{CANARY} warning {number}",
        seed=1000 + number,
        duration_ms=1000 * number,
        cost_usd=number,
        variables={"subject": "a lighthouse", f"{CANARY}_{number}": f"{CANARY} {number}"},
        **fields,
    )
    width, height = ((640, 360), (300, 500))[number % 2]
    content = with_metadata(make_png(number, width=width, height=height), f"{CANARY} {number}")
    OutputImageFactory(generation=generation, content=content)
    InputImageFactory(generation=generation, content=make_png(5))
    return generation


def with_metadata(content: bytes, text: str) -> bytes:
    """Write the text where generators write prompts: PNG text chunks and EXIF."""
    from PIL.PngImagePlugin import PngInfo

    image = Image.open(io.BytesIO(content))
    chunks, exif = PngInfo(), Image.Exif()
    chunks.add_text("parameters", text)
    chunks.add_itxt("workflow", text)
    exif[0x010E] = text
    written = io.BytesIO()
    image.save(written, "PNG", pnginfo=chunks, exif=exif, dpi=(72, 72))
    return written.getvalue()


@pytest.fixture
def pair(evaluator: User) -> Pair:
    item = DatasetItemFactory(brief="A lighthouse at night.")
    first, second = (make_generation(n, dataset_item=item, brief=item.brief) for n in (1, 2))
    queue = ReviewQueueFactory()
    for generation in (first, second):
        QueueItemFactory(queue=queue, output_image=generation.outputs.get())
    items = [take(queue, evaluator, 2)[0], *take(queue, evaluator, 2)]
    ids = {each.public_id for each in items}
    own = {each.output_image.generation_id: each for each in Assignment.objects.filter(public_id__in=ids)}
    return Pair(queue, (first, second), (own[first.pk], own[second.pk]), evaluator)


def blank(text: str) -> str:
    """Return the text without random ids and times of leases."""
    return TIMES.sub("TIME", UUID_TEXT.sub("ID", text))


def test_the_api_gives_the_same_of_both_versions(pair: Pair, api_as: ApiAs) -> None:
    client = api_as(pair.evaluator)

    body = client.post(f"/api/v1/review-queues/{pair.queue.pk}/next/", {"count": 2}, format="json").json()

    first, second = (blank(str(each)) for each in body["assignments"])
    assert first == second
    for verb, sent in (("submit", {"level": 3}), ("clear", {}), ("skip", {}), ("reopen", {})):
        texts = [
            client.post(f"/api/v1/assignments/{each.public_id}/{verb}/", sent, format="json").content.decode()
            for each in pair.assignments
        ]
        assert blank(texts[0]) == blank(texts[1]), verb
        assert CANARY not in texts[0]


def test_what_the_page_shows_of_a_case_without_a_brief_is_the_cases_own(evaluator: User) -> None:
    item = DatasetItemFactory(brief="", variables={"subject": "a lighthouse"})
    queue = ReviewQueueFactory()
    for number in (1, 2):
        generation = make_generation(number, dataset_item=item, brief="")
        QueueItemFactory(queue=queue, output_image=generation.outputs.get())

    given = [*take(queue, evaluator, 2), *take(queue, evaluator, 2)]

    assert {each.brief for each in given} == {"a lighthouse"}


def test_ids_are_random_and_none_is_a_rows_own(pair: Pair, api_as: ApiAs) -> None:
    body = api_as(pair.evaluator).post(
        f"/api/v1/review-queues/{pair.queue.pk}/next/", {"count": 2}, format="json"
    )
    given = set(UUID_TEXT.findall(body.content.decode()))

    hidden = {str(each.pk) for each in pair.assignments}
    for generation in pair.generations:
        hidden |= {str(generation.pk), str(generation.run_id), str(generation.prompt_version_id)}
        hidden |= {str(image.pk) for image in (*generation.outputs.all(), *generation.inputs.all())}
    assert not given & hidden
    assert all(UUID(each.public_id.hex).version == 4 for each in pair.assignments)


def test_pages_are_the_same_whichever_item_is_next(pair: Pair) -> None:
    client = sign_in(pair.evaluator)
    address = reverse("review:queue", args=[pair.queue.pk])

    texts = [client.get(f"{address}?item={each.public_id}").content.decode() for each in pair.assignments]

    token = re.compile(r'data-csrf-token="[^"]+"|nonce="[^"]+"|value="[A-Za-z0-9]{64}"')
    assert token.sub("", blank(texts[0])) == token.sub("", blank(texts[1]))
    assert CANARY not in texts[0]


def test_the_own_history_tells_no_more(pair: Pair, api_as: ApiAs) -> None:
    for assignment in pair.assignments:
        api_as(pair.evaluator).post(
            f"/api/v1/assignments/{assignment.public_id}/submit/", {"level": 3}, format="json"
        )

    page = sign_in(pair.evaluator).get(reverse("review:history")).content.decode()
    api = api_as(pair.evaluator).get(f"/api/v1/review-queues/{pair.queue.pk}/history/").content.decode()
    ratings = api_as(pair.evaluator).get("/api/v1/ratings/").json()["results"]

    hidden = {str(each.pk) for each in pair.assignments}
    for generation in pair.generations:
        hidden |= {str(generation.pk), str(generation.prompt_version_id), str(generation.outputs.get().pk)}
    for text in (page, api, str(ratings)):
        assert CANARY not in text
        assert not set(UUID_TEXT.findall(text)) & hidden
    own = [{**row, "id": "", "assignment": "", "created_at": ""} for row in ratings]
    assert own[0] == own[1]


@pytest.mark.parametrize("slot", ["output", "input-1"])
def test_images_have_one_format_one_size_and_nothing_else(pair: Pair, slot: str) -> None:
    client = sign_in(pair.evaluator)

    answers = [client.get(reverse("review:image", args=[each.public_id, slot])) for each in pair.assignments]

    headers = [
        {name: value for name, value in answer.items() if name not in {"X-Request-ID", "X-Request-Id"}}
        for answer in answers
    ]
    for each in headers:
        assert not {"Last-Modified", "ETag", "Content-Disposition", "Age"} & set(each)
        each.pop("Content-Length", None)
    assert headers[0] == headers[1]
    assert headers[0]["Content-Type"] == "image/jpeg"
    assert "private" in headers[0]["Cache-Control"]
    images = [Image.open(io.BytesIO(answer.content)) for answer in answers]
    for answer, image in zip(answers, images, strict=True):
        assert CANARY.encode() not in answer.content
        assert (image.format, image.size, image.mode) == ("JPEG", (1024, 1024), "RGB")
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert images[0].quantization == images[1].quantization  # type: ignore[attr-defined]
    assert images[0].info == images[1].info


def test_images_are_for_their_own_evaluator_only(pair: Pair, admin: User, viewer: User) -> None:
    address = reverse("review:image", args=[pair.assignments[0].public_id, "output"])

    for person in (admin, viewer, UserFactory(role="evaluator")):
        assert sign_in(person).get(address).status_code == 404
    assert Client().get(address).status_code == 302


@pytest.mark.parametrize(
    "slot", ["input-0", "input-2", "input-01x", "input-", "original", "blind", "input-999"]
)
def test_other_slots_are_nothing(pair: Pair, slot: str) -> None:
    address = reverse("review:image", args=[pair.assignments[0].public_id, slot])

    assert sign_in(pair.evaluator).get(address).status_code == 404


def list_doors(pair: Pair) -> list[str]:
    """Return the addresses behind which anybody else learns what the queue hides."""
    doors = []
    for generation in pair.generations:
        version, output = generation.prompt_version, generation.outputs.get()
        doors += [
            f"/api/v1/generations/{generation.pk}/",
            f"/api/v1/generations/{generation.pk}/rating/",
            f"/api/v1/generations/{generation.pk}/outputs/",
            f"/api/v1/generations/{generation.pk}/inputs/",
            f"/api/v1/runs/{generation.run_id}/",
            f"/api/v1/prompts/{version.prompt_id}/",
            f"/api/v1/prompt-versions/{version.pk}/",
            f"/api/v1/image-models/{version.image_model_id}/",
            *(f"/media/images/{output.pk}/{size}" for size in ("original", "thumbnail", "small")),
        ]
    lists = ("generations", "runs", "prompts", "prompt-versions", "image-models", "datasets", "labels")
    doors += [f"/api/v1/{name}/" for name in lists]
    return [*doors, "/api/v1/analytics/ratings/", "/api/v1/analytics/prompt-performance/"]


def test_every_other_door_is_closed(pair: Pair, api_as: ApiAs) -> None:
    client = api_as(pair.evaluator)

    statuses = {door: client.get(door).status_code for door in list_doors(pair)}

    assert set(statuses.values()) <= {403, 404}, statuses
    for door in list_doors(pair):
        answer = client.get(door)
        assert CANARY.encode() not in answer.content


def test_closed_doors_look_the_same_for_what_is_there_and_what_is_not(pair: Pair, api_as: ApiAs) -> None:
    client = api_as(pair.evaluator)
    there = f"/api/v1/generations/{pair.generations[0].pk}/"
    nowhere = "/api/v1/generations/0190a8a2-7f1e-7000-8000-000000000000/"

    for method in (client.get, client.delete, client.options):
        known, unknown = method(there), method(nowhere)
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content)


@pytest.mark.parametrize(
    "app_page", ["generations_generation", "prompts_promptversion", "evaluations_rating"]
)
def test_the_admin_is_closed(pair: Pair, app_page: str) -> None:
    answer = sign_in(pair.evaluator).get(reverse(f"admin:{app_page}_changelist"))

    assert answer.status_code in {302, 403}


@pytest.mark.parametrize("name", ["prompt_version", "output", "generation", "blind", "rater", "run"])
def test_own_ratings_cannot_be_asked_by_what_is_hidden(pair: Pair, api_as: ApiAs, name: str) -> None:
    value = pair.generations[0].prompt_version_id

    answer = api_as(pair.evaluator).get(f"/api/v1/ratings/?{name}={value}")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")


def test_the_queue_does_not_tell_its_filter(pair: Pair, api_as: ApiAs) -> None:
    pair.queue.prompts.set([pair.generations[0].prompt_version.prompt])
    client = api_as(pair.evaluator)

    for address in ("/api/v1/review-queues/", f"/api/v1/review-queues/{pair.queue.pk}/"):
        text = client.get(address).content.decode()
        assert CANARY not in text
        assert str(pair.generations[0].prompt_version.prompt_id) not in text


def test_the_opinion_of_others_is_not_told(pair: Pair, api_as: ApiAs) -> None:
    output = pair.generations[0].outputs.get()
    ReviewQueue.objects.filter(pk=pair.queue.pk).update(overlap=2)
    pair.queue.items.update(n_open=1)
    rate(pair.queue, UserFactory(role="evaluator"), 1, note=CANARY)
    set_consensus(output_image_id=output.pk, output_rating=None, generation_rating=None)

    body = api_as(pair.evaluator).post(
        f"/api/v1/review-queues/{pair.queue.pk}/next/", {"count": 2}, format="json"
    )

    first, second = (blank(str(each)) for each in body.json()["assignments"])
    assert first == second
    assert CANARY not in body.content.decode()


def test_errors_tell_nothing(pair: Pair, api_as: ApiAs) -> None:
    client = api_as(pair.evaluator)

    for assignment in pair.assignments:
        answer = client.post(
            f"/api/v1/assignments/{assignment.public_id}/submit/", {"level": 99}, format="json"
        )
        assert answer.status_code == 422
        assert CANARY not in answer.content.decode()
        assert not UUID_TEXT.search(answer.content.decode())
