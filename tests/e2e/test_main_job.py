"""The whole main job as its three roles do it: versions, images, ratings, and the number that appears."""

from __future__ import annotations

import io
import math
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from PIL import Image, ImageDraw
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Desk
from tests.e2e.product import Product
from tests.e2e.review_page import ReviewPage

pytestmark = pytest.mark.e2e

PROMPT = "View of the mill"
FIRST_TEXT = "The mill in {season}."
SECOND_TEXT = "The mill in {season}, strong colours, keep the composition."
BRIEF = "The same mill in winter."
REPEATS = 3
LEVELS = {1: (2, 3, 2), 2: (4, 5, 4)}
# By hand from the tables, as far from the product's own reading as can be.
RATINGS = (
    "SELECT v.number, r.level FROM evaluations_rating r"
    " JOIN generations_outputimage o ON o.id = r.output_image_id"
    " JOIN generations_generation g ON g.id = o.generation_id"
    " JOIN prompts_promptversion v ON v.id = g.prompt_version_id"
    " JOIN prompts_prompt p ON p.id = v.prompt_id WHERE p.name = %s AND r.is_standing"
)
VERSION_OF_ASSIGNMENT = (
    "SELECT v.number FROM evaluations_assignment a"
    " JOIN generations_outputimage o ON o.id = a.output_image_id"
    " JOIN generations_generation g ON g.id = o.generation_id"
    " JOIN prompts_promptversion v ON v.id = g.prompt_version_id"
    " JOIN prompts_prompt p ON p.id = v.prompt_id WHERE p.name = %s AND a.public_id = %s"
)


@dataclass(frozen=True)
class Made:
    """Where the admin's work lies."""

    run: str
    generation: str


def draw_mill() -> bytes:
    """Return a small photograph of nothing in particular."""
    picture = Image.new("RGB", (640, 480), "#9cc4e8")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 330, 640, 480), fill="#5f8f3e")
    pen.rectangle((260, 200, 380, 360), fill="#b98a5a")
    file = io.BytesIO()
    picture.save(file, "JPEG")
    return file.getvalue()


def test_a_prompt_version_becomes_images_is_rated_and_the_number_appears(
    desk: Desk, product: Product
) -> None:
    made = make_versions_and_images(desk.sit_down("admin"))
    rate_everything(desk.sit_down("evaluator"), product, made)
    read_the_result(desk.sit_down("viewer"), product, made)
    read_the_same_over_the_api(product)


def make_versions_and_images(page: Page) -> Made:
    expect(page).to_have_url(re.compile(r"/admin/$"))
    page.goto("/admin/prompts/prompt/add/")
    page.get_by_label("Name").fill(PROMPT)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_label("User prompt").fill(FIRST_TEXT)
    page.locator("[name=image_model]").select_option(label="Embedded renderer, edits")
    page.get_by_label("Change note").fill("First wording")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text(f"Version 1 of “{PROMPT}” was saved.")).to_be_visible()

    page.get_by_label("User prompt").fill(SECOND_TEXT)
    page.get_by_label("Change note").fill("Strong colours")
    page.get_by_role("button", name="Save as a new version").click()
    expect(page.get_by_text(f"Version 2 of “{PROMPT}” was saved.")).to_be_visible()
    compare_the_versions(page)

    page.get_by_role("link", name="Launch a run of both").click()
    launch_run(page)
    run = page.url
    watch_the_images_arrive(page)
    page.locator(".mg-shot").first.click()
    expect(page.get_by_alt_text("Input image 1", exact=False)).to_be_visible()
    expect(page.get_by_alt_text("Output image 1")).to_be_visible()
    expect(page.locator(".mg-text").first).to_contain_text("The mill in winter")
    expect(page.get_by_role("heading", name="Attempts")).to_be_visible()
    return Made(run=run, generation=page.url)


def compare_the_versions(page: Page) -> None:
    page.get_by_role("link", name="Compare with v1").click()
    expect(page.locator(".mg-diff").first).to_be_visible()
    expect(page.locator("ins").filter(has_text="strong colours").first).to_be_visible()


def launch_run(page: Page) -> None:
    expect(page.locator("#versions input:checked")).to_have_count(2)
    page.get_by_label("season").fill("winter")
    page.get_by_text("Brief and input images").click()
    page.get_by_label("Brief").fill(BRIEF)
    mill = {"name": "mill.jpg", "mimeType": "image/jpeg", "buffer": draw_mill()}
    page.locator("#id_inputs").set_input_files(mill)  # type: ignore[arg-type]
    page.get_by_label("Repeats").fill(str(REPEATS))
    page.get_by_role("button", name="Launch").click()
    expect(page).to_have_url(re.compile(r"/admin/generations/run/[0-9a-f-]{36}/change/"))


