"""A run's page follows the run without losing focus or place, and shows results side by side by tag."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, Desk
from tests.e2e.product import Api, Product

pytestmark = pytest.mark.e2e

SCHEMA: dict[str, Any] = {
    "type": "object",
    "$defs": {"Mood": {"type": "string", "enum": ["calm", "wild"], "title": "Mood"}},
    "properties": {
        "mood": {"$ref": "#/$defs/Mood"},
        "steps": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "title": "Steps"},
        "safe": {"type": "boolean", "title": "Safe", "default": True},
    },
}


def make_run(api: Api, *, repeats: int, per_minute: int | None = None) -> str:
    """Launch the demo's posters over its dataset, with a version whose model has no key.

    per_minute: how many of the posters are begun in a minute at most; None for as many as there are.
    """
    keyless = {"provider": "openai", "credential_name": "NONE", "is_free": True}
    broken = api.post("image-models/", {"name": f"Without a key {repeats}", **keyless})
    dataset = api.get("datasets/?slug=places")["results"][0]
    poster = api.get("prompts/?slug=travel-poster")["results"][0]
    good = [row["id"] for row in api.get(f"prompt-versions/?prompt={poster['id']}&number=1")["results"]]
    revision = {"prompt": poster["id"], "parent": good[0], "parameters": {}}
    bad = api.post("prompt-versions/", {**revision, "image_model": broken["id"]})
    if per_minute is not None:
        slow = {"name": f"Slow {repeats}", "provider": "embedded", "rate_per_minute": per_minute}
        model = api.post("image-models/", {**slow, "is_free": True})
        good = [api.post("prompt-versions/", {**revision, "image_model": model["id"]})["id"]]
    run = api.post(
        "runs/",
        {
            "name": "Side by side",
            "prompt_versions": [*good, bad["id"]],
            "dataset_version": dataset["newest_version"],
            "repeats": repeats,
        },
    )
    return str(run["id"])


def wait_until_settled(page: Page) -> None:
    expect(page.locator("#progress[hx-trigger]")).to_have_count(0)


def test_what_has_the_focus_keeps_it_while_numbers_and_pictures_come(desk: Desk, product: Product) -> None:
    page = desk.sit_down("admin", viewport={"width": 1280, "height": 500})
    run = make_run(product.api("admin"), repeats=3, per_minute=180)
    page.goto(f"/admin/generations/run/{run}/change/")
    link, start = page.locator("#list-generations"), page.locator("#progress-heading").inner_text()
    link.focus()
    page.evaluate("window.scrollTo(0, 200)")

    wait_until_settled(page)

    assert page.locator("#progress-heading").inner_text() != start
    expect(link).to_be_focused()
    assert page.evaluate("window.scrollY") == 200
    expect(page.locator("#progress-heading")).to_contain_text("72 of 72 finished")
    expect(page.locator("#grid img")).to_have_count(36)
    expect(page.get_by_role("button", name="Retry these: Model not set up")).to_be_visible()


def test_a_slice_is_chosen_by_keys_alone(desk: Desk, product: Product) -> None:
    run = make_run(product.api("admin"), repeats=1)
    page = desk.sit_down("viewer")
    page.goto(f"/admin/generations/run/{run}/change/")
    wait_until_settled(page)

    page.get_by_label("Tag", exact=True).focus()
    page.keyboard.press("ArrowDown")

    expect(page.locator("#grid-heading")).to_contain_text("with the tag")
    expect(page.locator("#grid tbody tr")).to_have_count(4)
    expect(page.get_by_label("Tag", exact=True)).to_be_focused()
    assert "tag=" in page.url
    expect(page.get_by_role("button", name="Retry")).to_have_count(0)


def test_on_a_phone_two_versions_stand_side_by_side(desk: Desk, product: Product) -> None:
    run = make_run(product.api("admin"), repeats=2)
    page = desk.sit_down("viewer", **PHONE)
    page.goto(f"/admin/generations/run/{run}/change/")
    wait_until_settled(page)

    boxes = [page.locator(f"#cell-0-{number}").bounding_box() for number in (0, 1)]

    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert all(boxes)
    left, right = ((box["x"], box["y"], box["width"]) for box in boxes if box)
    assert left[1] == right[1]
    assert right[0] + right[2] <= 390


def test_a_models_parameters_become_fields_and_one_call_shows_what_came(desk: Desk, product: Product) -> None:
    api = product.api("admin")
    model = api.post(
        "image-models/",
        {
            "name": "With references",
            "provider": "embedded",
            "endpoint": "renderer",
            "is_free": True,
            "parameters_schema": SCHEMA,
        },
    )
    page = desk.sit_down("admin")
    page.goto(f"/admin/prompts/imagemodel/{model['id']}/change/")
    page.get_by_role("link", name="Test this model").click()

    page.get_by_label("Mood").select_option(label="wild")
    page.get_by_label("Steps").fill("4")
    page.get_by_label("Steps").press("Tab")
    expect(page.get_by_label("Safe")).to_be_visible()
    assert page.locator("#id_parameters").input_value() == '{\n  "mood": "wild",\n  "steps": 4\n}'

    page.get_by_label("Mood").select_option(label="model's default")
    page.get_by_label("Steps").fill("")
    page.get_by_label("Steps").press("Tab")
    page.get_by_role("button", name="Make the call").click()

    expect(page.get_by_role("img", name="Output image 1")).to_be_visible()
    expect(page.locator("#generation")).to_contain_text("Succeeded")
