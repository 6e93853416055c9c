"""What a run's ceiling stopped is found on its page, and goes on when the ceiling is raised there."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, Desk
from tests.e2e.product import Api, Product

pytestmark = pytest.mark.e2e


def launch_with_ceiling(api: Api, name: str) -> str:
    """Launch four pictures of ten cents each under a ceiling of twenty."""
    model = {"name": name, "provider": "embedded", "is_free": False, "price_usd": "0.10"}
    poster = api.get("prompts/?slug=travel-poster")["results"][0]
    [version] = api.get(f"prompt-versions/?prompt={poster['id']}&number=1")["results"]
    image_model = api.post("image-models/", model)["id"]
    revision = {"prompt": poster["id"], "parent": version["id"], "parameters": {}, "image_model": image_model}
    names = api.get(f"prompt-versions/{version['id']}/")["variables"]
    body = {
        "name": name,
        "prompt_versions": [api.post("prompt-versions/", revision)["id"]],
        "variables": dict.fromkeys(names, "Lisbon"),
        "repeats": 4,
        "ceiling_usd": "0.20",
    }
    return str(api.post("runs/", body)["id"])


def wait_until_settled(page: Page) -> None:
    expect(page.locator("#progress[hx-trigger]")).to_have_count(0)


@pytest.mark.parametrize("device", ["desktop", "phone"])
def test_a_ceiling_is_raised_where_it_says_what_it_stopped(desk: Desk, product: Product, device: str) -> None:
    run = launch_with_ceiling(product.api("admin"), f"Capped on a {device}")
    page = desk.sit_down("admin", **(PHONE if device == "phone" else {}))
    page.goto(f"/admin/generations/run/{run}/change/")
    wait_until_settled(page)

    page.get_by_role("link", name="Raise the ceiling").click()
    amount = page.get_by_label("New ceiling (USD)")
    amount.fill("0.15")
    page.get_by_role("button", name="Raise the ceiling").click()
    expect(page.get_by_role("alert")).to_contain_text("The ceiling is $0.20; a new one has to be higher.")
    expect(amount).to_have_value("0.15")
    amount.fill("0.30")
    page.get_by_role("button", name="Raise the ceiling").click()

    expect(page.get_by_text("The ceiling is raised. Queued: 1 generation.")).to_be_visible()
    expect(page.locator(".mg-shot img")).to_have_count(3)
    page.get_by_role("link", name="Remove it").click()
    page.get_by_role("button", name="Remove the ceiling").click()
    expect(page.locator(".mg-shot img")).to_have_count(4)
    wait_until_settled(page)
    assert page.locator("#ceiling").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
