"""Calls of unknown outcome stand on a run's page as one group, about which keys alone decide."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import PHONE, Desk
from tests.e2e.product import Product

pytestmark = pytest.mark.e2e

PRICE = "0.04"
N_UNKNOWN = 5
FOCUS_IS_SEEN = """() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
}"""


def make_run(product: Product) -> str:
    """Launch calls that fail for want of a key, and let it be unknown of five what became of them."""
    api = product.api("admin")
    name = f"Doubtful {len(api.get('image-models/?ordering=-created_at')['results'])}"
    keyless = {"name": name, "provider": "openai", "credential_name": "NONE", "price_usd": PRICE}
    model = api.post("image-models/", keyless)["id"]
    prompt = api.post("prompts/", {"name": name})["id"]
    version = api.post(
        "prompt-versions/", {"prompt": prompt, "user_prompt": "A {thing}.", "image_model": model}
    )
    given = {"prompt_versions": [version["id"]], "variables": {"thing": "boat"}, "repeats": 8}
    return str(api.post("runs/", {"name": name, **given})["id"])


def lose_answers(product: Product, run: str) -> None:
    """Make it as if the worker had died in the midst of some of the run's calls."""
    failed = [
        row[0]
        for row in product.sql(
            "SELECT id FROM generations_generation WHERE run_id = %s ORDER BY id LIMIT 5", UUID(run)
        )
    ]
    for generation in failed:
        product.sql(
            "UPDATE generations_generation SET error_code = 'outcome_unknown', reserved_usd = 0.04"
            " WHERE id = %s",
            generation,
        )
        # The person's account and the installation's.
        product.sql(
            "UPDATE generations_monthlyspend SET reserved_generations = reserved_generations + 1,"
            " reserved_usd = reserved_usd + 0.04 WHERE user_id IS NULL OR user_id ="
            " (SELECT created_by_id FROM generations_run WHERE id = %s)",
            UUID(run),
        )


def open_run(page: Page, product: Product) -> str:
    """Open the page of a run with five calls of unknown outcome among eight failures."""
    run = make_run(product)
    page.goto(f"/admin/generations/run/{run}/change/")
    expect(page.locator("#progress-heading")).to_contain_text("8 of 8 finished")
    lose_answers(product, run)
    page.reload()
    return run


def press(page: Page, name: str) -> None:
    """Walk with Tab to what has this name, see that it shows, and press Enter, which leads elsewhere."""
    for _ in range(120):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            break
    assert page.evaluate("document.activeElement.textContent.trim()") == name
    assert page.evaluate(FOCUS_IS_SEEN), f"Nothing shows that “{name}” has the focus."
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before)


def read_group(product: Product, run: str) -> tuple[int, str]:
    found = product.api("admin").get(f"runs/{run}/unknown-outcomes/")
    return found["count"], found["at_risk_usd"]


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_calls_are_accepted_as_lost_by_keys_alone(
    desk: Desk, product: Product, options: dict[str, Any]
) -> None:
    page = desk.sit_down("admin", **options)
    run = open_run(page, product)
    expect(page.get_by_text("$0.20 at risk")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]  # type: ignore[index]

    press(page, "Accept as lost")
    expect(page.get_by_text("the 5 calls whose outcome nobody knows")).to_be_visible()
    press(page, "Cancel")
    expect(page.get_by_text("$0.20 at risk")).to_be_visible()
    assert read_group(product, run) == (N_UNKNOWN, "0.200000")
    press(page, "Accept as lost")
    press(page, "Accept them as lost")

    expect(page).to_have_url(re.compile(rf"/run/{run}/change/"))
    expect(page.get_by_text("accepted as lost")).to_be_visible()
    expect(page.get_by_role("link", name="Send again")).to_have_count(0)
    assert read_group(product, run) == (0, "0.000000")
    spent = product.api("admin").get(f"runs/{run}/")["progress"]
    assert (spent["cost_usd"], spent["reserved_usd"]) == ("0.200000", "0.000000")


def test_calls_are_sent_again_by_keys_alone(desk: Desk, product: Product) -> None:
    page = desk.sit_down("admin")
    run = open_run(page, product)

    press(page, "Send again")
    expect(page.get_by_text("made and paid for once more")).to_be_visible()
    press(page, "Send them again")

    expect(page).to_have_url(re.compile(rf"/run/{run}/change/"))
    expect(page.locator("#failures-configuration")).to_have_text("8")
    expect(page.locator("#failures-outcome_unknown")).to_have_count(0)
    assert read_group(product, run) == (0, "0.000000")


def test_viewers_see_the_money_at_risk_and_decide_nothing(desk: Desk, product: Product) -> None:
    run = open_run(desk.sit_down("admin"), product)
    page = desk.sit_down("viewer")

    page.goto(f"/admin/generations/run/{run}/change/")

    expect(page.get_by_text("$0.20 at risk")).to_be_visible()
    expect(page.get_by_role("link", name="Accept as lost")).to_have_count(0)
    expect(page.get_by_role("link", name="Send again")).to_have_count(0)
