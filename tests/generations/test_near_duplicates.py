"""Outputs of a run that look nearly the same: found whatever their format or size, and marked once."""

from __future__ import annotations

import io
import itertools
import random
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.test import Client
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from generations.choices import Status
from generations.media.derivatives import hash_picture
from generations.media.perceptual import MAX_DISTANCE, Lookalikes
from generations.models import Generation, OutputImage, Run
from generations.services.near_duplicates import compare_outputs, hash_outputs
from generations.tasks import sweep
from mayagen.common.ids import uuid7
from tests.accounts.factories import UserFactory
from tests.generations.factories import (
    DatasetItemFactory,
    DatasetVersionFactory,
    GenerationFactory,
    OutputImageFactory,
    RunFactory,
    make_png,
)
from tests.prompts.factories import PromptVersionFactory

BITS = st.integers(-(2**63), 2**63 - 1)


def picture(seed: int, side_px: int = 512) -> Image.Image:
    """A picture of soft spots, different for each seed."""
    numbers = random.Random(seed)
    image = Image.new("RGB", (512, 512), (90, 110, 130))
    draw = ImageDraw.Draw(image)
    for _ in range(14):
        x, y, radius = (numbers.randrange(512) for _ in range(3))
        draw.ellipse(
            (x - radius / 3, y - radius / 3, x + radius / 3, y + radius / 3), fill=numbers.randrange(2**24)
        )
    return image.filter(ImageFilter.GaussianBlur(4)).resize((side_px, side_px))


def n_bits(one: int, other: int) -> int:
    return ((one ^ other) % 2**64).bit_count()


def hashed_output(run: Run | None, perceptual_hash: int | None) -> OutputImage:
    image: OutputImage = OutputImageFactory(
        generation=GenerationFactory(
            run=run, completed=True, outputs=None, source="engine" if run else "external"
        )
    )
    OutputImage.objects.filter(pk=image.pk).update(perceptual_hash=perceptual_hash)
    return image


def marks(*images: OutputImage) -> list[tuple[bool | None, Any]]:
    found = OutputImage.objects.in_bulk([image.pk for image in images])
    return [(found[image.pk].is_near_duplicate, found[image.pk].near_duplicate_of_id) for image in images]


@pytest.mark.parametrize("seed", range(5))
def test_one_picture_saved_anew_made_smaller_or_blurred_looks_nearly_the_same(seed: int) -> None:
    image = picture(seed)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=60)
    variants = [Image.open(content), image.resize((192, 192)), image.filter(ImageFilter.GaussianBlur(2))]

    distances = [n_bits(hash_picture(image), hash_picture(variant.convert("RGB"))) for variant in variants]

    assert max(distances) <= MAX_DISTANCE


def test_different_pictures_differ_by_far_more() -> None:
    hashes = [hash_picture(picture(seed)) for seed in range(12)]

    assert min(n_bits(one, other) for one, other in itertools.combinations(hashes, 2)) > 2 * MAX_DISTANCE


def test_what_lies_under_transparent_pixels_does_not_count() -> None:
    clear = [Image.new("RGBA", (64, 64), (0, 0, 0, 0)), picture(1).convert("RGBA").resize((64, 64))]
    clear[1].putalpha(0)

    assert hash_picture(clear[0]) == hash_picture(clear[1])


@given(BITS, st.sets(st.integers(0, 63), max_size=MAX_DISTANCE))
def test_whatever_differs_in_few_bits_is_found(perceptual_hash: int, places: set[int]) -> None:
    known, output_id = Lookalikes(), uuid7()
    known.add(output_id, perceptual_hash)
    other = perceptual_hash
    for place in places:
        other ^= 1 << place
    other = (other + 2**63) % 2**64 - 2**63

    assert known.find(other) == output_id


@given(BITS, st.sets(st.integers(0, 63), min_size=MAX_DISTANCE + 1))
def test_whatever_differs_in_more_is_not(perceptual_hash: int, places: set[int]) -> None:
    known = Lookalikes()
    known.add(uuid7(), perceptual_hash)
    other = perceptual_hash
    for place in places:
        other ^= 1 << place

    assert known.find((other + 2**63) % 2**64 - 2**63) is None


@pytest.mark.django_db
def test_all_but_one_of_those_alike_in_a_run_are_marked_and_point_to_it() -> None:
    run = RunFactory()
    first, second, third = (hashed_output(run, bits) for bits in (-1, -1, -8))
    different = hashed_output(run, 0)

    assert compare_outputs() == 4

    assert marks(first, second, third, different) == [
        (False, None),
        (True, first.pk),
        (True, first.pk),
        (False, None),
    ]