def watch_the_images_arrive(page: Page) -> None:
    """Wait for the images, on a page that marks itself, so that a reload would show."""
    page.evaluate("window.wasHere = true")
    total = 2 * REPEATS
    expect(page.get_by_role("heading", name=f"{total} of {total} finished")).to_be_visible()
    expect(page.locator(".mg-shot img")).to_have_count(total)
    assert page.evaluate("window.wasHere"), "The page was loaded again."


def rate_everything(page: Page, product: Product, made: Made) -> None:
    """Rate all that is due by keyboard, ours by version, then look back at it."""
    expect(page).to_have_url(re.compile(r"/review/[0-9a-f-]{36}/$"))
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    for address in (made.run, made.generation, "/admin/", "/admin/analytics/"):
        answer = page.request.get(address)
        assert "/accounts/login/" in answer.url or answer.status in {403, 404}, address
    review = ReviewPage(page)
    wanted = {number: list(levels) for number, levels in LEVELS.items()}
    last = rate_until_ours_are_done(review, product, wanted)

    review.expect_all_sent()
    page.get_by_role("link", name="History").click()
    rows = page.locator(".history li").filter(has_text=BRIEF)
    expect(rows.first).to_be_visible()
    page.goto(f"{page.url.split('/review/')[0]}/review/history/")
    page.locator(f'.history a[href*="{last}"]').click()
    ReviewPage(page).expect_item(last)
    expect(page.locator('[data-ref="placeText"]')).to_contain_text("Rated")


def rate_until_ours_are_done(review: ReviewPage, product: Product, wanted: dict[int, list[int]]) -> str:
    """Rate ours as wanted and all others 3; return the last of ours."""
    last = ""
    # More than all tests together make; the end comes from the rows.
    for _ in range(300):
        seen = review.see()
        ours = product.sql(VERSION_OF_ASSIGNMENT, PROMPT, UUID(seen))
        if ours:
            last = review.rate(wanted[ours[0][0]].pop(0))
        else:
            review.rate(3)
        if not any(wanted.values()):
            return last
    raise AssertionError(f"Never came up: {wanted}")


def read_the_result(page: Page, product: Product, made: Made) -> None:
    """Find in the analytics what SQL counts, and change nothing."""
    page.goto("/admin/analytics/")
    page.locator("select[name=prompt]").select_option(label=PROMPT)
    page.get_by_role("button", name="Show").click()
    table = page.locator("section").filter(has_text=f"Versions of “{PROMPT}”").locator("table")
    for number, levels in read_levels(product).items():
        row = table.locator("tbody tr").filter(has=page.get_by_role("link", name=f"v{number}", exact=True))
        cells = row.locator("td")
        expect(cells.nth(1)).to_contain_text(f"{statistics.mean(levels):.2f}")
        expect(cells.nth(2)).to_have_text(str(len(levels)))
    expect(page.get_by_role("heading", name="Distribution")).to_be_visible()

    page.goto(made.run)
    expect(page.locator(".mg-shot img")).to_have_count(2 * REPEATS)
    expect(page.get_by_role("link", name="Cancel run")).to_have_count(0)
    page.goto(made.generation)
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)
    for address in ("prompts/prompt/add/", "generations/run/launch/", "accounts/user/"):
        assert page.request.get(f"/admin/{address}").status == 403, address
    script = product.api("viewer")
    assert script.call("POST", "prompts/", {"name": "Mine"}).status == 403
    assert script.call("POST", f"runs/{made.run.split('/')[-3]}/cancel/").status == 403


def read_levels(product: Product) -> dict[int, list[int]]:
    """Return all standing levels by the number of the version."""
    levels: dict[int, list[int]] = defaultdict(list)
    for number, level in product.sql(RATINGS, PROMPT):
        levels[number].append(level)
    assert {number: sorted(found) for number, found in levels.items()} == {
        number: sorted(wanted) for number, wanted in LEVELS.items()
    }
    return levels


def read_the_same_over_the_api(product: Product) -> None:
    script = product.api("viewer")
    prompts = script.get("prompts/?page_size=100")["results"]
    prompt = next(each["id"] for each in prompts if each["name"] == PROMPT)

    rows: list[dict[str, Any]] = script.get(f"analytics/prompt-performance/?prompt={prompt}")["results"]

    levels = read_levels(product)
    assert {row["number"] for row in rows} == set(levels)
    for row in rows:
        found, mean = levels[row["number"]], row["mean"]
        assert row["n_ratings"] == mean["n"] == len(found)
        assert math.isclose(mean["mean"], statistics.mean(found), abs_tol=0.005)
        assert mean["low"] < mean["mean"] < mean["high"]