@pytest.mark.django_db
def test_outputs_that_come_later_are_compared_with_those_that_were_there() -> None:
    run = RunFactory()
    first = hashed_output(run, 5)
    compare_outputs()
    second = hashed_output(run, 4)

    assert compare_outputs() == 1

    assert marks(first, second) == [(False, None), (True, first.pk)]
    assert compare_outputs() == 0


@pytest.mark.django_db
def test_the_sweep_compares_what_is_there_while_the_run_goes_on() -> None:
    run = RunFactory()
    GenerationFactory(run=run)
    GenerationFactory(
        run=run, status=Status.PROCESSING, lease_expires_at=timezone.now() + timedelta(minutes=1)
    )
    first, second = (hashed_output(run, 5) for _ in range(2))

    sweep()

    assert marks(first, second) == [(False, None), (True, first.pk)]


@pytest.mark.django_db
def test_outputs_of_other_runs_and_of_none_are_not_compared() -> None:
    images = [hashed_output(run, 7) for run in (RunFactory(), RunFactory(), None, None)]

    compare_outputs()

    assert marks(*images) == [(False, None)] * 4


@pytest.mark.django_db
def test_outputs_without_copies_wait() -> None:
    image = hashed_output(RunFactory(), None)
    OutputImage.objects.filter(pk=image.pk).update(blind="")

    assert (hash_outputs(), compare_outputs()) == (0, 0)

    assert marks(image) == [(None, None)]


@pytest.mark.django_db
def test_outputs_from_before_there_were_fingerprints_get_theirs() -> None:
    run = RunFactory()
    images = [OutputImageFactory(generation__run=run) for _ in range(2)]
    damaged = OutputImageFactory(generation__run=run, content=make_png(3))
    default_storage.delete(damaged.thumbnail.name)

    assert (hash_outputs(), compare_outputs()) == (2, 2)

    assert marks(*images, damaged) == [(False, None), (True, images[0].pk), (False, None)]
    assert hash_outputs() == 0


@pytest.mark.django_db
def test_the_run_s_page_marks_counts_and_finds_them(client: Client) -> None:
    generations = _run_with_lookalikes()
    client.force_login(UserFactory(role="admin"))
    address = f"/admin/generations/run/{generations[0].run_id}/change/"

    page = client.get(address).content.decode()
    found = client.get(address, {"similar": "1"}).content.decode()

    assert page.count("Image 1 is nearly the same as another of this run") == 1
    assert "cases with such images (1)" in page
    assert generations[1].case_key in found
    assert f'id="shot-{generations[0].pk}"' not in found
    assert f'id="shot-{generations[1].pk}"' in found


@pytest.mark.django_db
def test_the_generation_s_page_leads_to_the_other_one(client: Client) -> None:
    first, second = _run_with_lookalikes()
    client.force_login(UserFactory(role="admin"))

    page = client.get(f"/admin/generations/generation/{second.pk}/change/").content.decode()

    assert "Nearly the same as another image of this run" in page
    assert f"/admin/generations/generation/{first.pk}/change/" in page


@pytest.mark.django_db
def test_the_api_tells_and_filters(client: Client) -> None:
    first, second = _run_with_lookalikes()
    client.force_login(UserFactory(role="admin"))

    marked = client.get("/api/v1/generations/", {"has_near_duplicate": "true"}).json()["results"]
    plain = client.get("/api/v1/generations/", {"has_near_duplicate": "false"}).json()["results"]

    assert [row["id"] for row in marked] == [str(second.pk)]
    assert [row["id"] for row in plain] == [str(first.pk)]
    output = marked[0]["outputs"][0]
    assert (output["is_near_duplicate"], output["perceptual_hash"]) == (True, "ffffffffffffffff")
    assert output["near_duplicate_of"] == plain[0]["outputs"][0]["id"]


def _run_with_lookalikes() -> list[Generation]:
    version, dataset_version = PromptVersionFactory(), DatasetVersionFactory()
    run = RunFactory(dataset_version=dataset_version, prompt_versions=[version])
    generations: list[Generation] = []
    for key in ("first-case", "second-case"):
        item = DatasetItemFactory(dataset_version=dataset_version, key=key)
        generation = GenerationFactory(
            run=run, prompt_version=version, dataset_item=item, case_key=key, completed=True, outputs=None
        )
        image = OutputImageFactory(generation=generation)
        OutputImage.objects.filter(pk=image.pk).update(perceptual_hash=-1)
        generations.append(generation)
    compare_outputs()
    return generations
